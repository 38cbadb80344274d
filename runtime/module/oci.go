package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms/image/fetch"
	"bake.build/bake/platforms/wait"
	"bake.build/bake/starlark/module"
)

// registries is what all modules from registries share: connections, and the answers
// to logins. Credentials are those of the container tools.
type registries struct {
	transport http.RoundTripper

	once   sync.Once
	puller *remote.Puller
	err    error
}

// options are how a registry is talked to.
func options() []remote.Option {
	return []remote.Option{remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("bake"), remote.WithJobs(maxFetches)}
}

func (r *registries) open() (*remote.Puller, error) {
	r.once.Do(func() { r.puller, r.err = remote.NewPuller(append(options(), remote.WithTransport(r.transport))...) })
	return r.puller, r.err
}

// An artifact is a module in a registry of OCI artifacts: a manifest with one layer,
// which is an archive. That of Publish, of oras push and of an image with one layer is
// read.
type artifact struct {
	src    module.Source
	all    *registries
	client *fetch.Client // whose patience is that of all downloads

	manifest *v1.Manifest // that resolve has read
}

func (a *artifact) repository() (name.Repository, *remote.Puller, error) {
	repo, err := name.NewRepository(a.src.URL)
	if err != nil {
		return repo, nil, err
	}
	puller, err := a.all.open()
	return repo, puller, err
}

func (a *artifact) versions(ctx context.Context) ([]string, error) {
	repo, puller, err := a.repository()
	if err != nil {
		return nil, err
	}
	pages, err := puller.Lister(ctx, repo)
	if err != nil {
		return nil, err
	}
	var versions []string
	for n := 0; pages.HasNext(); n++ {
		page, err := pages.Next(ctx)
		if err != nil {
			return nil, err
		}
		for _, tag := range page.Tags {
			versions = append(versions, strings.ReplaceAll(tag, "_", "+"))
		}
		if n == maxPages || len(versions) > maxTags {
			return nil, fmt.Errorf("it has more tags than any module: %d, and there is no end", len(versions))
		}
	}
	return versions, nil
}

// How much of a registry's list of tags is taken, which may lead on for ever.
const (
	maxPages = 10_000
	maxTags  = 100_000
)

var tagName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

// reference returns how a version is asked for. A tag cannot have the + of semantic
// versions, which is written _ there, as others do.
func reference(repo name.Repository, version string) (name.Reference, error) {
	if strings.HasPrefix(version, "sha256:") {
		return name.NewDigest(repo.Name() + "@" + version)
	}
	tag := strings.ReplaceAll(version, "+", "_")
	if !tagName.MatchString(tag) {
		return nil, fmt.Errorf("%q is not the name of a tag", version)
	}
	return repo.Tag(tag), nil
}

func (a *artifact) resolve(ctx context.Context, version string) (found, error) {
	repo, puller, err := a.repository()
	if err != nil {
		return found{}, err
	}
	ref, err := reference(repo, version)
	if err != nil {
		return found{}, err
	}
	desc, err := puller.Get(ctx, ref)
	if missing(err) {
		if tags, listErr := a.versions(ctx); listErr == nil {
			return found{}, noVersion(version, tags, "tag")
		}
	}
	if err != nil {
		return found{}, err
	}
	if desc.MediaType.IsIndex() {
		return found{}, errors.New("it is an index of images for several platforms, and no module")
	}
	a.manifest = &v1.Manifest{}
	if err := json.Unmarshal(desc.Manifest, a.manifest); err != nil {
		return found{}, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return found{id: "oci " + desc.Digest.String(), ref: desc.Digest.String()}, nil
}

func missing(err error) bool {
	e := (*transport.Error)(nil)
	return errors.As(err, &e) && e.StatusCode == http.StatusNotFound
}

func (a *artifact) write(ctx context.Context, _ found, w *writer, temp string) (err error) {
	repo, puller, err := a.repository()
	if err != nil {
		return err
	}
	blob, err := pickLayer(a.manifest)
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(temp, "layer"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	pause := wait.Backoff{Next: a.client.Pause, Double: true}
	for try := 0; ; try++ {
		n, err := a.download(ctx, puller, repo.Digest(blob.Digest.String()), blob.Size, f)
		if err == nil {
			break
		}
		// What came whole and is something else will be that again.
		if try == a.client.Retries || n >= blob.Size || missing(err) || fatal(err) {
			return fmt.Errorf("layer %s: %w", blob.Digest, err)
		}
		if err := pause.Wait(ctx); err != nil {
			return err
		}
	}
	return unpack(ctx, w, f)
}

// A fileError is one of this machine.
type fileError struct{ err error }

// Error implements error.
func (e *fileError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *fileError) Unwrap() error { return e.err }

func fatal(err error) bool {
	e := (*fileError)(nil)
	return errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// download writes a layer of a size to f. Its digest is compared at its end, which a
// registry may never come to. It returns how many bytes came.
func (a *artifact) download(ctx context.Context, puller *remote.Puller, ref name.Digest, size int64, f *os.File) (n int64, err error) {
	if err := f.Truncate(0); err != nil {
		return 0, &fileError{err}
	}
	layer, err := puller.Layer(ctx, ref)
	if err != nil {
		return 0, err
	}
	body, err := layer.Compressed() // as it is
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	n, err = io.Copy(&fileWriter{io.NewOffsetWriter(f, 0)}, io.LimitReader(body, size+1))
	if err == nil && n > size {
		err = fmt.Errorf("it has more than the %d bytes that its manifest says", size)
	}
	return n, err
}

// A fileWriter marks the errors of writing.
type fileWriter struct{ w io.Writer }

// Write implements io.Writer.
func (f *fileWriter) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = &fileError{err}
	}
	return n, err
}

// pickLayer returns the layer that is the module's archive.
func pickLayer(m *v1.Manifest) (v1.Descriptor, error) {
	if len(m.Layers) != 1 {
		return v1.Descriptor{}, fmt.Errorf("it is no module: it has %d layers, and a module one", len(m.Layers))
	}
	l := m.Layers[0]
	switch {
	case l.Digest.Algorithm != "sha256":
		return l, fmt.Errorf("its layer has no SHA-256 but %q", l.Digest.Algorithm)
	case l.Size > maxArchive || l.Size < 0:
		return l, fmt.Errorf("its layer has %d bytes, and no module more than %d", l.Size, maxArchive)
	case len(l.URLs) > 0:
		return l, errors.New("its layer is kept elsewhere than in the registry")
	}
	return l, nil
}

// What a published module is, for readers that do not know bake. The layer is what oras
// pull writes as a file, and what tar unpacks.
const (
	artifactType = "application/vnd.bake.module.v1"
	titleLabel   = "org.opencontainers.image.title"
	versionLabel = "org.opencontainers.image.version"
	pathLabel    = "build.bake.module.path"
	digestLabel  = "build.bake.module.digest"
)

// A manifest is that of a published module. The library's lacks the type.
type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        v1.Descriptor     `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Annotations   map[string]string `json:"annotations"`
}

// RawManifest implements remote.Taggable.
func (m *manifest) RawManifest() ([]byte, error) { return json.Marshal(m) }

// A typedManifest says what it is pushed as.
type typedManifest struct{ *manifest }

// MediaType is that of an OCI manifest. It hides the field.
func (typedManifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// epoch is the time of all files of a published archive.
var epoch = time.Unix(0, 0)
