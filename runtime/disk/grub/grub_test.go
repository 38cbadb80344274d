package grub

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// image is a disk in memory.
type image []byte

func (d image) WriteAt(p []byte, off int64) (int, error) { return copy(d[off:], p), nil }

func fakeBoot() []byte {
	b := bytes.Repeat([]byte{0xb0}, sectorSize)
	b[510], b[511] = 0x55, 0xaa
	return b
}

func TestEmbed(t *testing.T) {
	const first, room = 2048, 64
	core := bytes.Repeat([]byte{0xc0}, 5*sectorSize+100)
	d := make(image, (first+room)*sectorSize)
	copy(d[bootCode:sectorSize], bytes.Repeat([]byte{0x77}, sectorSize-bootCode))
	if err := Embed(d, fakeBoot(), core, first, room); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d[bootCode:sectorSize], bytes.Repeat([]byte{0x77}, sectorSize-bootCode)) {
		t.Error("the partition table was touched")
	}
	le := binary.LittleEndian
	if got := le.Uint64(d[0x5c:]); got != first {
		t.Errorf("the boot image loads sector %d, want %d", got, first)
	}
	if d[0x64] != 0xff || d[0x66] != 0x90 || d[0x67] != 0x90 {
		t.Errorf("drive %x, check %x", d[0x64], d[0x66:0x68])
	}
	c := d[first*sectorSize:]
	start, n, seg := le.Uint64(c[500:]), le.Uint16(c[508:]), le.Uint16(c[510:])
	if start != first+1 || n != 5 || seg != 0x820 {
		t.Errorf("block list: %d sectors from %d to segment %#x", n, start, seg)
	}
	// All but the patched bytes is the core image.
	if !bytes.Equal(c[:500], core[:500]) || !bytes.Equal(c[512:len(core)], core[512:]) {
		t.Error("the core image was damaged")
	}
	for i, b := range fakeBoot()[:bootCode] {
		if d[i] != b && (i < 0x5c || i > 0x67) {
			t.Errorf("byte %#x of the boot image was changed", i)
		}
	}
}

func TestEmbedErrors(t *testing.T) {
	for name, c := range map[string]struct {
		boot, core []byte
		room       uint64
	}{
		"no boot sector": {make([]byte, sectorSize), make([]byte, 2048), 64},
		"short boot":     {fakeBoot()[:100], make([]byte, 2048), 64},
		"tiny core":      {fakeBoot(), make([]byte, 100), 64},
		"no room":        {fakeBoot(), make([]byte, 65*sectorSize), 64},
		"too large":      {fakeBoot(), make([]byte, maxCore+1), 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Embed(make(image, 1<<20), c.boot, c.core, 34, c.room); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string][]string{
		"":                              nil,
		"  ":                            nil,
		"quiet":                         {"quiet"},
		" a  b\tc\n":                    {"a", "b", "c"},
		`dyndbg="file a.c +p" x`:        {"dyndbg=file a.c +p", "x"},
		`a=""`:                          {"a="},
		"systemd.unit=emergency.target": {"systemd.unit=emergency.target"},
	} {
		got, err := Words(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Words(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{`a="b`, "a\x00b", "a\x1bb"} {
		if _, err := Words(bad); err == nil {
			t.Errorf("Words(%q): no error", bad)
		}
	}
}

func sampleConfig(args ...string) Config {
	return Config{
		Root: "PARTUUID=11111111-2222-4333-8444-555555555555", Kernel: Kernel{"/boot/vmlinuz-6.1", "/boot/initrd.img-6.1", "6.1"},
		Args: append([]string{"ro", "console=tty0"}, args...), Headers: []string{"a header"},
	}
}

func TestScript(t *testing.T) {
	s := sampleConfig("it's", "a b").Script()
	want := `linux "$1" 'root=PARTUUID=11111111-2222-4333-8444-555555555555' 'ro' 'console=tty0' 'it'\''s' 'a b' $3`
	if !strings.Contains(s, want) {
		t.Errorf("no line %s in\n%s", want, s)
	}
}

func TestCompareVersions(t *testing.T) {
	for _, c := range [][2]string{
		{"6.1.0-9-amd64", "6.1.0-10-amd64"}, {"5.10", "6.1"}, {"6.1", "6.10"}, {"6.9.1", "6.10.1"}, {"0-rescue-0123", "5.14"},
		{"5.14.0-70.13.1.el9_0.x86_64", "5.14.0-427.el9_4.x86_64"}, {"6.12.48+deb13-amd64", "6.12.48+deb13.1-amd64"},
		{"6.5.6-300.fc39.x86_64", "6.5.6-300.fc40.x86_64"}, {"virt", "6.1"},
	} {
		if CompareVersions(c[0], c[1]) >= 0 || CompareVersions(c[1], c[0]) <= 0 {
			t.Errorf("%s is not before %s", c[0], c[1])
		}
	}
	for _, c := range [][2]string{{"6.1", "6.1"}, {"6.1-amd64", "6.1-cloud-amd64"}, {"virt", "lts"}} {
		if CompareVersions(c[0], c[1]) != 0 {
			t.Errorf("%s and %s differ", c[0], c[1])
		}
	}
}

func TestGRUBParsesScript(t *testing.T) {
	need.Tool(t, "grub-script-check")
	for _, args := range [][]string{nil, {"it's"}, {"a;b", "{", "$(x)"}} {
		cmd := exec.Command("grub-script-check")
		cmd.Stdin = strings.NewReader(sampleConfig(args...).Script())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
}

func TestDefaults(t *testing.T) {
	need.Tool(t, "sh")
	cmd := exec.Command("sh", "-c", sampleConfig("it's").Defaults()+`printf %s "$GRUB_CMDLINE_LINUX"`)
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "ro console=tty0 it's" {
		t.Errorf("the shell reads %q, %v", out, err)
	}
}

func TestCoreIsCached(t *testing.T) {
	need.Tool(t, "grub-mkimage")
	for _, target := range []Target{BIOS, EFIAMD64} {
		need.File(t, filepath.Join(target.dir(), "moddep.lst"))
		cache := filepath.Join(t.TempDir(), "cache")
		made, err := Core(context.Background(), target, cache)
		if err != nil {
			t.Fatal(err)
		}
		if len(made) > maxCore && target.EFI == "" {
			t.Errorf("%s: %d bytes are too many", target.Format, len(made))
		}
		fresh, err := Core(context.Background(), target, "")
		if err != nil || !bytes.Equal(made, fresh) {
			t.Errorf("%s: made twice, it differs (%v)", target.Format, err)
		}
		entries, err := os.ReadDir(cache)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%s: the cache has %d files, %v", target.Format, len(entries), err)
		}
		// What is in the cache is used as it is.
		if err := os.WriteFile(filepath.Join(cache, entries[0].Name()), []byte("cached"), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := Core(context.Background(), target, cache); err != nil || string(b) != "cached" {
			t.Errorf("%s: the cache is not used: %v", target.Format, err)
		}
	}
}
