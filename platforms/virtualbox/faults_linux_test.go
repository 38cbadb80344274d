package virtualbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/desktop"
	"bake.build/bake/platforms/platformtest"
	"bake.build/bake/platforms/virtualbox/vboxtest"
)

// faults has commands go wrong.
func faults(t *testing.T, lines ...string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "faults")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(vboxtest.FaultsEnv, path)
}

// emptyDisk makes a machine's spec with a disk that boots nothing.
func emptyDisk(t *testing.T, dir string) desktop.Spec {
	t.Helper()
	raw, medium := filepath.Join(t.TempDir(), "raw"), filepath.Join(dir, "disk0-0.vdi")
	if err := os.WriteFile(raw, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := desktop.WriteMedium(t.Context(), media{}, medium, raw); err != nil {
		t.Fatal(err)
	}
	return desktop.Spec{
		Dir: dir, Name: "machine", Hardware: hardware.Options{Memory: "64M", CPUs: 1}.Described(false), Boot: []string{"disk"},
		Disks: []desktop.Disk{{Media: []string{medium}}}, Console: filepath.Join(dir, "console.log"),
	}
}

// gone fails where anything is left of the machine in dir.
func gone(t *testing.T, dir string) {
	t.Helper()
	p := placeOf(dir)
	if out, err := exec.Command("sh", "-c", "grep -lzF "+homeEnv+p.home()+" /proc/[0-9]*/environ 2>/dev/null").Output(); err == nil {
		t.Errorf("processes are left: %s", out)
	}
	if _, err := os.Stat(p.socket()); err == nil {
		t.Errorf("%s is left", p.socket())
	}
}

// TestFaults has VBoxManage hang, die, find locks, and print what nobody knows, at each
// command: the error tells, and nothing is left that runs.
func TestFaults(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	vboxtest.Install(t)
	for fault, want := range map[string]string{
		"":                      "",
		"modifyvm: locked 3":    "",
		"startvm: locked 1":     "",
		"snapshot: locked 1":    "",
		"createvm: unknown":     "make the machine: VBoxManage createvm: the moon is in the wrong house",
		"createmedium: die":     "NS_ERROR_CALL_FAILED",
		"showmediuminfo: hang":  "no answer within 3s; it was ended",
		"storageattach: zero":   "VBoxManage storageattach: it did not work",
		"startvm: die":          "NS_ERROR_CALL_FAILED",
		"snapshot: zero":        "VBoxManage snapshot: it did not work",
		"snapshot: die":         "NS_ERROR_CALL_FAILED",
		"controlvm: hang":       "no answer within 3s; it was ended",
		"setextradata: unknown": "VBoxManage setextradata: the moon is in the wrong house",
		"showvminfo: unknown":   "VBoxManage showvminfo: the moon is in the wrong house",
	} {
		t.Run(fault, func(t *testing.T) {
			faults(t, fault)
			h := &hypervisor{limit: 3 * time.Second}
			dir := t.TempDir()
			s := emptyDisk(t, dir)
			s.OEM = "io.systemd.credential:x=y"
			err := use(t, h, s)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
			if found, err := h.Remove(t.Context(), dir); !found || err != nil {
				t.Errorf("remove: %v, %v", found, err)
			}
			gone(t, dir)
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if found, err := h.Remove(t.Context(), dir); found || err != nil {
				t.Errorf("remove what is gone: %v, %v", found, err)
			}
		})
	}
}

// use makes a machine, starts it, takes a snapshot and ends it.
func use(t *testing.T, h *hypervisor, s desktop.Spec) error {
	t.Helper()
	v, err := h.Create(t.Context(), s)
	if err != nil {
		return err
	}
	if err := v.Start(t.Context()); err != nil {
		return err
	}
	address, err := v.Reach(t.Context(), 22)
	if err != nil {
		return err
	}
	if again, err := v.Reach(t.Context(), 22); err != nil || again != address {
		t.Errorf("reached at %s, then at %s, %v", address, again, err)
	}
	if runs, err := v.Running(t.Context()); err != nil || !runs {
		return errors.Join(err, errors.New("it does not run"))
	}
	sealed, err := v.Freeze(t.Context())
	if err != nil {
		return err
	}
	raw := filepath.Join(t.TempDir(), "raw")
	if err := desktop.ReadMedia(t.Context(), media{}, append(s.Disks[0].Media, sealed...), raw, nil); err != nil {
		return err
	}
	if saved, err := filepath.Glob(filepath.Join(s.Dir, "vm", "*", "Snapshots", "*.sav")); err != nil || len(saved) > 0 {
		t.Errorf("the memory is left: %v, %v", saved, err)
	}
	if err := errors.Join(v.Stop(t.Context()), v.Stop(t.Context())); err != nil {
		return err
	}
	if runs, err := v.Running(t.Context()); err != nil || runs {
		return errors.Join(err, errors.New("it still runs"))
	}
	return nil
}

// TestReachTaken has VirtualBox' log say that another program has taken the port.
func TestReachTaken(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	vboxtest.Install(t)
	h, dir := &hypervisor{}, t.TempDir()
	made, err := h.Create(t.Context(), emptyDisk(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := h.Remove(t.Context(), dir); err != nil {
			t.Error(err)
		}
	}()
	if err := made.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	first, err := made.Reach(t.Context(), 22)
	if err != nil {
		t.Fatal(err)
	}
	v := made.(*vm)
	f, err := os.OpenFile(v.log(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(f, "00:00:05.007291 NAT: Failed to redirect TCP %s -> 0.0.0.0:22 (Address already in use)\n", first)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if second, err := made.Reach(t.Context(), 22); err != nil || second == first {
		t.Errorf("reached at %s, then at %s, %v", first, second, err)
	}
}

// killedEnv has the test binary be a build that is killed, in the directory that it names.
const killedEnv = "BAKE_TEST_KILLED"

// A diary is a ledger that outlives its process: a line for each record that begins or
// ends.
type diary struct {
	*platformtest.Host
	f *os.File
}

func (d diary) Ledger() platforms.Ledger { return d }

func (d diary) Begin(r platforms.Resource) (func() error, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(d.f, "+%s\n", text)
	return func() error {
		_, err := fmt.Fprintf(d.f, "-%s\n", text)
		return err
	}, err
}

// TestKilled kills builds at random moments: what is in the ledger then is all that has
// to be ended.
func TestKilled(t *testing.T) {
	if dir := os.Getenv(killedEnv); dir != "" {
		beKilled(t, dir)
		return
	}
	need.Slow(t)
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	vboxtest.Install(t)
	for range 12 {
		h := platformtest.NewHost(t)
		cmd := exec.Command(os.Args[0], "-test.run", "^TestKilled$")
		cmd.Env = append(os.Environ(), killedEnv+"="+h.Dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(2500 * time.Millisecond))
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		left := diaryLeft(t, filepath.Join(h.Dir, "diary"))
		d := openDriver(t, h)
		for _, r := range left {
			if _, err := d.Collect(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
		machines, err := filepath.Glob(filepath.Join(h.Dir, Name+"*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, dir := range machines {
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("%s is left with %d files, %v", dir, len(entries), err)
			}
			gone(t, dir)
		}
		for _, r := range left {
			gone(t, r.ID)
		}
	}
}

// diaryLeft returns the records that have not ended.
func diaryLeft(t *testing.T, path string) (left []platforms.Resource) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil // killed before
	} else if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	open := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if text := lines.Text(); text[0] == '+' {
			open[text[1:]]++
		} else {
			open[text[1:]]--
		}
	}
	for text, n := range open {
		if n == 0 {
			continue
		}
		var r platforms.Resource
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Fatal(err)
		}
		left = append(left, r)
	}
	return left
}

// beKilled boots a machine again and again, until it is killed.
func beKilled(t *testing.T, dir string) {
	f, err := os.OpenFile(filepath.Join(dir, "diary"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	d := openDriver(t, diary{&platformtest.Host{Dir: dir}, f})
	layer := platforms.Layer{Key: "first", Dir: t.TempDir()}
	raw := filepath.Join(layer.Dir, "raw")
	if err := os.WriteFile(raw, append(append(make([]byte, 510), 0x55, 0xaa), make([]byte, 1<<20-512)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Import(t.Context(), platforms.Origin{Kind: "disk", Paths: map[string]string{"disk": raw}}, layer.Dir, platformtest.TestLog{T: t}); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := d.Boot(t.Context(), []platforms.Layer{layer}, platformtest.TestLog{T: t})
		t.Fatal(m, err) // nobody answers there
	}
}
