package vboxtest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

func (c *call) controlVM() error {
	if len(c.args) < 3 {
		return usage("Not enough parameters\n", "Change state and settings for a virtual machine that is currently running", 2)
	}
	m, err := c.find(c.args[1], where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 365, "VBoxManageControlVM"})
	if err != nil {
		return err
	}
	if m.Running == nil {
		return plain("Machine '%s' is not currently running.", m.Name)
	}
	q := c.qemu(m)
	rest := c.args[3:]
	what := c.args[2]
	switch what {
	case "poweroff":
		if err := q.Quit(); err != nil {
			return err
		}
		c.progress()
		return c.ended(m, "poweroff")
	case "acpipowerbutton":
		return q.Run("system_powerdown", nil, nil)
	case "reset":
		return q.Run("system_reset", nil, nil)
	case "pause":
		m.setState("paused")
		return q.Run("stop", nil, nil)
	case "resume":
		m.setState("running")
		return q.Run("cont", nil, nil)
	case "savestate":
		return c.saveState(m)
	case "keyboardputscancode":
		codes, err := hexBytes(rest)
		if err != nil {
			return err
		}
		return typed(q.Scan(codes))
	case "keyboardputstring":
		return typed(q.Text(strings.Join(rest, "")))
	case "keyboardputfile":
		text, err := os.ReadFile(strings.Join(rest, ""))
		if err != nil {
			return err
		}
		return typed(q.Text(string(text)))
	case "screenshotpng":
		return q.Run("screendump", map[string]string{"filename": rest[0], "format": "png"}, nil)
	}
	return c.controlNet(m, what, rest)
}

func typed(err error) error {
	if err != nil {
		return plain("Failed to send a scancode.")
	}
	return nil
}

func hexBytes(words []string) ([]byte, error) {
	var codes []byte
	for _, w := range words {
		n, err := strconv.ParseUint(w, 16, 8)
		if err != nil {
			return nil, plain("'%s' is not a hex byte!", w)
		}
		codes = append(codes, byte(n))
	}
	return codes, nil
}

func (c *call) controlNet(m *machine, what string, rest []string) error {
	number := strings.TrimLeft(what, "abcdefghijklmnopqrstuvwxyz")
	if len(rest) == 0 {
		return errors.New("controlvm " + what + " is not there")
	}
	switch strings.TrimSuffix(what, number) {
	case "natpf":
		if rest[0] == "delete" && len(rest) > 1 {
			p := strings.Split(m.rule(rest[1]), ",")
			if err := m.deleteRule(rest[1], where{"RemoveRedirect(Bstr(a->argv[3]).raw())", 960, "VBoxManageControlVM"}); err != nil {
				return err
			}
			// A port that was taken has nothing to be removed.
			_, err := c.qemu(m).Human(fmt.Sprintf("hostfwd_remove net1 %s:%s:%s", p[1], or(p[2], loopback), p[3]))
			return err
		}
		if err := m.addRule(rest[0], 1015, "VBoxManageControlVM"); err != nil {
			return err
		}
		return c.forward(m, rest[0])
	case "setlinkstate":
		m.Values["cableconnected"+number] = rest[0]
		_, err := c.qemu(m).Human("set_link net" + number + " " + rest[0])
		return err
	}
	return errors.New("controlvm " + what + " is not there")
}

func (c *call) saveState(m *machine) error {
	q := c.qemu(m)
	if err := q.Run("stop", nil, nil); err != nil {
		return err
	}
	path := m.newSaved()
	if err := c.saveMemory(m, path); err != nil {
		return err
	}
	if err := q.Quit(); err != nil {
		return err
	}
	if err := c.ended(m, "saved"); err != nil {
		return err
	}
	m.Saved = path
	c.progress()
	return nil
}

func (c *call) discardState() error {
	if len(c.args) < 2 {
		return usage("Incorrect number of parameters\n", "Discard the saved state of a virtual machine", 2)
	}
	m, err := c.find(c.args[1], where{"FindMachine(Bstr(a->argv[0]).raw(), machine.asOutParam())", 1240, "VBoxManageMisc"})
	if err != nil {
		return err
	}
	if m.State != "saved" {
		f := fail("VBOX_E_INVALID_VM_STATE", "SessionMachine/IMachine", "Cannot discard the saved state as the machine is not in the Saved or Aborted-Saved state (machine state: PoweredOff)", where{"DiscardSavedState(true )", 1252, "VBoxManageMisc"})
		f.exit = 0
		return f
	}
	m.setState("poweroff")
	saved := m.Saved
	m.Saved = ""
	return c.forget(saved)
}
