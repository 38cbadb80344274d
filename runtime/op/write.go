package op

import (
	"archive/tar"
	"context"
	"io"
	"path"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/plan"
)

// A Write makes one file with the content that the definition gives.
type Write struct {
	Path    string `key:"path"` // absolute
	Content string `key:"content"`
	Owner   string `key:"owner"` // "user", "user:group" or numbers; "" means root
	Mode    uint32 `key:"mode"`  // permission bits, set-id bits and the sticky bit as of chmod
}

// Kind implements plan.Op.
func (*Write) Kind() string { return "write" }

// Apply implements plan.Step.
func (w *Write) Apply(ctx context.Context, m platforms.Machine, _ plan.Env) error {
	own, err := resolveOwner(ctx, m, w.Owner)
	if err != nil {
		return err
	}
	return writeTar(ctx, m, path.Dir(w.Path), func(tw *tar.Writer) error {
		h := own.header(path.Base(w.Path), tar.TypeReg, int64(w.Mode))
		h.Size = int64(len(w.Content))
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.WriteString(tw, w.Content)
		return err
	})
}
