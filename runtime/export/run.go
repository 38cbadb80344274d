package export

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/disk"
	"bake.build/bake/runtime/plan"
)

// A Request is one artifact to be written.
type Request struct {
	Op      *Op
	Key     plan.Key // of the export
	Formats Table    // what Op's formats are looked up in

	// DiskKey is the key of the Disk; zero where nobody knows it.
	DiskKey plan.Key

	// Disk is the path of the layer's raw disk as Op.From makes it, for formats that are
	// written from that. Nothing changes it. It may be "" where there are none.
	Disk string

	// Tree shows the merged file tree, as platforms.Treer does. It may be called
	// several times at once.
	Tree func(ctx context.Context, use func(dir string) error) error

	// OwnDisk says that the layer has a disk of its own, which Tree shows the files of.
	OwnDisk bool

	// CanLook says that Tree works on this host.
	CanLook bool

	// Variables, unless it is nil, returns the path of a file with the UEFI variables that
	// go with the disk, or "" for none.
	Variables func() (path string, err error)

	// Secrets returns the value of one of Op.SecretNames. It may be nil where there are
	// none.
	Secrets func(name string) ([]byte, error)

	// Layers are the layers of the tree, from the oldest to the newest; unless there
	// is an OwnDisk, each has an overlay's upper directory "fs". Formats from layers make
	// one layer of the tree when there are none.
	Layers []platforms.Layer

	// OutDir is the artifact's own directory. It is made when missing, and its
	// parent gets a staging directory for the time of the run.
	OutDir string

	Arch   string // "amd64" or "arm64"; "" means the host's
	About  About
	Logger platforms.Logger // told of progress, and what to know of the image; may be nil

	// Warn, unless it is nil, is told what will not work with the image.
	Warn func(message string)
}

// A Result is a finished artifact.
type Result struct {
	Dir      string
	Manifest *Manifest
	Made     bool // by this call, and not by another build meanwhile
}

// Run writes an artifact. Either all of its files appear in r.OutDir, or, on an
// error, none of them does and an artifact that was there stands. Formats are
// written in parallel.
func Run(ctx context.Context, r Request) (*Result, error) {
	list, err := r.Formats.formats(r.Op.Formats)
	if err != nil {
		return nil, err
	}
	if r.Arch == "" {
		r.Arch = runtime.GOARCH
	}
	for _, p := range r.Formats.Problems(r.Op.Formats) {
		err = errors.Join(err, fmt.Errorf("%s: %s", p.What, p.Fix))
	}
	if err != nil {
		return nil, err
	}
	return run(ctx, &r, list)
}

func run(ctx context.Context, r *Request, list []Format) (*Result, error) {
	m := &Manifest{
		Schema: Schema, Name: r.Op.Name, Key: r.Key.String(), About: r.About, Arch: r.Arch, Layers: []string{},
		Boot: r.Op.Boot, KernelArgs: r.Op.KernelArgs, Started: time.Now().UTC(),
	}
	if !r.DiskKey.IsZero() {
		m.Disk = r.DiskKey.String()
	}
	for _, l := range r.Layers {
		m.Layers = append(m.Layers, l.Key)
	}
	var err error
	if m.ImageConfig, err = importedConfig(r.Layers); err != nil {
		return nil, fmt.Errorf("read configuration of the imported image: %w", err)
	}
	return inStaging(ctx, r.OutDir, m, r.Logger, func(dir string) (err error) {
		j, err := newJob(r, dir, list)
		if err != nil {
			return err
		}
		if m.Files, err = j.writeAll(ctx, dir, list); err != nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		files, err := j.writeVariables(ctx, dir, list)
		m.Files = append(m.Files, files...)
		return err
	})
}

