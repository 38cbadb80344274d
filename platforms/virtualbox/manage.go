package virtualbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	hv "bake.build/bake/platforms/hypervisor"
)

// program is VirtualBox's command line.
const program = "VBoxManage"

// longLimit is how long a command may take that writes a machine's memory.
const longLimit = 15 * time.Minute

// A place is where a machine is: its directory, and all that follows from it.
type place struct {
	dir  string
	id   string // of the machine's VBoxSVC
	uuid string // of the machine

	limit time.Duration // see hypervisor
}

func placeOf(dir string) place {
	sum := sha256.Sum256([]byte(dir))
	b := sum[:16]
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // as a random UUID (RFC 9562)
	return place{
		dir: dir, id: "bake-" + hex.EncodeToString(sum[16:24]),
		uuid: fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16]),
	}
}

// home is the machine's VBOX_USER_HOME.
func (p place) home() string { return filepath.Join(p.dir, "home") }

// folder is that of VirtualBox's own files of the machine, which has the name.
func (p place) folder(name string) string { return filepath.Join(p.dir, "vm", name) }

// socket is the directory of what clients talk to the machine's VBoxSVC by; see
// ipcdclient.cpp of VirtualBox's XPCOM.
func (p place) socket() string { return "/tmp/.vbox-" + p.id + "-ipc" }

// homeEnv begins the environment variable that tells the processes of a machine.
const homeEnv = "VBOX_USER_HOME="

// manage returns what calls VBoxManage for the machine.
func (p place) manage() hv.Caller {
	c := manager()
	c.Env = []string{homeEnv + p.home(), "VBOX_IPC_SOCKETID=" + p.id}
	c.Dir, c.Limit = p.dir, p.limit
	return c
}

// code finds the stable token of an error, such as VBOX_E_OBJECT_NOT_FOUND.
var code = regexp.MustCompile(`(?m)(?:\bcode |^VBoxManage: error: Code )((?:VBOX_E|NS_ERROR|E)_[A-Z_]+)`)

// busy are parts of the messages that say that a machine is locked, or changes its state.
var busy = []string{"is already locked", "already has a lock request pending", "while it is locked", "while it is changing state"}

// manager returns what calls VBoxManage.
func manager() hv.Caller {
	return hv.Caller{
		Program: program,
		Code: func(said string) string {
			if m := code.FindStringSubmatch(said); m != nil {
				return m[1]
			}
			return ""
		},
		Busy: func(e *hv.CallError) bool {
			for _, text := range busy {
				if strings.Contains(e.Reason, text) {
					return true
				}
			}
			return false
		},
		// Some commands end with exit code zero when they have failed.
		Said: func(_ []string, _, stderr string) error {
			for line := range strings.Lines(stderr) {
				if said, ok := strings.CutPrefix(strings.TrimSpace(line), "VBoxManage: error: "); ok {
					return errors.New(said)
				}
			}
			return nil
		},
	}
}

// notRunning reports whether a command of controlvm failed as the machine does not run.
func notRunning(err error) bool {
	e := (*hv.CallError)(nil)
	return errors.As(err, &e) && strings.Contains(e.Reason, "is not currently running")
}

// leastVersion is the oldest major version whose options the driver gives.
const leastVersion = 7

var versionLine = regexp.MustCompile(`^(\d+)\.\d+\.\d+\S*$`)

// parseVersion reads what VBoxManage --version says: a warning about the kernel's modules
// may stand before it.
func parseVersion(said string) (string, error) {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	m := versionLine.FindStringSubmatch(last)
	if m == nil {
		return "", fmt.Errorf("VBoxManage --version says %q", last)
	}
	if major, err := strconv.Atoi(m[1]); err != nil || major < leastVersion {
		return "", fmt.Errorf("VirtualBox %s is installed: want %d.0 or newer", last, leastVersion)
	}
	return last, nil
}

// info is what showvminfo --machinereadable says.
type info map[string]string

// parseInfo reads lines of keys and values. Both may be quoted; lines of another form,
// such as "Encryption:     disabled", are passed over.
func parseInfo(said string) info {
	all := info{}
	for line := range strings.Lines(said) {
		line = strings.TrimRight(line, "\r\n")
		key, value, ok := "", "", false
		if quoted, rest, found := cutQuoted(line); found && strings.HasPrefix(rest, "=") {
			key, value, ok = quoted, rest[1:], true
		} else {
			key, value, ok = strings.Cut(line, "=")
		}
		if !ok {
			continue
		}
		if text, _, quoted := cutQuoted(value); quoted {
			value = text
		}
		all[key] = value
	}
	return all
}

// cutQuoted returns the text in the quotes that s begins with, and what follows.
func cutQuoted(s string) (text, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", s, false
}

// info asks what there is of the machine.
func (p place) info(ctx context.Context) (info, error) {
	said, err := p.manage().Call(ctx, "showvminfo", p.uuid, "--machinereadable")
	if err != nil {
		return nil, err
	}
	all := parseInfo(said)
	if all["VMState"] == "" {
		return nil, errors.New("VBoxManage showvminfo does not tell the machine's state")
	}
	return all, nil
}

// running reports whether a machine in the state runs.
func (i info) running() bool {
	switch i["VMState"] {
	case "poweroff", "aborted", "aborted-saved", "saved":
		return false
	}
	return true
}
