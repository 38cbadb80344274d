package cover

import (
	"bytes"
	"slices"
	"strings"
)

// mark ends each line of bake's in a file that has lines of the image as well.
const mark = "# put here by bake while a step runs"

// resolvMark is the first line of bake's /etc/resolv.conf.
const resolvMark = "# The name servers of the host, put here by bake while a step runs.\n"

// resolv gives the step the host's name servers.
func (c *Cover) resolv(r *image, o Options) error {
	if len(o.Resolv) == 0 {
		return nil
	}
	const name = "/etc/resolv.conf"
	c.Resolv, c.Memory = o.Resolv, slices.Clone(resolvedFiles)
	at, err := r.resolve(name)
	if err == nil && strings.HasPrefix(at, "/run/") {
		if !slices.Contains(c.Memory, at) {
			c.Memory = append(c.Memory, at)
		}
		return nil
	}
	// Any other link, wherever it leads, is covered by a file.
	data := append([]byte(resolvMark), withEnd(o.Resolv)...)
	return c.add(r, name, func([]byte) []byte { return data }, leftOfResolv)
}

// leftOfResolv: lines that were added follow those of the image. Of a file that
// was edited, the lines which are not bake's stay. Any other is the step's own.
func leftOfResolv(f *file, now []byte) []byte {
	if bytes.Equal(now, f.data) {
		return f.restored()
	}
	if more, ok := bytes.CutPrefix(now, f.data); ok {
		var had []byte
		if f.had != nil {
			had = withEnd(f.had.data)
		}
		return append(bytes.Clone(had), more...)
	}
	if !bytes.Contains(now, []byte(resolvMark)) {
		return now
	}
	ours := slices.Collect(bytes.Lines(f.data))
	var left []byte
	for line := range bytes.Lines(now) {
		if !slices.ContainsFunc(ours, func(l []byte) bool { return bytes.Equal(l, line) }) {
			left = append(left, line...)
		}
	}
	if len(bytes.TrimSpace(left)) == 0 {
		return f.restored()
	}
	return left
}

// hosts adds the machine's name, and the names that the host knows and the image
// does not, to the image's own.
func (c *Cover) hosts(r *image, o Options) error {
	return c.add(r, "/etc/hosts", func(had []byte) []byte {
		b, known := bytes.Clone(withEnd(had)), map[string]bool{}
		know := func(text string) {
			for line := range strings.Lines(text) {
				for _, name := range hostNames(line) {
					known[name] = true
				}
			}
		}
		add := func(text string) {
			for line := range strings.Lines(text) {
				names := slices.DeleteFunc(hostNames(line), func(name string) bool { return known[name] })
				if len(names) > 0 {
					b = append(b, strings.Fields(line)[0]+"\t"+strings.Join(names, " ")+"\t"+mark+"\n"...)
				}
			}
		}
		know(string(had))
		ours := "127.0.1.1 " + o.Hostname + "\n"
		if len(had) == 0 {
			ours = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" + ours
		}
		add(ours)
		know(ours)
		add(string(o.Hosts))
		return b
	}, leftOfLines)
}

// hostNames returns the names in a line of /etc/hosts.
func hostNames(line string) []string {
	line, _, _ = strings.Cut(line, "#")
	if f := strings.Fields(line); len(f) > 1 {
		return f[1:]
	}
	return nil
}

// leftOfLines: all but the lines that are marked.
func leftOfLines(f *file, now []byte) []byte {
	left := []byte{}
	for line := range bytes.Lines(now) {
		if !bytes.Contains(line, []byte(mark)) {
			left = append(left, line...)
		}
	}
	if f.had == nil && len(bytes.TrimSpace(left)) == 0 {
		return nil
	}
	if f.had != nil && bytes.Equal(left, withEnd(f.had.data)) {
		if bytes.Equal(now, f.data) {
			return f.restored()
		}
		return f.had.data
	}
	return left
}

const policy = `#!/bin/sh
# Put here by bake while a step runs: no service starts in an image.
exit 101
`

// systemctl --now would fail after it has enabled a unit. The variable is for sudo
// and su, which begin with an environment of their own.
const systemctl = `#!/bin/sh
# Put here by bake while a step runs: no systemd runs that could start a unit.
export SYSTEMD_OFFLINE=1
for arg do
	shift
	if [ "$arg" = --now ]; then
		echo "Running in a step of bake, ignoring --now" >&2
	else
		set -- "$@" "$arg"
	fi
done
[ -x /usr/bin/systemctl ] || exec /bin/systemctl "$@"
exec /usr/bin/systemctl "$@"
`

const sudoersDir = "/etc/sudoers.d"

const sudoers = `# Put here by bake while a step runs: systemctl asks these where it is.
Defaults env_keep += "SYSTEMD_OFFLINE container"
`

const mkconfig = `#!/bin/sh
# Put here by bake while a step runs.
echo "${0##*/}: nothing to do in a step of bake: its tree is on no disk. The configuration is made with the disk, by export()." >&2
`

// programs answer where a machine is asked for that is not there: invoke-rc.d may
// not start services, systemctl neither, and GRUB has no disk to write a
// configuration for. sudo passes on what says so to systemd's tools.
func (c *Cover) programs(r *image, _ Options) error {
	for _, p := range []struct{ dir, name, needs, text string }{
		{"/usr/sbin", "policy-rc.d", "/usr/bin/dpkg", policy},
		{sudoersDir, "zz-bake-step", "/usr/bin/sudo", sudoers},
		{"/usr/local/sbin", "systemctl", "/bin/systemctl", systemctl},
		{"/usr/local/sbin", "grub-mkconfig", "/usr/bin/dpkg", mkconfig},
		{"/usr/local/sbin", "grub2-mkconfig", "/usr/bin/rpm", mkconfig},
	} {
		name := p.dir + "/" + p.name
		if !r.isDir(p.dir) || !r.has(p.needs) {
			continue
		}
		if had, err := r.read(name); err != nil || had != nil {
			continue // the image's own answer
		}
		err := c.add(r, name, func([]byte) []byte { return []byte(p.text) }, func(f *file, now []byte) []byte {
			if bytes.Equal(now, f.data) {
				return nil
			}
			return now
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// withEnd returns text that ends with a line end, if there is any.
func withEnd(b []byte) []byte {
	if len(b) == 0 || b[len(b)-1] == '\n' {
		return b
	}
	return append(bytes.Clone(b), '\n')
}
