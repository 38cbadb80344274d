package op

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A machine records what steps do to it.
type machine struct {
	files map[string]string // that Read finds
	run   func(c platforms.Cmd) error
	cmds  []platforms.Cmd
	dst   string
	tar   []string // the entries that were written
	short bool     // Write stops at the end mark of the archive, or fails before it
}

func (m *machine) Run(_ context.Context, c platforms.Cmd) error {
	m.cmds = append(m.cmds, c)
	if m.run != nil {
		return m.run(c)
	}
	return nil
}

func (m *machine) Write(_ context.Context, dst string, r io.Reader) error {
	m.dst = dst
	if m.short {
		return errors.New("no space left on device")
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			return err
		}
		if !h.ModTime.Equal(platforms.FileTime) {
			return fmt.Errorf("%s has the time %v", h.Name, h.ModTime)
		}
		m.tar = append(m.tar, fmt.Sprintf("%c %o %d:%d %s %q%s", h.Typeflag, h.Mode, h.Uid, h.Gid, h.Name, content, h.Linkname))
	}
}

func (m *machine) Read(_ context.Context, src string, w io.Writer) error {
	text, ok := m.files[src]
	if !ok {
		return fmt.Errorf("read %s: no such file", src)
	}
	tw := tar.NewWriter(w)
	if link, ok := strings.CutPrefix(text, "link to "); ok {
		return errors.Join(tw.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeSymlink, Linkname: link}), tw.Close())
	}
	if err := tw.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}); err != nil {
		return err
	}
	if _, err := io.WriteString(tw, text); err != nil {
		return err
	}
	return tw.Close()
}

func (m *machine) Commit(context.Context, platforms.State) (platforms.Made, error) {
	return platforms.Made{}, errors.New("not here")
}
func (m *machine) Close() error { return nil }

type logger struct{ bytes.Buffer }

func (*logger) Progress(string, int64, int64) {}

func environment() plan.Env {
	return plan.Env{
		Out: &logger{},
		Secrets: func(name string) ([]byte, error) {
			if name == "token" {
				return []byte("s3cret"), nil
			}
			return nil, fmt.Errorf("no secret %q", name)
		},
	}
}

func apply(t *testing.T, s plan.Step, m *machine) error {
	t.Helper()
	return s.Apply(t.Context(), m, environment())
}

func wantEntries(t *testing.T, m *machine, want ...string) {
	t.Helper()
	if got := strings.Join(m.tar, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("wrote\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
