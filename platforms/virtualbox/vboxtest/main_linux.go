package vboxtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bake.build/bake/internal/testqemu"
)

// Program is the name of the program that this package stands for.
const Program = "VBoxManage"

// version is that of the VirtualBox whose answers were recorded.
const version = "7.0.10r158379"

// Called reports whether the test binary was started as VBoxManage: TestMain then exits
// with what Main returns.
func Called() bool { return filepath.Base(os.Args[0]) == Program }

// Install puts VBoxManage, which is the test binary itself, into PATH for a test. What it
// starts ends with the test's process.
func Install(t *testing.T) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, Program)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv(testqemu.OwnerEnv, fmt.Sprint(os.Getpid()))
}

// A call is one call of VBoxManage.
type call struct {
	*home
	args     []string
	out, err bytes.Buffer
}

func (c *call) print(format string, args ...any) { fmt.Fprintf(&c.out, format, args...) }

func (c *call) progress() {
	c.err.WriteString("0%...10%...20%...30%...40%...50%...60%...70%...80%...90%...100%\n")
}

// Main is VBoxManage. args are those after the program's name.
func Main(args []string) int {
	c := &call{args: args}
	code := c.main()
	_, outErr := os.Stdout.Write(c.out.Bytes())
	_, errErr := os.Stderr.Write(c.err.Bytes())
	if errors.Join(outErr, errErr) != nil {
		return 1
	}
	return code
}

func (c *call) main() int {
	for len(c.args) > 0 && (c.args[0] == "-q" || c.args[0] == "--nologo") {
		c.args = c.args[1:]
	}
	if len(c.args) > 0 && (c.args[0] == "--version" || c.args[0] == "-v" || c.args[0] == "-V") {
		c.print("%s\n", version)
		return 0
	}
	if locale := os.Getenv("LC_ALL"); (locale == "C" || locale == "POSIX") && strings.ContainsFunc(strings.Join(c.args, ""), func(r rune) bool { return r >= 0x80 }) {
		c.err.WriteString("VBoxManage: fatal error: RTR3Init: VERR_NO_TRANSLATION\n")
		return 3
	}
	dir := os.Getenv("VBOX_USER_HOME")
	if dir == "" && os.Getenv("HOME") != "" {
		dir = filepath.Join(os.Getenv("HOME"), ".config", "VirtualBox")
	}
	if dir == "" || os.MkdirAll(dir, 0o700) != nil {
		c.err.WriteString("VBoxManage: error: Failed to initialize COM! (hrc=NS_ERROR_FAILURE)\n")
		return 1
	}
	return c.locked(dir)
}

// locked runs the command while no other one of the same home runs.
func (c *call) locked(dir string) int {
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return c.fault(err)
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return c.fault(err)
	}
	if c.home, err = load(dir); err != nil {
		return c.fault(err)
	}
	if err := c.reconcile(); err != nil {
		return c.fault(err)
	}
	err = c.inject()
	if err == nil {
		err = c.dispatch()
	}
	if saveErr := c.save(); saveErr != nil {
		return c.fault(saveErr)
	}
	if err == nil {
		return 0
	}
	return c.fault(err)
}

// fault says an error: one that VirtualBox has, or one of the stand-in itself.
func (c *call) fault(err error) int {
	if f := (*failure)(nil); errors.As(err, &f) {
		c.err.WriteString(f.text)
		return f.exit
	}
	fmt.Fprintf(&c.err, "VBoxManage: error: stand-in: %v\n", err)
	return 70
}

// dispatch runs the command.
func (c *call) dispatch() error {
	commands := map[string]func() error{
		"list": c.list, "showvminfo": c.showVM, "createvm": c.createVM, "modifyvm": c.modifyVM,
		"registervm": c.registerVM, "unregistervm": c.unregisterVM, "setproperty": c.setProperty,
		"setextradata": c.setExtra, "getextradata": c.getExtra, "guestproperty": c.guestProperty,
		"convertfromraw": c.convertFromRaw, "showmediuminfo": c.showMedium, "showhdinfo": c.showMedium,
		"createmedium": c.createMedium, "closemedium": c.closeMedium, "modifymedium": c.modifyMedium,
		"clonemedium": c.cloneMedium, "storagectl": c.storageCtl, "storageattach": c.storageAttach,
		"snapshot": c.snapshot, "clonevm": c.cloneVM, "startvm": c.startVM, "controlvm": c.controlVM,
		"discardstate": c.discardState, "import": c.importApp, "export": c.export,
	}
	if len(c.args) == 0 {
		return usage("", "Oracle VM VirtualBox command-line interface", 2)
	}
	run, ok := commands[c.args[0]]
	if !ok {
		return usage("Invalid command '"+c.args[0]+"'\n", "Oracle VM VirtualBox command-line interface", 2)
	}
	return run()
}
