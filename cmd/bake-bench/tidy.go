package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// tidyFiles is how many files are formatted and linted.
const tidyFiles = 1000

// tidyDefinition is one of these files: what an image of a small service has.
const tidyDefinition = `"""The image of service %[1]d."""

load("@bake//debian.star", "apt", "clean", "service", "user")

release = param("release", default = "dev", help = "Stamped into /etc/image-release")
size = param("size", default = "small", choices = ["small", "large"])

_TUNE = """
    cat >/etc/sysctl.d/90-service.conf <<-END
    net.core.somaxconn = 4096
    END
    for unit in nginx service-%[1]d; do
        systemctl enable "$unit"
    done
    if [ -e /etc/default/grub ]; then
        sed -i 's/^GRUB_TIMEOUT=.*/GRUB_TIMEOUT=0/' /etc/default/grub
    fi
"""

def web(base, packages = []):
    """Makes the service's layer.

    Args:
      base: the layer to begin on.
      packages: further packages.

    Returns:
      The new layer.
    """
    m = apt.install(base, ["nginx-light", "curl"] + packages)
    m = user(m, "service", groups = ["adm"], system = True)
    m = write(m, "/etc/image-release", "RELEASE=%%s\n" %% release)
    m = shell(m, _TUNE, env = {"SIZE": size})
    m = shell(m, "apt-get update && apt-get install -y --no-install-recommends jq | tee /var/log/install.log")
    return shell(m, [
        "set -eu",
        "curl -fsSLo /tmp/tool.tar.gz https://downloads.example/tool-%[1]d.tar.gz",
        "echo '0f343b0931126a20f133d67c2b018a3b5f9f6c3a2a1e9d8c7b6a5f4e3d2c1b0a  /tmp/tool.tar.gz' | sha256sum -c -",
        "tar -C /usr/local -xzf /tmp/tool.tar.gz",
    ], name = "tool")

base = source(rootfs(), debian = "bookworm", packages = ["linux-image-cloud-amd64", "openssh-server"])
image = clean(service(web(base, ["vim"] if size == "large" else []), "service-%[1]d", "/usr/local/bin/tool"))
export(image, "service-%[1]d", formats = ["qcow2"], size = "4G")
`

// measureTidy formats and lints many files that need nothing.
func measureTidy(ctx context.Context, b *bench) ([]row, error) {
	dir, err := b.subdir("tidy")
	if err != nil {
		return nil, err
	}
	for i := range tidyFiles {
		path := filepath.Join(dir, fmt.Sprintf("service%d.star", i))
		if err := os.WriteFile(path, fmt.Appendf(nil, tidyDefinition, i), 0o644); err != nil {
			return nil, err
		}
	}
	const n = 5
	p := project{bake: b.bake, dir: dir, store: b.path("tidy.store")}
	var rows []row
	for _, c := range []struct {
		name string
		args []string
	}{{"fmt of 1,000 files", []string{"fmt", "--check"}}, {"lint of 1,000 files", []string{"lint"}}} {
		b.logf("bake %s over %d files, %d times", c.args[0], tidyFiles, n)
		runs, err := repeat(ctx, n, p.command(c.args...), nil)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{Name: c.name, Got: medianSeconds(runs), Unit: "s", Runs: n, Limit: 2}.finish())
	}
	return rows, nil
}
