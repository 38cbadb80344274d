package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

// firstDefinition is what `bake init` writes: small, and it builds.
const firstDefinition = `# What this builds: a Debian system with a web page, as a disk that boots by
# BIOS and by UEFI. Build it with: bake build

load("@bake//debian.star", "apt", "clean", "network")

release = param("release", default = "dev", help = "Stamped into /etc/image-release")

def web(base):
    m = apt.install(base, ["nginx-light"])
    m = write(m, "/var/www/html/index.html", "<h1>hello</h1>\n")
    return write(m, "/etc/image-release", "RELEASE=%s\n" % release)

base = source(
    rootfs(),
    debian = "bookworm",
    packages = ["linux-image-cloud-amd64", "openssh-server", "systemd-sysv"],
)
image = clean(web(network.dhcp(base)))

test(image, "nginx -t")

export(image, "web", formats = ["qcow2"], size = "2G")
`

func (a *app) initCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIRECTORY]",
		Short: "write a first definition that works",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := a.dir
			if len(args) == 1 {
				dir = a.abs(args[0])
			}
			return a.writeFirst(dir)
		},
	}
}

// writeFirst writes the first definition into dir and overwrites nothing.
func (a *app) writeFirst(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return coded(exitUsage, err)
	}
	path := filepath.Join(dir, defaultDefinition)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return coded(exitUsage, fmt.Errorf("%s exists already; nothing was written", a.rel(path)))
	}
	if err != nil {
		return coded(exitUsage, err)
	}
	_, err = f.WriteString(firstDefinition)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "wrote %s\nnext: bake plan %[1]s, then bake build %[1]s\n", a.rel(path))
	return nil
}
