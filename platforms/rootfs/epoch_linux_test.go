package rootfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTimesOfLayers: nothing in a layer says when its step ran, and the step is
// told the time that stands for that, which follows from the first layer.
func TestTimesOfLayers(t *testing.T) {
	f := newFixture(t, "")
	const epoch = 1_600_000_000
	if err := os.WriteFile(filepath.Join(f.base.Dir, "epoch"), fmt.Appendln(nil, epoch), 0o600); err != nil {
		t.Fatal(err)
	}
	// Made in the second in which the step begins, it would be the step's.
	ann, past := filepath.Join(f.base.Dir, "fs/home/ann"), time.Now().Add(-time.Hour)
	if err := os.Chtimes(ann, past, past); err != nil {
		t.Fatal(err)
	}
	m := f.boot(t)
	out, err := sh(m, `
mkdir -p /srv/dir
echo x >/srv/dir/file
ln -s file /srv/dir/link
mkfifo /srv/pipe
rm /etc/hostname
touch -d @1000000000 /srv/past
touch -d @4000000000 /srv/future
chmod 700 /home/ann
echo "$SOURCE_DATE_EPOCH"`)
	if err != nil || out != fmt.Sprint(epoch) {
		t.Fatalf("SOURCE_DATE_EPOCH is %q, %v", out, err)
	}
	first := f.commit(t, m, "first")
	if out, err := sh(m, "echo y >>/srv/dir/file"); err != nil {
		t.Fatal(err, out)
	}
	second := f.commit(t, m, "second")
	home, err := os.Stat(ann)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]time.Time{
		"srv": time.Unix(epoch, 0), "srv/dir": time.Unix(epoch, 0), "srv/dir/file": time.Unix(epoch, 0), "srv/dir/link": time.Unix(epoch, 0),
		"srv/pipe": time.Unix(epoch, 0), "etc": time.Unix(epoch, 0), "etc/hostname": time.Unix(epoch, 0), ".": time.Unix(epoch, 0),
		"srv/past": time.Unix(1000000000, 0), "srv/future": time.Unix(4000000000, 0), "home/ann": home.ModTime(),
	} {
		for _, layer := range []string{first.Dir, second.Dir} {
			info, err := os.Lstat(filepath.Join(layer, "fs", name))
			if layer == second.Dir && os.IsNotExist(err) {
				continue // it has only what changed
			}
			if err != nil || !info.ModTime().Equal(want) {
				t.Errorf("%s of %s: %v, %v, want %v", name, filepath.Base(layer), info.ModTime(), err, want)
			}
		}
	}
	if out, err := sh(m, "cat /srv/dir/file"); err != nil || strings.Join(strings.Fields(out), " ") != "x y" {
		t.Errorf("the file holds %q, %v", out, err)
	}
}
