package testqemu

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A Machine is one machine of QEMU. All of it follows from its directory, so that another
// process can go on with it.
type Machine struct{ Dir string }

// supervisor runs QEMU and notes how it has ended. The machine ends with the process
// $owner as well, so that no test leaves one behind.
const supervisor = `dir=$1 owner=$2; shift 2
qemu-system-x86_64 "$@" >"$dir/qemu.log" 2>&1 & q=$!
echo $q >"$dir/pid"
( while kill -0 "$owner" 2>/dev/null; do sleep 2; done; kill -9 $q ) & w=$!
wait $q; code=$?
kill $w
echo $code >"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit"`

// OwnerEnv names the variable with the process that machines end with: by default the
// first one, which never ends.
const OwnerEnv = "BAKE_STANDIN_OWNER"

// Start starts a machine with QEMU's arguments beside those that all machines have.
func (m Machine) Start(args []string) error {
	if err := os.RemoveAll(m.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return err
	}
	owner := os.Getenv(OwnerEnv)
	if owner == "" {
		owner = "1"
	}
	all := append([]string{"-c", supervisor, "sh", m.Dir, owner,
		"-accel", "tcg", "-cpu", "max,la57=off", "-display", "none", "-nodefaults", "-no-user-config",
		"-qmp", "unix:" + m.socket() + ",server=on,wait=off"}, args...)
	cmd := exec.Command("sh", all...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := cmd.Process.Release(); err != nil {
		return err
	}
	for range 600 {
		if err := m.Run("query-status", nil, nil); err == nil {
			return nil
		}
		if _, ended := m.Exit(); ended {
			said, err := os.ReadFile(filepath.Join(m.Dir, "qemu.log"))
			return errors.Join(fmt.Errorf("qemu: %s", strings.TrimSpace(string(said))), err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.Join(errors.New("qemu does not answer"), m.Kill())
}

// socket is short enough for a socket's name, however long the directory's is.
func (m Machine) socket() string {
	sum := sha256.Sum256([]byte(m.Dir))
	return filepath.Join(os.TempDir(), "qmp-"+hex.EncodeToString(sum[:6]))
}

// Exit tells the exit code of a machine that has ended, which is -1 where it was killed.
func (m Machine) Exit() (code int, ended bool) {
	text, err := os.ReadFile(filepath.Join(m.Dir, "exit"))
	if err == nil {
		if code, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil || code >= 128 {
			code = -1
		}
		return code, true
	}
	pid, err := m.pid()
	if err != nil {
		_, err := os.Stat(m.Dir)
		return -1, err != nil // it has just been started
	}
	if syscall.Kill(pid, 0) == nil {
		return 0, false
	}
	time.Sleep(100 * time.Millisecond) // what notes the code may be about to
	if _, err := os.Stat(filepath.Join(m.Dir, "exit")); err == nil {
		return m.Exit()
	}
	return -1, true
}

func (m Machine) pid() (int, error) {
	text, err := os.ReadFile(filepath.Join(m.Dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Quit ends the machine at once, after QEMU has written what it holds.
func (m Machine) Quit() error {
	if err := m.Run("quit", nil, nil); err != nil {
		return errors.Join(err, m.Kill())
	}
	for range 400 {
		if _, ended := m.Exit(); ended {
			return os.RemoveAll(m.socket())
		}
		time.Sleep(25 * time.Millisecond)
	}
	return m.Kill()
}

// Kill ends the process of the machine.
func (m Machine) Kill() error {
	pid, err := m.pid()
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(m.socket()))
}

// Run runs a command of QMP. result may be nil.
func (m Machine) Run(command string, args, result any) (err error) {
	conn, err := net.DialTimeout("unix", m.socket(), time.Second)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	send := func(command string, args any) (json.RawMessage, error) {
		request := map[string]any{"execute": command}
		if args != nil {
			request["arguments"] = args
		}
		if err := json.NewEncoder(conn).Encode(request); err != nil {
			return nil, err
		}
		for lines.Scan() {
			var reply struct {
				Return json.RawMessage `json:"return"`
				Error  *struct{ Desc string }
			}
			if err := json.Unmarshal(lines.Bytes(), &reply); err != nil {
				return nil, err
			}
			if reply.Error != nil {
				return nil, fmt.Errorf("%s: %s", command, reply.Error.Desc)
			}
			if reply.Return != nil {
				return reply.Return, nil
			}
		}
		return nil, errors.Join(fmt.Errorf("%s: no answer", command), lines.Err())
	}
	if _, err := send("qmp_capabilities", nil); err != nil {
		return err
	}
	answer, err := send(command, args)
	if err != nil || result == nil {
		return err
	}
	return json.Unmarshal(answer, result)
}

// Human runs a line of QEMU's monitor for people, and returns what it says.
func (m Machine) Human(line string) (said string, err error) {
	err = m.Run("human-monitor-command", map[string]string{"command-line": line}, &said)
	return strings.TrimSpace(said), err
}
