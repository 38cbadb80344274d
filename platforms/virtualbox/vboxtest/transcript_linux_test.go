package vboxtest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// A recorded is a command of a transcript, and what VirtualBox 7.0.10 said to it.
type recorded struct {
	line           int
	command        string
	exit           string
	stdout, stderr string
}

// transcript reads a file of testdata.
func transcript(t *testing.T, name string) (all []recorded) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	var r *recorded
	var into *string
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "$ "):
			all = append(all, recorded{line: i + 1, command: line[2:]})
			r, into = &all[len(all)-1], nil
		case r == nil, line == "":
		case strings.HasPrefix(line, "exit: "):
			r.exit = line[6:]
		case line == "stdout:":
			into = &r.stdout
		case line == "stderr:":
			into = &r.stderr
		case strings.HasPrefix(line, "  | ") && into != nil:
			*into += line[4:] + "\n"
		case strings.HasPrefix(line, "#"), strings.HasPrefix(line, "  ls"):
			r = nil
		}
	}
	return all
}

var (
	maskUUID = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	masks    = []struct {
		what *regexp.Regexp
		with string
	}{
		{maskUUID, "UUID"},
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d[:-]\d\d[:-]\d\d[.-]\d+Z?`), "TIME"},
		{regexp.MustCompile(`Timestamp: \d+`), "Timestamp: TIME"},
		{regexp.MustCompile(`080027[0-9A-F]{6}`), "MAC"},
		{regexp.MustCompile(`Size on disk:   \d+`), "Size on disk:   N"},
	}
	leftOut = regexp.MustCompile(`\n?\[… (\d+ further lines left out of this transcript|of \d+ lines those that match (.*))\]\n`)
)

func mask(s, home string) string {
	s = strings.ReplaceAll(s, home, "/home/user")
	for _, m := range masks {
		s = m.what.ReplaceAllString(s, m.with)
	}
	return s
}

// match reports whether what was said is what was recorded, as far as it was.
func match(got, want, home string) bool {
	got, want = mask(got, home), mask(want, home)
	m := leftOut.FindStringSubmatch(want)
	if m == nil {
		return got == want
	}
	want = strings.TrimSuffix(want, m[0]) + "\n"
	if m[0][0] != '\n' {
		want = strings.TrimSuffix(want, "\n")
	}
	if m[2] == "" {
		return strings.HasPrefix(got, want)
	}
	form := regexp.MustCompile(m[2])
	var some strings.Builder
	for line := range strings.Lines(got) {
		if form.MatchString(line) {
			some.WriteString(line)
		}
	}
	return some.String() == want
}

// A replay calls the stand-in as a transcript says.
type replay struct {
	t     *testing.T
	home  string            // stands for /home/user
	uuids map[string]string // by those of the transcript
	leave *regexp.Regexp    // commands that are not replayed
}

func newReplay(t *testing.T) *replay {
	need.Tool(t, "qemu-img", "qemu-system-x86_64")
	Install(t)
	home, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VBOX_USER_HOME", filepath.Join(home, "vbox"))
	t.Setenv("LC_ALL", "C.UTF-8")
	t.Setenv("HOME", home)
	for _, dir := range []string{"files", "vms"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &replay{t: t, home: home, uuids: map[string]string{}}
}

// run runs a command line of a shell in the folder of files.
func (r *replay) run(command string) (stdout, stderr, exit string) {
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = filepath.Join(r.home, "files")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	code := 0
	if e := (*exec.ExitError)(nil); errors.As(err, &e) {
		code = e.ExitCode()
	} else if err != nil {
		r.t.Fatal(err)
	}
	return out.String(), errOut.String(), fmt.Sprint(code)
}

// must runs commands that no transcript has.
func (r *replay) must(commands ...string) {
	r.t.Helper()
	for _, c := range commands {
		if _, stderr, exit := r.run(c); exit != "0" {
			r.t.Fatalf("%s: exit %s: %s", c, exit, stderr)
		}
	}
}

// play replays a transcript. before has commands that are run before those that begin so,
// and differs why an answer of the stand-in is another one on purpose. A key ":12" is the
// command in that line.
func (r *replay) play(name string, before map[string][]string, differs map[string]string) {
	r.t.Helper()
	for _, want := range transcript(r.t, name) {
		at := fmt.Sprintf(":%d", want.line)
		if r.leave != nil && r.leave.MatchString(want.command) {
			continue
		}
		for prefix, commands := range before {
			if strings.HasPrefix(want.command, prefix) || prefix == at {
				r.must(commands...)
				delete(before, prefix)
			}
		}
		command := strings.NewReplacer("/home/user", r.home, "sleep 8; ", "").Replace(want.command) // there is no VBoxSVC to end
		command = maskUUID.ReplaceAllStringFunc(command, func(u string) string {
			if known := r.uuids[u]; known != "" {
				return known
			}
			return u
		})
		stdout, stderr, exit := r.run(command)
		was, is := maskUUID.FindAllString(want.stdout, -1), maskUUID.FindAllString(stdout, -1)
		for i := range min(len(was), len(is)) {
			r.uuids[was[i]] = is[i]
		}
		if differs[want.command] != "" || differs[at] != "" {
			continue
		}
		if exit != want.exit || !match(stdout, want.stdout, r.home) || !match(stderr, want.stderr, r.home) {
			r.t.Errorf("%s:%d: %s: exit %s, want %s\nstdout:\n%s\nwant:\n%s\nstderr:\n%s\nwant:\n%s", name, want.line, want.command, exit, want.exit,
				mask(stdout, r.home), want.stdout, mask(stderr, r.home), want.stderr)
		}
	}
}

// TestTranscripts calls the stand-in as VirtualBox 7.0.10 was called, and compares exit
// codes, outputs and errors, with UUIDs, times and addresses masked.
func TestTranscripts(t *testing.T) {
	r := newReplay(t)
	r.must("VBoxManage setproperty machinefolder "+r.home+"/vms", "head -c 9000000 /dev/urandom >d64.raw && truncate -s 64M d64.raw", "printf x >empty.iso",
		"printf '<<< Oracle VM VirtualBox Disk Image >>>' >trunc.vdi", "printf KDMV >trunc.vmdk", "printf garbage >garbage.vmdk")
	short := "the list of this VirtualBox is left out"
	human := "the form for people is not all there"
	r.play("01-basic.txt", nil, map[string]string{
		"VBoxManage list systemproperties": short, "VBoxManage list hddbackends": short, "VBoxManage list hostinfo": short,
		"VBoxManage list bridgedifs": "there are no network cards", "VBoxManage list ostypes": short, "VBoxManage showvminfo vm1": human,
		"VBoxManage modifyvm vm1 --natpf1 'bad rule'": "the text of the usage is left out", "VBoxManage modifyvm vm1 --nosuchoption 1": "the same", "VBoxManage nosuchcommand": "the same",
	})
	r.play("02-disks.txt", map[string][]string{
		"VBoxManage showmediuminfo dupuuid.vmdk": {"qemu-img convert -O vmdk -o subformat=streamOptimized d64.raw dupuuid.vmdk"},
	}, map[string]string{
		"VBoxManage showmediuminfo dupuuid.vmdk": "QEMU wrote it", "VBoxManage internalcommands sethduuid dupuuid.vmdk": "not there",
	})
	r.play("03-snapshots.txt", map[string][]string{
		"VBoxManage snapshot base list": {
			"VBoxManage createvm --name base --ostype Debian_64 --register --basefolder " + r.home + "/vms",
			"VBoxManage modifyvm base --natpf1 ssh,tcp,127.0.0.1,2222,,22",
			"VBoxManage createmedium disk --filename " + r.home + "/vms/base/base.vdi --size 64",
			"VBoxManage storagectl base --name SATA --add sata --portcount 1",
			"VBoxManage storageattach base --storagectl SATA --port 0 --device 0 --type hdd --medium " + r.home + "/vms/base/base.vdi",
		},
		"VBoxManage snapshot danger take d1": {
			"VBoxManage createvm --name danger --ostype Debian_64 --register --basefolder " + r.home + "/vms",
			"VBoxManage createmedium disk --filename " + r.home + "/vms/danger/danger.vdi --size 64",
			"VBoxManage storagectl danger --name SATA --add sata --portcount 1",
			"VBoxManage storageattach danger --storagectl SATA --port 0 --device 0 --type hdd --medium " + r.home + "/vms/danger/danger.vdi",
		},
	}, map[string]string{"VBoxManage list -l hdds": "the record has some lines of it alone"})
	noDriver := "there the kernel's driver lacks"
	r.play("06-run-locks.txt", map[string][]string{
		"VBoxManage startvm small": {
			"VBoxManage createvm --name small --ostype Debian_64 --register --basefolder " + r.home + "/vms",
			"VBoxManage modifyvm small --natpf1 ssh,tcp,127.0.0.1,2222,,22 --macaddress1 080027AABBCC --audio-enabled off --uart1 0x3f8 4 --graphicscontroller vmsvga --boot1 disk --boot2 none --boot3 none --boot4 none",
			"VBoxManage createmedium disk --filename " + r.home + "/vms/small/small.vdi --size 64",
			"VBoxManage storagectl small --name SATA --add sata --portcount 2",
			"VBoxManage storageattach small --storagectl SATA --port 0 --device 0 --type hdd --medium " + r.home + "/vms/small/small.vdi",
		},
		"VBoxManage showvminfo small --machinereadable": {"VBoxManage controlvm small poweroff"},
	}, map[string]string{
		"VBoxManage startvm small --type headless": noDriver, "VBoxManage startvm small --type nosuchtype": noDriver, "VBoxManage showvminfo small --log 0": noDriver,
		"VBoxManage guestcontrol small run --exe /bin/true": "there are no guest additions", "VBoxManage debugvm small info help": "not there",
	})
}

// TestOddTranscripts has homes, locales, files and names that give trouble.
func TestOddTranscripts(t *testing.T) {
	r := newReplay(t)
	r.must("VBoxManage setproperty machinefolder "+r.home+"/vms", "mkdir broken", `printf '<?xml version="1.0"?>\n<broken' >broken/VirtualBox.xml`)
	r.leave = regexp.MustCompile(`^VBoxManage list vms$`) // VBoxSVC hangs there
	disk := func(name, path string) []string {
		return []string{
			"VBoxManage createvm --name " + name + " --ostype Debian_64 --register",
			"VBoxManage createmedium disk --filename " + path + " --size 8",
			"VBoxManage storagectl " + name + " --name SATA --add sata --portcount 1",
			"VBoxManage storageattach " + name + " --storagectl SATA --port 0 --device 0 --type hdd --medium " + path,
		}
	}
	r.play("09-process.txt", map[string][]string{"sh -c 'VBoxManage createvm --name gone": disk("big", "big.vdi")}, nil)
	// Nothing that is replayed of this one needs what is left out of it.
	r.leave = regexp.MustCompile(`^VBoxManage (import|unattended|mediumio|movevm|showvminfo x-)`)
	r.play("10-more.txt", map[string][]string{"VBoxManage modifyvm small": disk("small", r.home+"/vms/small/small.vdi")}, nil)
}

// TestRunningTranscript calls a running machine as VirtualBox was called.
func TestRunningTranscript(t *testing.T) {
	need.Slow(t)
	r := newReplay(t)
	r.bootDisk()
	console := r.home + "/vms/run1/console.log"
	saw := func(text string) string {
		return "for n in $(seq 600); do grep -qF '" + text + "' " + console + " && exit; sleep 0.05; done; cat " + console + " >&2; exit 1"
	}
	const ended = "for n in $(seq 200); do VBoxManage list runningvms | grep -q run1 || exit 0; sleep 0.05; done; exit 1"
	r.play("08-running.txt", map[string][]string{
		":2": {
			"VBoxManage createvm --name run1 --ostype Linux_64 --register --basefolder " + r.home + "/vms",
			"VBoxManage convertfromraw boot.raw " + r.home + "/vms/run1/run1.vdi",
			"VBoxManage modifyvm run1 --memory 64 --uart1 0x3f8 4 --uartmode1 file " + console + " --natpf1 ssh,tcp,127.0.0.1,22221,,22 --boot1 disk",
			"VBoxManage storagectl run1 --name IDE --add ide",
			"VBoxManage storageattach run1 --storagectl IDE --port 0 --device 0 --type hdd --medium " + r.home + "/vms/run1/run1.vdi",
			"printf 'putc: push dx\\n pop ax ; [0xaa55]\\n' >" + r.home + "/vms/typed.txt",
		},
		":10":  {saw("BOOTED")},
		":144": {saw(`$abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ`)},
		":193": {saw("pop ax ; [0xaa55]"), "head -c 4 " + r.home + "/vms/shot.png | grep -qa PNG"},
		":437": {saw("after restore."), "! grep BOOTED " + console},
		":477": {ended},
		":574": {"VBoxManage controlvm liveclone poweroff"},
		":519": {"VBoxManage startvm run1 --type headless", "VBoxManage snapshot run1 take live3 --live", "VBoxManage createvm --name deb --register", "VBoxManage startvm deb --type headless"},
	}, map[string]string{
		":437": "there are no guest additions", ":469": "the machine may end after the release of the key",
	})
	for _, saved := range []string{"run1", "liveclone"} {
		if left, err := filepath.Glob(filepath.Join(r.home, "vms", saved, "Snapshots", "*")); err != nil || len(left) > 0 {
			t.Errorf("states and media are left: %q, %v", left, err)
		}
	}
	r.must("VBoxManage controlvm run1 keyboardputstring Z", saw("Z"), "VBoxManage controlvm run1 poweroff")
	if got := second(t, filepath.Join(r.home, "vms", "run1", "run1.vdi")); got != "Z" {
		t.Errorf("the disk whose snapshots were merged holds %q", got)
	}
	r.must("VBoxManage controlvm deb poweroff")
}
