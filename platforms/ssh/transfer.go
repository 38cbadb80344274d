package ssh

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"bake.build/bake/platforms"
)

// place puts a file in memory by a channel of its own. Its owner and mode are
// set later.
func (m *Machine) place(ctx context.Context, l *link, f platforms.File) error {
	name := path.Clean(f.Path)
	script := fmt.Sprintf(`mkdir -p %s && rm -f %[2]s && umask 077 && exec cat >%[2]s`, quote(path.Dir(name)), quote(name))
	if err := m.pipe(ctx, l, script, strings.NewReader(string(f.Data)), io.Discard); err != nil {
		return fmt.Errorf("make the file %s: %w", name, err)
	}
	return nil
}

// pieceSize is how much of a stream is sent at a time. A tree of small files is
// thousands of writes of one block otherwise.
const pieceSize = 256 << 10

// tarOptions sets what the machine's tar can do beside the least.
const tarOptions = `case "$(tar --version 2>/dev/null)" in *GNU*) o="--numeric-owner --xattrs --xattrs-include=*";; *bsdtar*) o="--numeric-owner";; *) o=;; esac; set -f`

// Write unpacks a tar stream below dst. See platforms.Machine.
func (m *Machine) Write(ctx context.Context, dst string, in io.Reader) error {
	l, err := m.current(ctx)
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	haveTar, err := l.hasTar(ctx)
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	if !haveTar {
		err = m.writeSFTP(ctx, l, dst, in)
	} else {
		err = m.writeTar(ctx, l, dst, in)
	}
	if err != nil {
		return fmt.Errorf("write to %s: %w", dst, err)
	}
	return nil
}

func (l *link) hasTar(ctx context.Context) (bool, error) {
	out, err := l.control.do(ctx, `command -v tar >/dev/null && echo yes || true`)
	return strings.TrimSpace(out) == "yes", err
}

func (m *Machine) writeTar(ctx context.Context, l *link, dst string, in io.Reader) error {
	r, w := io.Pipe()
	go func() {
		buf := bufio.NewWriterSize(w, pieceSize)
		err := newEntries(ctx, l, dst).copy(buf, in)
		if err == nil {
			err = buf.Flush()
		}
		w.CloseWithError(err)
	}()
	defer r.Close()
	script := fmt.Sprintf(`%s; mkdir -p %[2]s && cd %[2]s && exec tar -x -p $o -f -`, tarOptions, quote(dst))
	return m.pipe(ctx, l, script, r, io.Discard)
}

// entries judges the entries of a tar stream on their way to the machine: none
// leaves the directory that it is unpacked in.
type entries struct {
	ctx     context.Context
	control *controlShell
	dst     string
	dirs    map[string]bool            // directories that are known to be some
	links   map[string]bool            // links of the stream
	below   map[string]map[string]bool // names of directories in a directory; true for links to them
}

func newEntries(ctx context.Context, l *link, dst string) *entries {
	return &entries{
		ctx: ctx, control: l.control, dst: dst,
		dirs: map[string]bool{".": true}, links: map[string]bool{}, below: map[string]map[string]bool{},
	}
}

func (e *entries) copy(w io.Writer, in io.Reader) error {
	tr, tw := tar.NewReader(in), tar.NewWriter(w)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return tw.Close()
		} else if err != nil {
			return err
		}
		if err := e.admit(h); err != nil {
			return err
		}
		plainHeader(h)
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}

// plainHeader makes a header such that a simple tar can read it, too.
func plainHeader(h *tar.Header) {
	h.Format = tar.FormatGNU
	for name := range h.PAXRecords {
		if strings.HasPrefix(name, "SCHILY.xattr.") {
			h.Format = tar.FormatPAX
		} else {
			delete(h.PAXRecords, name)
		}
	}
	if h.Format == tar.FormatGNU {
		h.PAXRecords = nil
		h.ModTime = h.ModTime.Truncate(time.Second)
	}
	h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
}

