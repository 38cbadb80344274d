package vboxtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// FaultsEnv names the variable with a file of faults for all homes. That of one home is
// "faults" in it. A line is what a command begins with, after its program, and what
// happens: "startvm: locked 3" for the next three. Kinds are hang, die (VBoxSVC does, and
// machines with it), locked, unknown (an error without a code), and zero (it fails with
// exit code 0).
const FaultsEnv = "BAKE_VBOXTEST_FAULTS"

// inject has the command fail where a line says so.
func (c *call) inject() error {
	for _, path := range []string{os.Getenv(FaultsEnv), filepath.Join(c.dir, "faults")} {
		kind, err := takeFault(path, strings.Join(c.args, " "))
		if err != nil {
			return err
		}
		switch kind {
		case "":
		case "hang":
			time.Sleep(time.Hour)
		case "die":
			for _, m := range c.Machines {
				if m.Running != nil {
					if err := c.qemu(m).Kill(); err != nil {
						return err
					}
				}
			}
			return &failure{exit: 1, text: "0%...\nProgress object failure: NS_ERROR_CALL_FAILED\nVBoxManage: error: Code NS_ERROR_CALL_FAILED (0x800706BE) - Call to remote object failed (extended info not available)\n"}
		case "locked":
			return fail("VBOX_E_INVALID_OBJECT_STATE", "MachineWrap/IMachine", "The machine 'x' already has a lock request pending", where{"LockMachine(a->session, LockType_Write)", 640, "VBoxManageModifyVM"})
		case "unknown":
			return &failure{exit: 1, text: "VBoxManage: error: the moon is in the wrong house\n"}
		case "zero":
			return &failure{exit: 0, text: "VBoxManage: error: it did not work\n"}
		default:
			return fmt.Errorf("a fault of the kind %q", kind)
		}
	}
	return nil
}

// takeFault returns what is to happen to the command, and counts it in the file.
func takeFault(path, command string) (string, error) {
	if path == "" {
		return "", nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for i, line := range lines {
		prefix, what, ok := strings.Cut(line, ": ")
		words := strings.Fields(what)
		if !ok || len(words) == 0 || !strings.HasPrefix(command, prefix) {
			continue
		}
		left := 1
		if len(words) > 1 {
			if left, err = strconv.Atoi(words[1]); err != nil {
				return "", err
			}
		}
		if left == 0 {
			continue
		}
		lines[i] = fmt.Sprintf("%s: %s %d", prefix, words[0], left-1)
		return words[0], os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600)
	}
	return "", nil
}