// inStaging has fill write the files of the artifact m into a staging directory
// beside outDir and name them in m, and then makes them those of outDir. Where
// another build has made the same artifact meanwhile, that is the result.
func inStaging(ctx context.Context, outDir string, m *Manifest, logger platforms.Logger, fill func(dir string) error) (res *Result, err error) {
	dir, err := filepath.Abs(outDir)
	if err != nil {
		return nil, err
	}
	if err := sweep(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	s, err := newStaging(ctx, dir, func() {
		if logger != nil {
			logger.Progress("wait for another build that writes "+m.Name, 0, 0)
		}
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	made, _, err := standing(dir, m.Key, plan.HashFile{})
	if err != nil {
		return nil, err
	} else if made != nil {
		return &Result{Dir: dir, Manifest: made}, nil
	}
	if err := fill(s.dir); err != nil {
		return nil, err
	}
	m.Finished = time.Now().UTC()
	if err := s.publish(dir, m); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return &Result{Dir: dir, Manifest: m, Made: true}, nil
}

func newJob(r *Request, dir string, list []Format) (*Job, error) {
	j := &Job{op: r.Op, req: r, id: r.Key, disk: r.Disk, logger: &sharedLogger{logger: r.Logger}, streams: newSharedStreams(list)}
	has := func(name string) bool {
		return slices.ContainsFunc(list, func(f Format) bool { return f.Name == name })
	}
	j.layout = &layoutOnce{dir: filepath.Join(dir, ".layout")}
	if has(oci.Name) {
		j.layout.dir = filepath.Join(dir, j.fileName(oci))
	}
	if r.Disk == "" {
		return j, nil
	}
	info, err := os.Stat(r.Disk)
	if err != nil {
		return nil, err
	}
	j.diskSize = info.Size()
	return j, nil
}

// writeAll writes every format into the staging directory and returns the
// files in the order of list.
func (j *Job) writeAll(ctx context.Context, dir string, list []Format) ([]File, error) {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return checkDrivers(ctx, j.req, j.logger, j.op.uses(list)) })
	results := make([][]File, len(list))
	for i, f := range list {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := f.Write(ctx, j, filepath.Join(dir, j.fileName(f))); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			files, err := settle(ctx, dir, j.fileName(f), f.Name, j.Progress)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			if f.From == FromDisk {
				files[0].Virtual = j.diskSize
			}
			results[i] = files
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(results...), nil
}

// uses returns what the formats are for.
func (o *Op) uses(list []Format) []disk.Use {
	var uses []disk.Use
	for _, f := range list {
		if f.RunsOn != nil {
			uses = append(uses, disk.Use{Format: f.Name, Hypervisor: o.runsOn(f)})
		}
	}
	return uses
}

// CheckDrivers warns of drivers that the system of r's layer lacks for uses, where its
// files can be seen.
func CheckDrivers(ctx context.Context, r Request, uses ...disk.Use) error {
	return checkDrivers(ctx, &r, &sharedLogger{logger: r.Logger}, uses)
}

func checkDrivers(ctx context.Context, r *Request, logger *sharedLogger, uses []disk.Use) error {
	if !r.CanLook || len(uses) == 0 || r.Warn == nil || r.Op.Boot == disk.BootNone {
		return nil
	}
	err := r.Tree(ctx, func(dir string) error { return disk.CheckTree(dir, uses, r.Warn) })
	if err != nil && ctx.Err() == nil {
		logger.note("the drivers are not checked: " + err.Error()) // such as a disk with LVM
		return nil
	}
	return err
}

// Progress tells how much of a format is written, in bytes.
func (j *Job) Progress(what string, done, total int64) { j.logger.progress(what, done, total) }

// note writes a line to the log.
func (s *sharedLogger) note(line string) {
	if s.logger == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.logger, line) // a log that cannot be written is told by who keeps it
}

// sharedLogger lets several formats tell one Logger of their progress, and not
// more often than anyone can see.
type sharedLogger struct {
	logger platforms.Logger
	mu     sync.Mutex
	last   map[string]time.Time
}

func (s *sharedLogger) progress(what string, done, total int64) {
	const pause = 100 * time.Millisecond
	if s.logger == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Sub(s.last[what]) < pause && done < total {
		return
	}
	if s.last == nil {
		s.last = map[string]time.Time{}
	}
	s.last[what] = now
	s.logger.Progress(what, min(done, total), total)
}
