package tool

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// roleEnv makes the test program one that runs a tool.
const roleEnv = "BAKE_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) == "" {
		os.Exit(m.Run())
	}
	script := "echo $$; exec sleep 600"
	if os.Getenv(roleEnv) == "guard" {
		script = "sleep 600 & echo $!; wait"
	}
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = os.Stdout
	if os.Getenv(roleEnv) == "run" {
		fmt.Println(Run(cmd))
		return
	}
	ended, err := Start(cmd)
	if err != nil {
		fmt.Println(err)
		return
	}
	if os.Getenv(roleEnv) == "guard" {
		if _, err := Guard(cmd); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("guarded")
	}
	fmt.Println(<-ended)
}

// TestGoesWithItsCaller kills a program that runs a tool: the tool ends as well.
// It is in another group of processes than bake, so that no Ctrl-C reaches it.
func TestGoesWithItsCaller(t *testing.T) {
	for _, role := range []string{"run", "start", "guard"} {
		t.Run(role, func(t *testing.T) { killCaller(t, role) })
	}
}

func TestStart(t *testing.T) {
	if _, err := Start(exec.Command("/nowhere/program")); err == nil {
		t.Error("a program that does not exist was started")
	}
	ended, err := Start(exec.Command("sh", "-c", "exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	exit := (*exec.ExitError)(nil)
	if err := <-ended; !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("ended with %v", err)
	}
}

func killCaller(t *testing.T, role string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	pid := 0
	for guarded := role != "guard"; pid == 0 || !guarded; {
		if !lines.Scan() {
			t.Fatalf("it said no more: %v", lines.Err())
		}
		if lines.Text() == "guarded" {
			guarded = true
		} else if pid, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
	}
	if group, err := syscall.Getpgid(pid); err != nil || (group == pid) != (role != "guard") {
		t.Errorf("group %d of process %d, %v", group, pid, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	for end := time.Now().Add(10 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the tool outlives its caller")
		}
	}
}

// alive reports whether a process runs; one that waits to be reaped does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
