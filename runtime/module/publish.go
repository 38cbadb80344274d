package module

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/tool"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/module"
)

// A Publication is a module that Publish has pushed.
type Publication struct {
	Reference string        // HOST/REPOSITORY:TAG@sha256:…
	Digest    module.Digest // of the tree
	Files     []File
	Bytes     int64 // of the archive
	Existed   bool  // the registry had it, with the same files

	// Uncommitted are the files that are not as git's last commit has them, where the
	// module is in a git work tree. They are published as they are in it.
	Uncommitted []string
}

// Publish pushes the module in dir, whose path is modulePath, to a registry. Files that git
// ignores are no part of it where dir is in a git work tree. The same files give the
// same bytes, and so the same digest of the manifest. A version that is there with
// other files is left as it is: others have it in their locks.
func (f *Fetcher) Publish(ctx context.Context, dir, modulePath string, to module.Source, version string) (Publication, error) {
	f.once.Do(f.begin)
	p, err := f.publish(ctx, dir, modulePath, to, version)
	if err != nil {
		return p, fmt.Errorf("publish %s %s: %w", to, version, err)
	}
	return p, nil
}

func (f *Fetcher) publish(ctx context.Context, dir, modulePath string, to module.Source, version string) (p Publication, err error) {
	if to.Kind != module.OCI {
		return p, errors.New("want oci://HOST/REPOSITORY; a module in a git repository is published by a tag")
	}
	if f.Offline {
		return p, errors.New("bake is offline")
	}
	repo, err := name.NewRepository(to.URL)
	if err != nil {
		return p, err
	}
	ref, err := reference(repo, version)
	if err != nil {
		return p, err
	}
	if _, isTag := ref.(name.Tag); !isTag {
		return p, errors.New("want a tag, not a digest")
	}
	if p.Files, err = publishedFiles(ctx, dir); err != nil {
		return p, err
	}
	if p.Uncommitted, err = uncommitted(ctx, dir); err != nil {
		return p, err
	}
	p.Digest = digestOf(p.Files)
	var archive bytes.Buffer
	if err := pack(&archive, dir, p.Files); err != nil {
		return p, err
	}
	p.Bytes = int64(archive.Len())
	if p.Bytes > maxArchive {
		return p, fmt.Errorf("its archive has %d bytes, and no module more than %d", p.Bytes, maxArchive)
	}
	layer := static.NewLayer(archive.Bytes(), types.OCILayer)
	config := static.NewLayer([]byte("{}"), "application/vnd.oci.empty.v1+json")
	m := &manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: artifactType,
		Annotations: map[string]string{pathLabel: modulePath, digestLabel: string(p.Digest), versionLabel: version},
	}
	if m.Config, err = describe(config); err != nil {
		return p, err
	}
	described, err := describe(layer)
	if err != nil {
		return p, err
	}
	described.Annotations = map[string]string{titleLabel: path.Base(modulePath) + "-" + version + ".tar.gz"}
	m.Layers = []v1.Descriptor{described}
	p.Reference, p.Existed, err = push(ctx, ref, m, config, layer)
	return p, err
}

func describe(l v1.Layer) (d v1.Descriptor, err error) {
	if d.Digest, err = l.Digest(); err != nil {
		return d, err
	}
	if d.Size, err = l.Size(); err != nil {
		return d, err
	}
	d.MediaType, err = l.MediaType()
	return d, err
}

// push sends what the registry does not have: the layers, then the manifest.
func push(ctx context.Context, ref name.Reference, m *manifest, layers ...v1.Layer) (reference string, existed bool, err error) {
	raw, err := m.RawManifest()
	if err != nil {
		return "", false, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return "", false, err
	}
	reference = ref.Name() + "@" + digest.String()
	puller, err := remote.NewPuller(options()...)
	if err != nil {
		return "", false, err
	}
	switch was, err := puller.Get(ctx, ref); {
	case missing(err):
	case err != nil:
		return "", false, err
	case was.Digest == digest:
		return reference, true, nil
	default:
		return "", false, fmt.Errorf("it is published already, with other files (%s): a version never changes, publish the next one", was.Digest)
	}
	pusher, err := remote.NewPusher(options()...)
	if err != nil {
		return "", false, err
	}
	for _, l := range layers {
		if err := pusher.Upload(ctx, ref.Context(), l); err != nil {
			return "", false, err
		}
	}
	return reference, false, pusher.Push(ctx, ref, typedManifest{m})
}

