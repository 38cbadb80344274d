package disk

import (
	_ "embed"
	"fmt"
	"strings"

	"bake.build/bake/runtime/disk/tree"
)

//go:embed grow-root
var growScript []byte

const growUnit = `# ` + header + `
[Unit]
Description=Grow the root partition into the rest of the disk
DefaultDependencies=no
Before=systemd-growfs-root.service systemd-growfs@-.service local-fs.target shutdown.target
After=systemd-remount-fs.service
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/grow-root
`

const repartRoot = "# " + header + "\n# The root partition grows into the rest of the disk.\n[Partition]\nType=root\n"

// addGrowth has the root file system grow into a larger disk at boot, by what the
// tree has for that: systemd-repart, cloud-init with growpart, which both come with
// a way to grow the file system, or a unit of its own that uses sfdisk. Without any
// of them it warns.
func (o *Options) addGrowth(t *tree.Tree, sec int64) error {
	by := ""
	switch systemd := exists(t, "usr/lib/systemd/systemd-growfs", "lib/systemd/systemd-growfs"); {
	case hasFiles(t, "etc/repart.d") || hasFiles(t, "usr/lib/repart.d"):
		return nil // the image says what its partitions do
	case systemd && exists(t, "usr/bin/systemd-repart", "bin/systemd-repart"):
		by = "systemd-repart"
		if err := t.Add("etc/repart.d/50-root.conf", 0o644, []byte(repartRoot), sec); err != nil {
			return err
		}
	case exists(t, "usr/bin/cloud-init") && exists(t, "usr/bin/growpart"):
		by = "cloud-init"
	case systemd && exists(t, "usr/sbin/sfdisk", "sbin/sfdisk", "usr/bin/sfdisk") && exists(t, "usr/bin/partx", "usr/sbin/partx"):
		by = "grow-root.service, with sfdisk"
		for _, f := range []struct {
			path string
			perm uint32
			data []byte
		}{
			{"usr/local/sbin/grow-root", 0o755, growScript},
			{"etc/systemd/system/grow-root.service", 0o644, []byte(growUnit)},
			{"etc/systemd/system/local-fs.target.d/50-grow-root.conf", 0o644, []byte("# " + header + "\n[Unit]\nWants=grow-root.service\n")},
		} {
			if err := t.Add(f.path, f.perm, f.data, sec); err != nil {
				return err
			}
		}
	default:
		return o.warnGrowth(t)
	}
	o.Note("the root file system grows into a larger disk at boot, by " + by)
	return nil
}

// warnGrowth says what to install.
func (o *Options) warnGrowth(t *tree.Tree) error {
	add := "cloud-init and growpart"
	release, err := readText(t, "usr/lib/os-release")
	if err != nil {
		return err
	}
	if strings.Contains(release, "debian") && exists(t, "usr/lib/systemd/systemd-growfs") {
		add = "systemd-repart" // a package of its own since Debian 13
	}
	o.Warn(fmt.Sprintf("nothing in the image grows the root file system into a larger disk: add %s to packages", add))
	return nil
}
