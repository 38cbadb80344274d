package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/internal/testbake"
)

func TestRow(t *testing.T) {
	tests := []struct {
		name                         string
		row                          row
		ratio, target, than, verdict string
	}{
		{"met", row{Got: 30, Unit: "s", Than: "debos", Base: 50, Limit: 0.8}, "0.60", "≤ 0.8", "debos 50.0 s", "met"},
		{"missed", row{Got: 45, Unit: "s", Than: "debos", Base: 50, Limit: 0.8}, "0.90", "≤ 0.8", "debos 50.0 s", "MISSED"},
		{"fraction", row{Got: 3, Unit: "s", Than: "Packer", Base: 144, Limit: 1.0 / 20}, "1/48", "≤ 1/20", "Packer 144 s", "met"},
		{"absolute", row{Got: 250, Unit: "MiB", Limit: 200}, "", "≤ 200 MiB", "", "MISSED"},
		{"no peer", row{Got: 3, Unit: "s", Than: "Packer", Limit: 1.0 / 20}, "", "≤ 1/20", "Packer (no figure)", "unknown"},
		{"no target", row{Got: 3, Unit: "s"}, "", "", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.row.finish()
			got := [...]string{r.ratio(), r.target(), r.than(), r.verdict()}
			want := [...]string{tt.ratio, tt.target, tt.than, tt.verdict}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestQuantity(t *testing.T) {
	for v, want := range map[float64]string{0.0123: "0.012 s", 1.5: "1.50 s", 42.25: "42.2 s", 143.6: "144 s"} {
		if got := quantity(v, "s"); got != want {
			t.Errorf("quantity(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	var out strings.Builder
	rows := []row{{Name: "short", Got: 1, Unit: "s"}, {Name: "a longer name", Got: 100, Unit: "MiB"}}
	if err := writeTable(&out, rows, []string{"a note"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out.String(), "\n")
	if a, b := strings.Index(lines[1], "1.00 s"), strings.Index(lines[2], "100 MiB"); a != b || a < 0 {
		t.Errorf("columns begin at %d and %d:\n%s", a, b, out.String())
	}
	if lines[3] != "note: a note" {
		t.Errorf("last line is %q", lines[3])
	}
}

func TestMedian(t *testing.T) {
	if got := median([]float64{9, 1, 5}); got != 5 {
		t.Errorf("of three: %v", got)
	}
	if got := median([]float64{4, 1, 2, 9}); got != 3 {
		t.Errorf("of four: %v", got)
	}
}

func TestChoose(t *testing.T) {
	names := func(only string) (string, error) {
		chosen, err := choose(measurements(), only)
		var s []string
		for _, m := range chosen {
			s = append(s, m.name)
		}
		return strings.Join(s, " "), err
	}
	if got, err := names("plan, cold"); err != nil || got != "cold plan" {
		t.Errorf("got %q, %v; want the order of running", got, err)
	}
	if got, err := names(""); err != nil || len(strings.Fields(got)) != len(measurements()) {
		t.Errorf("nothing chosen gives %q, %v; want all", got, err)
	}
	if _, err := names("plan,colt"); err == nil || !strings.Contains(err.Error(), `"colt"`) {
		t.Errorf("an unknown name gives %v", err)
	}
}

// TestMeasure runs measurements of what bake does by itself: a comparison that nobody
// can make any more is not noticed for long.
func TestMeasure(t *testing.T) {
	need.Slow(t)
	need.Tool(t, "go")
	bake := filepath.Join(t.TempDir(), "bake")
	if err := testbake.Build(bake); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-bake", bake, "-only", "plan,loads,tidy"}); err != nil {
		t.Error(err)
	}
}

func TestReadSplit(t *testing.T) {
	const stream = `{"type":"planned","total":4}
{"type":"started","node":{"id":1,"kind":"source"}}
{"type":"output","node":{"id":1,"kind":"source"},"data":"text"}
{"type":"done","node":{"id":1,"kind":"source"},"elapsed":30}
{"type":"cached","node":{"id":2,"kind":"shell"},"elapsed":7}
{"type":"done","node":{"id":3,"kind":"shell"},"elapsed":2}
{"type":"done","node":{"id":4,"kind":"copy"},"elapsed":0.5}
{"type":"done","node":{"id":5,"kind":"export"},"elapsed":4}
{"type":"finished","elapsed":37}
`
	got, err := readSplit(strings.NewReader(stream))
	want := split{base: 30 * time.Second, steps: 2500 * time.Millisecond, export: 4 * time.Second}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if _, err := readSplit(strings.NewReader(`{"type":"done"`)); err == nil {
		t.Error("a stream that was cut off gives no error")
	}
}

func TestMirrorOf(t *testing.T) {
	const targets = `bookworm-updates main http://u.example/debian/
bookworm contrib http://c.example/debian/
bookworm main http://m.example/debian/
`
	if got := mirrorOf(targets, "bookworm"); got != "http://m.example/debian/" {
		t.Errorf("got %q", got)
	}
	if got := mirrorOf(targets, "trixie"); got != "http://deb.debian.org/debian" {
		t.Errorf("without the suite: %q", got)
	}
}

func TestParseMount(t *testing.T) {
	tests := []struct {
		line string
		want mount
		ok   bool
	}{
		{"36 35 98:0 /mnt1 /run rw,noatime master:1 - tmpfs tmpfs rw", mount{"/run", "tmpfs"}, true},
		{"36 35 98:0 / / rw - ext4 /dev/vda rw", mount{"/", "ext4"}, true},
		{"36 35 98:0 / /", mount{}, false},
		{"", mount{}, false},
	}
	for _, tt := range tests {
		if got, ok := parseMount(tt.line); got != tt.want || ok != tt.ok {
			t.Errorf("%q gives %+v, %v", tt.line, got, ok)
		}
	}
	if all := []mount{{"/run", "tmpfs"}, {"/run", "ext4"}}; tmpfsOn(all, "/run") {
		t.Error("a mount that is hidden counts")
	}
}

func TestHighWater(t *testing.T) {
	const status = "Name:\tbake\nVmPeak:\t  999 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 10 kB\n"
	if got := highWater([]byte(status)); got != 2<<20 {
		t.Errorf("got %d", got)
	}
	if got := highWater([]byte("Name:\tbake\n")); got != 0 {
		t.Errorf("without the field: %d", got)
	}
}

func TestNoiseIsTheSameEachTime(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := writeNoise(filepath.Join(dir, name), 100_000); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filesBelow(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("files are %q, %v", files, err)
	}
	a, b := read(t, files[0]), read(t, files[1])
	if a != b || len(a) != 100_000 {
		t.Errorf("%d and %d bytes, equal: %v", len(a), len(b), a == b)
	}
}

func TestStageJobMakesScriptsExecutable(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs permission bits: this host has none")
	}
	dir := t.TempDir()
	if err := stageJob(dir); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-n", filepath.Join(dir, "harden.sh")).CombinedOutput(); err != nil {
		t.Errorf("harden.sh: %v: %s", err, out)
	}
	if _, err := exec.LookPath(filepath.Join(dir, "harden.sh")); err != nil {
		t.Error(err)
	}
	if got := len(read(t, filepath.Join(dir, "tree", "opt", "payload.bin"))); got != payloadSize {
		t.Errorf("the payload has %d bytes", got)
	}
}

func TestRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "peers.json")
	r, err := loadRecord(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.last("debos"); ok {
		t.Error("an empty record knows debos")
	}
	if _, err := r.add("debos", usage{wall: 50 * time.Second, cpu: 40 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if got, ok := r.now("debos"); !ok || got.Seconds != 50 || got.CPU != 40 {
		t.Errorf("after a run: %+v, %v", got, ok)
	}
	if r, err = loadRecord(path); err != nil {
		t.Fatal(err)
	}
	if got, ok := r.last("debos"); !ok || got.Seconds != 50 || got.CPU != 40 {
		t.Errorf("read again: %+v, %v", got, ok)
	}
	if _, ok := r.now("debos"); ok {
		t.Error("an earlier run counts as one of now")
	}
}

func TestChild(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs sh: this host has none")
	}
	dir := t.TempDir()
	shell := func(script string) *child {
		return &child{args: []string{"sh", "-c", script}, dir: dir, log: filepath.Join(dir, "log"), watch: true}
	}
	t.Run("measures", func(t *testing.T) {
		u, err := shell("sleep 0.1").run(context.Background())
		if err != nil || u.wall < 100*time.Millisecond || u.peak <= 0 {
			t.Errorf("got %+v, %v", u, err)
		}
		if runtime.GOOS == "linux" && u.own <= 0 {
			t.Errorf("no memory of its own: %+v", u)
		}
	})
	t.Run("shows the log of a failure", func(t *testing.T) {
		_, err := shell("echo the reason; exit 3").run(context.Background())
		if err == nil || !strings.Contains(err.Error(), "    the reason") || !strings.Contains(err.Error(), "exit status 3") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("stops with its own children", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		begin := time.Now()
		if _, err := shell("sleep 30; true").run(ctx); err == nil {
			t.Error("no error")
		}
		if took := time.Since(begin); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
