package ssh

import (
	"os/exec"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

// TestFlushLogs has GRUB read the copy of a disk that is in use.
func TestFlushLogs(t *testing.T) {
	need.Root(t)
	need.Tool(t, "mkfs.xfs", "grub-fstest", "unshare", "mount")
	script := FlushLogs + `set -e
cd "$1"
truncate -s 320M disk
mkfs.xfs -q disk
mkdir "a place"
mount -o loop disk "a place"
trap 'umount "a place"' EXIT
mkdir "a place/boot"
echo old >"a place/boot/vmlinuz-1"; ln -s vmlinuz-1 "a place/boot/vmlinuz"; echo old >"a place/boot/grub.cfg"
sync; flush_logs
echo new >"a place/boot/vmlinuz-2"; ln -sf vmlinuz-2 "a place/boot/vmlinuz"; rm "a place/boot/vmlinuz-1"
echo new >"a place/boot/grub.new"; mv "a place/boot/grub.new" "a place/boot/grub.cfg"
sync
cp --sparse=always disk synced
flush_logs
cp --sparse=always disk flushed
for copy in synced flushed; do
	for f in grub.cfg vmlinuz vmlinuz-2; do echo "$copy $f $(grub-fstest "$copy" cat "(loop0)/boot/$f" 2>&1)"; done
done
touch "a place/it goes on"
`
	out, err := exec.Command("unshare", "--mount", "sh", "-c", script, "sh", t.TempDir()).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	for _, f := range []string{"grub.cfg", "vmlinuz", "vmlinuz-2"} {
		if !strings.Contains(string(out), "flushed "+f+" new\n") {
			t.Errorf("GRUB does not read the new %s", f)
		}
	}
	if strings.Contains(string(out), "synced vmlinuz-2 new\n") {
		t.Error("sync alone was enough: the test proves nothing")
	}
}
