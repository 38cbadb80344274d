package export

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// OutputWriter is the version of what takes files out of a machine; see Writer.
const OutputWriter = 2

// OutputFormat is what the files of an Output have as their format.
const OutputFormat = "file"

// An Output takes a file, or a directory with what is in it, out of a layer.
type Output struct {
	Name   string `key:"name"`
	Path   string `key:"path"`   // absolute, in the machine; never "/"
	Writer int    `key:"writer"` // OutputWriter
}

// Kind implements plan.Op.
func (*Output) Kind() string { return "output" }

// FromMachine implements plan.MachineExport.
func (*Output) FromMachine() {}

// An OutputRequest is one Output to be written.
type OutputRequest struct {
	Op      *Output
	Key     plan.Key
	Machine platforms.Machine // open on the layer
	OutDir  string            // the artifact's own directory; see Request
	About   About
	Arch    string
	Logger  platforms.Logger // told of progress; may be nil
}

// RunOutput writes an Output. Either all of its files appear in r.OutDir or, on
// an error, none of them does and an artifact that was there stands. The files
// belong to the user; their permission bits are the machine's, without set-id
// bits. A link to a file below the path becomes a copy of that; any other is an
// error, and so is what is neither a file nor a directory.
func RunOutput(ctx context.Context, r OutputRequest) (*Result, error) {
	m := &Manifest{
		Schema: Schema, Name: r.Op.Name, Key: r.Key.String(), About: r.About, Arch: r.Arch, Layers: []string{},
		Started: time.Now().UTC(),
	}
	return inStaging(ctx, r.OutDir, m, r.Logger, func(dir string) error {
		if err := takeOut(ctx, r.Machine, r.Op.Path, dir); err != nil {
			return err
		}
		var err error
		m.Files, err = settle(ctx, dir, path.Base(r.Op.Path), OutputFormat, func(string, int64, int64) {})
		return err
	})
}

// maxLinks is how many symbolic links one path may be.
const maxLinks = 40

// takeOut reads src in the machine into the directory dir, under the last name
// of src. Where src is a link, what it leads to is taken under that name.
func takeOut(ctx context.Context, m platforms.Machine, src, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	name := path.Base(src)
	for range maxLinks {
		t := &outTree{root: root, name: name, base: path.Base(src), links: map[string]string{}}
		if err := readTar(ctx, m, src, t.add); err != nil {
			return err
		}
		link, isLink := t.links[name]
		if !isLink {
			return t.follow()
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(src), link)
		}
		if src = path.Clean(link); src == "/" {
			return fmt.Errorf("%s leads to the whole tree", name)
		}
	}
	return fmt.Errorf("%s: too many links", src)
}

// readTar calls add with each entry of what the machine reads at src.
func readTar(ctx context.Context, m platforms.Machine, src string, add func(*tar.Header, io.Reader) error) error {
	pr, pw := io.Pipe()
	read := make(chan error, 1)
	go func() {
		err := m.Read(ctx, src, pw)
		pw.CloseWithError(err)
		read <- err
	}()
	tr := tar.NewReader(pr)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			// What the machine says after the archive's end mark is read here.
			if _, err = io.Copy(io.Discard, pr); err == nil {
				return <-read
			}
		}
		if err == nil {
			err = add(h, tr)
		}
		if err != nil {
			pr.CloseWithError(errOutput)
			if readErr := <-read; readErr != nil && !errors.Is(readErr, errOutput) {
				return readErr
			}
			return err
		}
	}
}

var errOutput = errors.New("nobody reads any more")

// An outTree is what is taken out, while it is read.
type outTree struct {
	root  *os.Root
	name  string            // of the top in root
	base  string            // of the top in the stream
	links map[string]string // symbolic links by their place in root
}

// add writes one entry of the stream.
func (t *outTree) add(h *tar.Header, content io.Reader) error {
	name, err := t.place(h.Name)
	if err != nil {
		return err
	}
	mode := h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		return t.root.MkdirAll(name, mode|0o700)
	case tar.TypeReg:
		return t.file(name, mode|0o600, content)
	case tar.TypeSymlink:
		t.links[name] = h.Linkname
		return nil
	case tar.TypeLink:
		other, err := t.place(h.Linkname)
		if err != nil {
			return err
		}
		return t.copy(other, name)
	}
	return fmt.Errorf("%s is neither a file nor a directory", h.Name)
}

// place returns the place in root of an entry's name.
func (t *outTree) place(name string) (string, error) {
	clean := path.Clean(name)
	if clean == t.base {
		return t.name, nil
	}
	below, ok := strings.CutPrefix(clean, t.base+"/")
	if !ok || !fs.ValidPath(below) {
		return "", fmt.Errorf("the machine sent %q, which is not below %q", name, t.base)
	}
	return t.name + "/" + below, nil
}

func (t *outTree) file(name string, mode fs.FileMode, content io.Reader) (err error) {
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode))
}

func (t *outTree) copy(from, to string) (err error) {
	f, err := t.root.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return t.file(to, info.Mode().Perm(), f)
}

// follow turns the symbolic links into copies of the files that they lead to.
func (t *outTree) follow() error {
	for name := range t.links {
		at := name
		for n := 0; ; n++ {
			link, ok := t.links[at]
			if !ok {
				break
			}
			next := path.Join(path.Dir(at), link)
			if path.IsAbs(link) || !strings.HasPrefix(next, t.name+"/") || n == maxLinks {
				return fmt.Errorf("%s is a link to %s, which is not taken along: name that file", name, link)
			}
			at = next
		}
		info, err := t.root.Lstat(at)
		if err != nil || !info.Mode().IsRegular() {
			return fmt.Errorf("%s is a link to %s, which is no file that is taken along", name, t.links[name])
		}
		if err := t.copy(at, name); err != nil {
			return err
		}
	}
	return nil
}
