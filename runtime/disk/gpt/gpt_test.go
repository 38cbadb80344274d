package gpt

import (
	"bytes"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// disk is an image in memory.
type disk []byte

func (d disk) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(d).ReadAt(p, off) }

func (d disk) WriteAt(p []byte, off int64) (int, error) { return copy(d[off:], p), nil }

const size = 8 << 20

func sample() *Table {
	return &Table{
		Disk: DeriveGUID([32]byte{1}, "disk"), Sectors: size / SectorSize,
		Partitions: []Partition{
			{Number: 1, First: 4096, Last: 8191, Type: RootAMD64, ID: DeriveGUID([32]byte{1}, "root"), Name: "root"},
			{Number: 14, First: 2048, Last: 4095, Type: BIOSBoot, ID: DeriveGUID([32]byte{1}, "bios"), Name: "bios ä𝄞", Attrs: 4},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	d := make(disk, size)
	copy(d, bytes.Repeat([]byte{0xcc}, SectorSize))
	if err := sample().Write(d); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(d[:440], bytes.Repeat([]byte{0xcc}, 440)) {
		t.Error("the boot code was touched")
	}
	for name, damage := range map[string]int{"whole": -1, "primary header": 512 + 60, "primary table": 1024 + 20, "primary magic": 512} {
		t.Run(name, func(t *testing.T) {
			d := bytes.Clone(d)
			if damage >= 0 {
				d[damage] ^= 1
			}
			got, err := Read(disk(d), size)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, sample()) {
				t.Errorf("got %+v\nwant %+v", got, sample())
			}
		})
	}
	d[512], d[size-512] = 'X', 'X'
	if _, err := Read(d, size); err == nil {
		t.Error("both copies damaged: no error")
	}
}

// TestPrimaryHeader holds the bytes of a header, which other tools have read.
func TestPrimaryHeader(t *testing.T) {
	d := make(disk, size)
	if err := sample().Write(d); err != nil {
		t.Fatal(err)
	}
	const want = "4546492050415254000001005c000000"
	if got := hex.EncodeToString(d[512:528]); got != want {
		t.Errorf("header begins with %s, want %s", got, want)
	}
	if got := hex.EncodeToString(d[446:462]); got != "00000200eeffffff01000000ff3f0000" {
		t.Errorf("protective partition %s", got)
	}
	// The EFI specification's mixed order of bytes.
	if got := hex.EncodeToString(d[1024:1040]); got != "e3bc684fcde8b14d96e7fbcaf984b709" {
		t.Errorf("type %s", got)
	}
}

func TestToolAgrees(t *testing.T) {
	need.Tool(t, "sfdisk")
	d := make(disk, size)
	if err := sample().Write(d); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, d, 0o600); err != nil {
		t.Fatal(err)
	}
	tool, err := exec.LookPath("sfdisk")
	if err != nil {
		tool = "/usr/sbin/sfdisk"
	}
	out, err := exec.Command(tool, "--verify", path).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "No errors detected") {
		t.Errorf("sfdisk: %v\n%s", err, out)
	}
	out, err = exec.Command(tool, "--dump", path).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{sample().Disk.String(), sample().Partitions[0].ID.String(), "start=        4096, size=        4096", `name="bios \xc3\xa4`} {
		if !strings.Contains(strings.ToLower(string(out)), want) {
			t.Errorf("sfdisk does not show %q:\n%s", want, out)
		}
	}
}

func TestBadTables(t *testing.T) {
	for name, change := range map[string]func(*Table){
		"overlap":    func(t *Table) { t.Partitions[1].Last = 4096 },
		"number":     func(t *Table) { t.Partitions[1].Number = 129 },
		"twice":      func(t *Table) { t.Partitions[1].Number = 1 },
		"too far":    func(t *Table) { t.Partitions[0].Last = t.Sectors - 10 },
		"too near":   func(t *Table) { t.Partitions[1].First = 10 },
		"no type":    func(t *Table) { t.Partitions[0].Type = GUID{} },
		"small disk": func(t *Table) { t.Sectors = 40 },
	} {
		t.Run(name, func(t *testing.T) {
			table := sample()
			change(table)
			if err := table.Write(make(disk, size)); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestGUID(t *testing.T) {
	const text = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	if ESP.String() != text {
		t.Errorf("ESP is %s", ESP)
	}
	for _, bad := range []string{"", text[1:], text + "0", strings.Replace(text, "-", "0", 1), strings.Replace(text, "c", "g", 1)} {
		if _, err := ParseGUID(bad); err == nil {
			t.Errorf("ParseGUID(%q): no error", bad)
		}
	}
	a, b := DeriveGUID([32]byte{1}, "x"), DeriveGUID([32]byte{2}, "x")
	if a == b || a == DeriveGUID([32]byte{1}, "y") || a[6]>>4 != 4 || a[8]>>6 != 2 {
		t.Errorf("derived %s and %s", a, b)
	}
}

func FuzzRead(f *testing.F) {
	d := make(disk, size)
	if err := sample().Write(d); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(d[:34*512]))
	f.Add([]byte(d[:1024]))
	f.Fuzz(func(t *testing.T, head []byte) {
		d := make(disk, 1<<20)
		copy(d, head)
		table, err := Read(d, int64(len(d)))
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Last >= table.Sectors || p.First > p.Last {
				t.Errorf("partition off the disk: %+v", p)
			}
		}
	})
}
