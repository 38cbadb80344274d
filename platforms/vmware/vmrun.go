package vmware

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	hv "bake.build/bake/platforms/hypervisor"
)

// longLimit is how long a command may take that writes a machine's memory.
const longLimit = 15 * time.Minute

// placeEnv begins the environment variable that tells the processes of a machine.
const placeEnv = "BAKE_VMWARE_MACHINE="

// places are where vmrun is when it is not in PATH.
var places = map[string][]string{
	"darwin":  {"/Applications/VMware Fusion.app/Contents/Public/vmrun", "/Applications/VMware Fusion.app/Contents/Library/vmrun"},
	"windows": {`C:\Program Files (x86)\VMware\VMware Workstation\vmrun.exe`, `C:\Program Files\VMware\VMware Workstation\vmrun.exe`},
}

// vmrunPath returns the program.
func vmrunPath() (string, error) {
	path, err := exec.LookPath("vmrun")
	if err == nil {
		return path, nil
	}
	for _, p := range places[runtime.GOOS] {
		if found, err := exec.LookPath(p); err == nil {
			return found, nil
		}
	}
	return "", errors.New("vmrun is not in PATH")
}

// busy are parts of the messages that say that a machine is in use for a while.
var busy = []string{"file is already in use", "virtual machine is busy", "another operation is in progress"}

// A program is vmrun for one machine, or for none.
type program struct {
	product string
	dir     string // the machine's; "" for none
}

// call runs a command of vmrun for the product.
func (p program) call(ctx context.Context, limit time.Duration, args ...string) (string, error) {
	path, err := vmrunPath()
	if err != nil {
		return "", err
	}
	c := hv.Caller{
		Program: path, Limit: limit, Dir: p.dir, Flags: []string{"-T", p.product},
		Busy: func(e *hv.CallError) bool {
			for _, text := range busy {
				if strings.Contains(strings.ToLower(e.Reason), text) {
					return true
				}
			}
			return false
		},
		// Failures are told on the standard output, by some versions with exit code zero.
		Said: func(_ []string, stdout, _ string) error {
			for line := range strings.Lines(stdout) {
				if said, ok := strings.CutPrefix(strings.TrimSpace(line), "Error: "); ok {
					return errors.New(said)
				}
			}
			return nil
		},
	}
	if p.dir != "" {
		c.Env = []string{placeEnv + p.dir}
	}
	return c.Call(ctx, args...)
}

// says reports whether err is of vmrun and says the text.
func says(err error, text string) bool {
	e := (*hv.CallError)(nil)
	return errors.As(err, &e) && strings.Contains(strings.ToLower(e.Output), text)
}

// running reports whether the machine with the VMX file runs.
func (p program) running(ctx context.Context, vmx string) (bool, error) {
	said, err := p.call(ctx, 0, "list")
	if err != nil {
		return false, err
	}
	list, err := parseList(said)
	if err != nil {
		return false, err
	}
	for _, path := range list {
		if samePath(path, vmx) {
			return true, nil
		}
	}
	return false, nil
}

// parseList reads the answer of vmrun list: a line that counts, and a path for each.
func parseList(said string) (paths []string, err error) {
	lines := strings.Split(strings.TrimSpace(strings.ReplaceAll(said, "\r\n", "\n")), "\n")
	if !strings.HasPrefix(lines[0], "Total running VMs:") {
		return nil, fmt.Errorf("vmrun list says %q", lines[0])
	}
	for _, line := range lines[1:] {
		if line = strings.TrimSpace(line); line != "" {
			paths = append(paths, line)
		}
	}
	return paths, nil
}

// samePath compares paths, of which VMware may have followed the links.
func samePath(a, b string) bool {
	if a == b {
		return true
	}
	x, err := filepath.EvalSymlinks(a)
	if err != nil {
		return false
	}
	y, err := filepath.EvalSymlinks(b)
	return err == nil && x == y
}

var versionLine = regexp.MustCompile(`(?m)^vmrun version (\d+\.\d+\.\d+\S*)`)

// version returns that of vmrun, which it says without a command.
func version(ctx context.Context) (string, error) {
	path, err := vmrunPath()
	if err != nil {
		return "", err
	}
	said, err := hv.Caller{Program: path, Limit: 30 * time.Second}.Call(ctx)
	e := (*hv.CallError)(nil)
	if errors.As(err, &e) && !e.Timeout() {
		said, err = e.Output, nil // it ends as for a mistake
	}
	if err != nil {
		return "", err
	}
	m := versionLine.FindStringSubmatch(said)
	if m == nil {
		return "", errors.New("vmrun does not tell its version")
	}
	return m[1], nil
}
