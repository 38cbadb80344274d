package qemu

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
)

func TestParseKeys(t *testing.T) {
	const http = "http://10.0.2.2/"
	for _, c := range []struct {
		line string
		want []stroke
	}{
		{"aB", []stroke{{keys: []string{"a"}}, {keys: []string{"shift", "b"}}}},
		{"<leftCtrl+x>", []stroke{{keys: []string{"ctrl", "x"}}}},
		{"<leftCtrlOn>x<leftCtrlOff>", []stroke{{keys: []string{"ctrl"}, hold: down}, {keys: []string{"x"}}, {keys: []string{"ctrl"}, hold: up}}},
		{"<leftAltOn><f2><leftAltOff>", []stroke{{keys: []string{"alt"}, hold: down}, {keys: []string{"f2"}}, {keys: []string{"alt"}, hold: up}}},
		{"<aOn><aOff>", []stroke{{keys: []string{"a"}, hold: down}, {keys: []string{"a"}, hold: up}}},
		{"<wait1m30s>", []stroke{{pause: 90 * time.Second}}},
		{"${x}", []stroke{{keys: []string{"shift", "4"}}, {keys: []string{"shift", "bracket_left"}}, {keys: []string{"x"}}, {keys: []string{"shift", "bracket_right"}}}},
	} {
		got, err := parseKeys([]string{c.line}, http)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.line, got, err, c.want)
		}
	}
}

// TestKeysOfTemplates takes lines as templates of Packer have them: each works, or
// the error says what to write.
func TestKeysOfTemplates(t *testing.T) {
	for line, want := range map[string]string{
		"<leftCtrlOn><wait>x<wait><leftCtrlOff><wait10>":                             "",
		"<leftAltOn><wait><f2><wait><leftAltOff><wait2>":                             "",
		"<down><down><down><end> autoinstall<f10>":                                   "",
		" preseed/url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/debian/preseed.cfg<wait>": `http://{{ .HTTPIP }}:{{ .HTTPPort }}/ would be typed as it stands: write <http>`,
		"ks=http://{{.HTTPIP}}:{{.HTTPPort}}/ks.cfg":                                 "write <http>",
		"url={{ .HTTPIP }}":    "write <http> for",
		"hostname={{.Name}} ":  "write the text itself",
		"user={{user `name`}}": "write a parameter",
		"<leftShiftOn>a":       "<leftshiftOn> is not let go: write <leftshiftOff> after it",
		"<waitForIt>":          "want such as <wait5>",
		"<hyper>":              "<hyper>: no such key",
		"a < b":                "write <lt> for the letter",
	} {
		_, err := parseKeys([]string{line}, "http://10.0.2.2/")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// echoDisk is a disk whose boot sector writes the letters that are typed to the
// serial port, as the BIOS gives them.
func echoDisk() []byte {
	disk := make([]byte, 1<<20)
	copy(disk, "\xba\xf8\x03"+ // mov dx, 0x3f8
		"\xb0>\xee\xb0\n\xee"+ // mov al, '>'; out dx, al; the same with a newline
		"\x31\xc0\xcd\x16"+ // again: xor ax, ax; int 0x16
		"\xba\xf8\x03\xee"+ // mov dx, 0x3f8; out dx, al
		"\xeb\xf6") // jmp again
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// TestType types into a machine whose BIOS says which letters it was given.
func TestType(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	path := filepath.Join(t.TempDir(), "echo.raw")
	if err := os.WriteFile(path, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{t.TempDir()}}
	d := w.open(func(o *Options) { o.Memory, o.CPUs = "64M", 1 })
	m, err := d.Launch(t.Context(), platforms.Image{Path: path, Format: "raw", NoLogin: true}, testSink{t})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	console := m.(*machine).vm.console
	if err := console.wait(t.Context(), regexp.MustCompile(">")); err != nil {
		t.Fatal(err)
	}
	strokes, err := parseKeys([]string{"aB<leftCtrlOn>gg<leftCtrlOff>g<leftCtrl+g><leftShiftOn>z<leftShiftOff>z."}, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.(*machine).vm.typeKeys(t.Context(), strokes); err != nil {
		t.Fatal(err)
	}
	if err := console.wait(t.Context(), regexp.MustCompile(`\.`)); err != nil {
		t.Fatal(err)
	}
	console.mu.Lock()
	defer console.mu.Unlock()
	if !bytes.Contains(console.text, []byte("aB\a\ag\aZz.")) {
		t.Errorf("the machine was typed %q", console.text)
	}
}

// TestBootCommand types at each start of a machine, as a disk asks for its passphrase.
func TestBootCommand(t *testing.T) {
	need.Tool(t, "qemu-system-x86_64", "qemu-img")
	path := filepath.Join(t.TempDir(), "echo.raw")
	if err := os.WriteFile(path, echoDisk(), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, host: host{t.TempDir()}}
	d := w.open(func(o *Options) {
		o.Memory, o.CPUs, o.BootCommand, o.BootWait = "64M", 1, []string{"Pass phrase<enter>"}, "5s"
	})
	m, err := d.Launch(t.Context(), platforms.Image{Path: path, Format: "raw", NoLogin: true}, testSink{t})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}()
	v := m.(*machine).vm
	if err := v.console.wait(t.Context(), regexp.MustCompile("ss phrase")); err != nil {
		t.Fatal(err)
	}
	if err := v.qmp.Run(t.Context(), "system_reset", nil, nil); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		v.console.mu.Lock()
		n := bytes.Count(v.console.text, []byte("phrase"))
		v.console.mu.Unlock()
		if n == 2 {
			return
		}
		if time.Since(begin) > time.Minute {
			t.Fatalf("typed %d times: %q", n, v.console.tail())
		}
	}
}