// admit says what is wrong with the place of an entry.
func (e *entries) admit(h *tar.Header) error {
	name := path.Clean(h.Name)
	if path.IsAbs(name) || name == ".." || strings.HasPrefix(name, "../") {
		return fmt.Errorf("the entry %q would leave the directory", h.Name)
	}
	if err := e.parents(h.Name, name); err != nil {
		return err
	}
	if err := e.keepsDir(h.Typeflag, name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		delete(e.links, name)
		e.dirs[name] = true
	case tar.TypeSymlink:
		e.links[name] = true
		delete(e.dirs, name)
	case tar.TypeLink:
		target := path.Clean(h.Linkname)
		if path.IsAbs(target) || target == ".." || strings.HasPrefix(target, "../") {
			return fmt.Errorf("the entry %q would leave the directory by its link to %q", h.Name, h.Linkname)
		}
		if err := e.parents(h.Name, target); err != nil {
			return err
		}
	default:
		delete(e.links, name)
	}
	return nil
}

// keepsDir fails where something else than a directory would replace one, which
// programs that unpack archives do when it is empty.
func (e *entries) keepsDir(typ byte, name string) error {
	if typ == tar.TypeDir {
		return nil
	}
	dirs, err := e.dirsIn(path.Dir(name))
	if err != nil {
		return err
	}
	if isLink, is := dirs[path.Base(name)]; is && !(isLink && typ == tar.TypeSymlink) {
		return &platforms.DirError{Name: name}
	}
	return nil
}

// listDirs prints the directories, and the links to some, in the working
// directory.
const listDirs = `for d in * .[!.]* ..?*; do [ ! -d "$d" ] || { [ -L "$d" ] && printf "l%s\n" "$d" || printf "d%s\n" "$d"; }; done`

// dirsIn returns what dir held of directories when it was first asked for. The
// machine is asked once for each directory that it has, and not for what is
// below one that it has not.
func (e *entries) dirsIn(dir string) (map[string]bool, error) {
	if dirs, known := e.below[dir]; known {
		return dirs, nil
	}
	if dir != "." {
		above, err := e.dirsIn(path.Dir(dir))
		if err != nil {
			return nil, err
		}
		if _, is := above[path.Base(dir)]; !is {
			e.below[dir] = nil
			return nil, nil
		}
	}
	out, err := e.control.do(e.ctx, fmt.Sprintf(`(cd %s 2>/dev/null && %s); true`, quote(path.Join(e.dst, dir)), listDirs))
	if err != nil {
		return nil, err
	}
	dirs := map[string]bool{}
	for line := range strings.Lines(out) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			dirs[line[1:]] = line[0] == 'l'
		}
	}
	e.below[dir] = dirs
	return dirs, nil
}

// parents says whether a directory above name is a link, in the stream or in the
// machine.
func (e *entries) parents(entry, name string) error {
	var unknown []string
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if e.links[dir] {
			return fmt.Errorf("the entry %q would leave the directory by the link %q", entry, dir)
		}
		if e.dirs[dir] {
			break
		}
		unknown = append(unknown, dir)
	}
	if len(unknown) == 0 {
		return nil
	}
	var line strings.Builder
	for _, dir := range unknown {
		fmt.Fprintf(&line, "[ -L %s ] && echo link; ", quote(path.Join(e.dst, dir)))
	}
	out, err := e.control.do(e.ctx, line.String()+"true")
	if err != nil {
		return err
	}
	if out != "" {
		return fmt.Errorf("the entry %q would leave the directory by a link", entry)
	}
	for _, dir := range unknown {
		e.dirs[dir] = true
	}
	return nil
}

// Read writes src to a tar stream. See platforms.Machine.
func (m *Machine) Read(ctx context.Context, src string, out io.Writer) error {
	l, err := m.current(ctx)
	if err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	haveTar, err := l.hasTar(ctx)
	if err == nil && !haveTar {
		err = errors.New("the machine has no tar")
	}
	if err == nil {
		dir, base := path.Split(path.Clean(src))
		if base == "" {
			base = "."
		}
		script := fmt.Sprintf(`%s; [ -e %[2]s ] || [ -L %[2]s ] || { echo "no such file or directory" >&2; exit 1; }; cd %[3]s && exec tar -c $o -f - -- %[4]s`,
			tarOptions, quote(src), quote(dir), quote(base))
		err = m.pipe(ctx, l, script, nil, out)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", src, err)
	}
	return nil
}
