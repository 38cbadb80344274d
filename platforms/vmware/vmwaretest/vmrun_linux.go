package vmwaretest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/internal/vmx"
)

// Environment of the stand-in.
const (
	// StateEnv names the folder in which it notes which machines run.
	StateEnv = "VMWARETEST_STATE"

	// LeasesEnv names the file in which it notes leases; "" for none, as of machines
	// whose addresses VMware Tools alone tell.
	LeasesEnv = "VMWARETEST_LEASES"

	// FaultEnv names a file with a fault: "hang", "die", "locked N", "unknown" or
	// "silent", which is a failure with exit code zero. It may begin with the command
	// that it is for, as "snapshot: die".
	FaultEnv = "VMWARETEST_FAULT"
)

// errUsage has the usage printed.
var errUsage = errors.New("usage")

// Main is the program vmrun. It returns the exit code.
func Main(args []string) int {
	err := run(args, os.Stdout)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Print("\nvmrun version 1.17.0 build-18760230\n\nUsage: vmrun [AUTHENTICATION-FLAGS] COMMAND [PARAMETERS]\n")
		return 255
	}
	said := err.Error() // which VMware begins with a capital letter
	fmt.Printf("Error: %s%s\n", strings.ToUpper(said[:1]), said[1:])
	if errors.Is(err, errSilent) {
		return 0
	}
	return 255
}

func run(args []string, out io.Writer) error {
	if len(args) < 3 || args[0] != "-T" {
		return errUsage
	}
	command, rest := args[2], args[3:]
	if !slices.Contains([]string{"ws", "fusion", "player"}, args[1]) {
		return fmt.Errorf("unrecognized host type: %s", args[1])
	}
	if err := fault(command); err != nil {
		return err
	}
	if command == "list" {
		return list(out)
	}
	if len(rest) == 0 {
		return errUsage
	}
	m, err := openMachine(rest[0])
	if err != nil {
		return err
	}
	switch command {
	case "start":
		return m.start()
	case "stop":
		return m.stop(slices.Contains(rest, "soft"))
	case "reset":
		return m.reset()
	case "snapshot":
		if len(rest) < 2 {
			return errUsage
		}
		return m.snapshot(rest[1])
	case "listSnapshots":
		names := m.state.Snapshots
		fmt.Fprintf(out, "Total snapshots: %d\n", len(names))
		for _, n := range names {
			fmt.Fprintln(out, n)
		}
		return nil
	case "getGuestIPAddress":
		if !m.running() {
			return errors.New("the virtual machine is not powered on: " + m.path)
		}
		fmt.Fprintln(out, m.address())
		return nil
	case "checkToolsState":
		fmt.Fprintln(out, "running")
		return nil
	}
	return fmt.Errorf("unrecognized command: %s", command)
}

var errSilent = errors.New("the operation was canceled")

// fault does what the file of faults says.
func fault(command string) error {
	path := os.Getenv(FaultEnv)
	text, err := os.ReadFile(path)
	if path == "" || errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	what := strings.TrimSpace(string(text))
	if only, rest, ok := strings.Cut(what, ": "); ok {
		if only != command {
			return nil
		}
		what = rest
	}
	kind, number, _ := strings.Cut(what, " ")
	switch kind {
	case "hang":
		time.Sleep(time.Hour)
	case "die":
		os.Exit(139)
	case "unknown":
		return errors.New("unknown error")
	case "silent":
		return errSilent
	case "locked":
		n, err := strconv.Atoi(number)
		if err != nil || n == 0 {
			return err
		}
		return errors.Join(errors.New("the file is already in use"), os.WriteFile(path, []byte(fmt.Sprintf("%s: locked %d", command, n-1)), 0o600))
	}
	return nil
}

// list prints the machines that run.
func list(out io.Writer) error {
	entries, err := os.ReadDir(os.Getenv(StateEnv))
	if err != nil {
		return err
	}
	var running []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue // a socket
		}
		path, err := os.ReadFile(filepath.Join(os.Getenv(StateEnv), e.Name()))
		if err != nil {
			return err
		}
		if m, err := openMachine(string(path)); err == nil && m.running() {
			running = append(running, m.path)
		}
	}
	fmt.Fprintf(out, "Total running VMs: %d\n", len(running))
	for _, path := range running {
		fmt.Fprintln(out, path)
	}
	return nil
}

// A machine is one VMX file with what lies beside it.
type machine struct {
	path, dir, name string
	keys            map[string]string
	state           state
}

func openMachine(path string) (*machine, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(abs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errors.New("cannot open VM: " + path + ", The virtual machine cannot be found")
	} else if err != nil {
		return nil, err
	}
	m := &machine{path: abs, dir: filepath.Dir(abs), name: strings.TrimSuffix(filepath.Base(abs), ".vmx")}
	if err := once(string(text)); err != nil {
		return nil, err
	}
	if m.keys, err = vmx.Keys(text); err != nil {
		return nil, fmt.Errorf("the virtual machine's configuration file is corrupt: %w", err)
	}
	return m, m.state.read(m.dir)
}

// once refuses a VMX file that says a key twice, as VMware does.
func once(text string) error {
	said := map[string]bool{}
	n := 0
	for line := range strings.Lines(text) {
		n++
		key, _, ok := strings.Cut(line, "=")
		if key = strings.ToLower(strings.TrimSpace(key)); !ok || strings.HasPrefix(key, "#") {
			continue
		}
		if said[key] {
			return fmt.Errorf("dictionary problem: line %d: variable %q is already defined", n, key)
		}
		said[key] = true
	}
	return nil
}

// set changes settings of the VMX file, as VMware does.
func (m *machine) set(values map[string]string) error {
	text, err := os.ReadFile(m.path)
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		key, _, _ := strings.Cut(line, "=")
		if _, changed := values[strings.TrimSpace(key)]; !changed {
			b.WriteString(line)
		}
	}
	for key, value := range values {
		b.WriteString(vmx.Line(key, value))
		m.keys[strings.ToLower(key)] = value
	}
	return os.WriteFile(m.path, []byte(b.String()), 0o600)
}

// number is one that follows from the machine's place.
func (m *machine) number() uint32 {
	h := fnv.New32a()
	h.Write([]byte(m.path))
	return h.Sum32()
}

// address is the machine's, on the loopback.
func (m *machine) address() string {
	n := m.number()
	return fmt.Sprintf("127.89.%d.%d", n>>8&0xff, n&0xff%250+2)
}

// lease notes the address that the machine has got.
func (m *machine) lease() error {
	mac := fmt.Sprintf("00:0c:29:%02x:%02x:%02x", byte(m.number()>>16), byte(m.number()>>8), byte(m.number()))
	if err := m.set(map[string]string{"ethernet0.generatedAddress": mac}); err != nil {
		return err
	}
	path := os.Getenv(LeasesEnv)
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	const form = "2006/01/02 15:04:05"
	begins, ends := time.Now().UTC(), time.Now().UTC().Add(30*time.Minute)
	_, err = fmt.Fprintf(f, "lease %s {\n\tstarts %d %s;\n\tends %d %s;\n\thardware ethernet %s;\n\tclient-hostname \"guest\";\n}\n",
		m.address(), begins.Weekday(), begins.Format(form), ends.Weekday(), ends.Format(form), mac)
	return errors.Join(err, f.Close())
}