// publishedFiles describes the files of a module that are published.
func publishedFiles(ctx context.Context, dir string) ([]File, error) {
	paths, err := gitFiles(ctx, dir)
	if err == nil && paths == nil {
		paths, err = listDir(dir)
	}
	if err != nil {
		return nil, err
	}
	below := nestedIn(paths)
	paths = slices.DeleteFunc(paths, below.has)
	if !slices.Contains(paths, module.FileName) {
		return nil, fmt.Errorf("%s is no module: it has no %s, or git ignores it", dir, module.FileName)
	}
	return readFiles(ctx, dir, paths, plan.HashFile{})
}

// gitFiles lists the files of a directory that git does not ignore; nil if it is in no
// git work tree.
func gitFiles(ctx context.Context, dir string) ([]string, error) {
	listed, found, err := askGit(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate", "--", ".")
	if err != nil || !found {
		return nil, err
	}
	paths := []string{}
	for p := range strings.SplitSeq(listed, "\x00") {
		if p == "" || isGit(p) {
			continue
		}
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(p)))
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue // removed, and git was not told
		case err != nil:
			return nil, err
		case info.IsDir():
			return nil, fmt.Errorf("path %q: it is a repository of its own, which is not published", p)
		}
		paths = append(paths, strings.TrimSuffix(p, "/"))
	}
	return paths, nil
}

// uncommitted lists the files of a directory that git has not as they are, by their
// paths in it; none if it is in no git work tree.
func uncommitted(ctx context.Context, dir string) ([]string, error) {
	listed, found, err := askGit(ctx, dir, "ls-files", "-z", "--modified", "--deleted", "--others", "--exclude-standard", "--deduplicate", "--", ".")
	if err != nil || !found {
		return nil, err
	}
	// What the index has and no commit.
	staged, _, err := askGit(ctx, dir, "diff", "--cached", "--name-only", "--relative", "--no-renames", "--no-ext-diff", "-z", "--", ".")
	if err != nil {
		return nil, err
	}
	paths := strings.FieldsFunc(listed+"\x00"+staged, func(r rune) bool { return r == 0 })
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

// askGit runs git in dir and returns what it prints; found is false where dir is in no
// git work tree.
func askGit(ctx context.Context, dir string, args ...string) (printed string, found bool, err error) {
	var out, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Env = gitEnviron(os.Environ())
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := tool.Run(cmd); err != nil {
		if errors.Is(err, exec.ErrNotFound) || strings.Contains(stderr.String(), "not a git repository") {
			return "", false, ctx.Err()
		}
		return "", false, fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out.String(), true, nil
}

// pack writes the files as a compressed tar whose bytes follow from them: sorted,
// without owners and with one time.
func pack(out io.Writer, dir string, files []File) error {
	z, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(z)
	for _, f := range files {
		if err := packFile(w, dir, f); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), z.Close())
}

func packFile(w *tar.Writer, dir string, f File) (err error) {
	h := &tar.Header{Name: f.Path, Mode: 0o644, ModTime: epoch, Typeflag: tar.TypeReg}
	if f.Link != "" {
		h.Typeflag, h.Linkname, h.Mode = tar.TypeSymlink, f.Link, 0o777
		return w.WriteHeader(h)
	}
	if f.Exec {
		h.Mode = 0o755
	}
	r, err := regular.Open(filepath.Join(dir, filepath.FromSlash(f.Path)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	info, err := r.Stat()
	if err != nil {
		return err
	}
	h.Size = info.Size()
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	sum := sha256.New()
	if _, err := io.Copy(w, io.TeeReader(r, sum)); err != nil {
		return fmt.Errorf("pack %s: %w", f.Path, err)
	}
	if hex.EncodeToString(sum.Sum(nil)) != f.Sum {
		return fmt.Errorf("pack %s: it was changed meanwhile", f.Path)
	}
	return nil
}
