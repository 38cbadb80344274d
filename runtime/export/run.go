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

	// Tree shows the merged file tree, as platforms.Treer does. It may be called
	// several times at once.
	Tree func(ctx context.Context, use func(dir string) error) error

	// Disk, unless it is nil, writes the layer's disk to a new raw image with
	// holes. All formats are made from that, and Tree is not asked.
	Disk func(ctx context.Context, dst string) error

	// DiskTree shows the file tree of a disk that Disk wrote. It may be called
	// several times at once.
	DiskTree func(ctx context.Context, disk string, use func(dir string) error) error

	// Variables, unless it is nil, returns the path of a file with the UEFI variables that
	// go with Disk's disk, or "" for none.
	Variables func() (path string, err error)

	// MissingLoader, unless it is nil, returns where a disk that Disk wrote lacks a boot
	// loader for machines without these variables, or "".
	MissingLoader func(disk string) (path string, err error)

	// CanLook says that DiskTree works on this host.
	CanLook bool

	// Uses, unless it is nil, are what the disk is for, in place of what the formats
	// are for.
	Uses []disk.Use

	// Layers are the layers of the tree, from the oldest to the newest; unless there
	// is a Disk, each has an overlay's upper directory "fs". Formats from layers make
	// one layer of the tree when there are none. The key of the oldest is what the
	// checksums in the disk follow from, since images that differ little should
	// differ in few blocks; all identifiers follow from Key.
	Layers []platforms.Layer

	// OutDir is the artifact's own directory. It is made when missing, and its
	// parent gets a staging directory for the time of the run.
	OutDir string

	Arch     string // "amd64" or "arm64"; "" means the host's
	CacheDir string // where GRUB's images are kept; "" keeps none
	About    About
	Logger   platforms.Logger // told of progress, and what to know of the image; may be nil

	// Warn, unless it is nil, is told what will not work with the image.
	Warn func(message string)
}

// A Result is a finished artifact.
type Result struct {
	Dir      string
	Manifest *Manifest
}

// Run writes an artifact. Either all of its files appear in r.OutDir, or, on an
// error, none of them does and an artifact that was there stands. Formats are
// written in parallel, those from a disk as soon as the disk is made, once.
func Run(ctx context.Context, r Request) (*Result, error) {
	list, err := r.Formats.formats(r.Op.Formats)
	if err != nil {
		return nil, err
	}
	if r.Arch == "" {
		r.Arch = runtime.GOARCH
	}
	for _, p := range r.Formats.problems(r.Op.Formats, bootMode(r.Op.Boot, r.Arch), r.Disk == nil) {
		err = errors.Join(err, fmt.Errorf("%s: %s", p.What, p.Fix))
	}
	if err != nil {
		return nil, err
	}
	return run(ctx, &r, list)
}

// bootMode is the boot mode of a definition where it is run: the default,
// both, means UEFI alone on machines that have no BIOS.
func bootMode(boot, arch string) string {
	if arch != "amd64" && (boot == "" || boot == disk.BootBoth) {
		return disk.BootUEFI
	}
	return boot
}

func run(ctx context.Context, r *Request, list []Format) (*Result, error) {
	m := &Manifest{
		Schema: Schema, Name: r.Op.Name, Key: r.Key.String(), About: r.About, Arch: r.Arch, Layers: []string{},
		Boot: r.Op.Boot, KernelArgs: r.Op.KernelArgs, Started: time.Now().UTC(),
	}
	for _, l := range r.Layers {
		m.Layers = append(m.Layers, l.Key)
	}
	var err error
	if m.ImageConfig, err = importedConfig(r.Layers); err != nil {
		return nil, fmt.Errorf("read configuration of the imported image: %w", err)
	}
	return inStaging(ctx, r.OutDir, m, r.Logger, func(dir string) (err error) {
		j := newJob(r, dir, list)
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
	return &Result{Dir: dir, Manifest: m}, nil
}

func newJob(r *Request, dir string, list []Format) *Job {
	j := &Job{op: r.Op, req: r, id: r.Key, diskSeed: r.Key, logger: &sharedLogger{logger: r.Logger}}
	if len(r.Layers) > 0 {
		if k, err := plan.ParseKey(r.Layers[0].Key); err == nil {
			j.diskSeed = k
		}
	}
	if j.uses = r.Uses; j.uses == nil {
		for _, f := range list {
			if f.RunsOn != nil {
				j.uses = append(j.uses, disk.Use{Format: f.Name, Hypervisor: *f.RunsOn})
			}
		}
	}
	has := func(name string) bool {
		return slices.ContainsFunc(list, func(f Format) bool { return f.Name == name })
	}
	j.disk = filepath.Join(dir, ".disk")
	if has(raw.Name) {
		j.disk = filepath.Join(dir, j.fileName(raw))
	}
	j.layout = &layoutOnce{dir: filepath.Join(dir, ".layout")}
	if has(oci.Name) {
		j.layout.dir = filepath.Join(dir, j.fileName(oci))
	}
	return j
}

// writeAll writes every format into the staging directory and returns the
// files in the order of list.
func (j *Job) writeAll(ctx context.Context, dir string, list []Format) ([]File, error) {
	g, ctx := errgroup.WithContext(ctx)
	diskReady := make(chan struct{})
	var diskErr error // set before diskReady is closed
	if slices.ContainsFunc(list, j.needsDisk) {
		g.Go(func() error {
			defer close(diskReady)
			diskErr = j.makeDisk(ctx)
			return diskErr
		})
	}
	results := make([][]File, len(list))
	for i, f := range list {
		g.Go(func() error {
			if j.needsDisk(f) {
				<-diskReady
				if diskErr != nil {
					return nil // told already
				}
			}
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

// needsDisk reports whether a format waits for the raw disk.
func (j *Job) needsDisk(f Format) bool { return f.From == FromDisk || j.req.Disk != nil }

// makeDisk makes the raw disk that formats are made from.
func (j *Job) makeDisk(ctx context.Context) error {
	if j.req.Disk != nil {
		return j.takeDisk(ctx)
	}
	var layers []string
	for _, l := range j.req.Layers {
		layers = append(layers, filepath.Join(l.Dir, "fs"))
	}
	return j.Tree(ctx, func(dir string) error {
		err := disk.Build(ctx, dir, disk.Options{
			Layers: layers,
			Size:   j.op.Size, Boot: bootMode(j.op.Boot, j.req.Arch), KernelArgs: j.op.KernelArgs,
			Seed: j.diskSeed, ID: j.id, Arch: j.req.Arch, CacheDir: j.req.CacheDir,
			Uses: j.uses, Note: j.logger.note, Warn: j.req.Warn,
			Progress: func(done, total int64) { j.Progress("disk", done, total) },
		}, j.disk)
		if err != nil {
			return err
		}
		info, err := os.Stat(j.disk)
		if err != nil {
			return err
		}
		j.diskSize = info.Size()
		return nil
	})
}

// takeDisk has the layer's own disk written, and grows it to the size that is
// asked for. The partitions are the machine's own business.
func (j *Job) takeDisk(ctx context.Context) error {
	if err := j.req.Disk(ctx, j.disk); err != nil {
		return err
	}
	info, err := os.Stat(j.disk)
	if err != nil {
		return err
	}
	j.diskSize = info.Size()
	j.checkLoader()
	if err := j.checkDisk(ctx); err != nil {
		return err
	}
	switch {
	case j.op.Size == 0 || j.op.Size == j.diskSize:
		return nil
	case j.op.Size < j.diskSize:
		return fmt.Errorf("size: %s are less than the machine's disk, which has %s", platforms.FormatSize(j.op.Size), platforms.FormatSize(j.diskSize))
	}
	j.diskSize = j.op.Size
	return os.Truncate(j.disk, j.op.Size)
}

// checkLoader warns of a disk that boots with the UEFI variables of its own machine alone.
func (j *Job) checkLoader() {
	if j.req.Warn == nil || j.req.MissingLoader == nil {
		return
	}
	missing, err := j.req.MissingLoader(j.disk)
	if err != nil {
		j.logger.note("the boot loader is not looked for: " + err.Error())
	} else if missing != "" {
		j.req.Warn("its EFI system partition has no " + missing + ", where firmware looks that has not this machine's variables, as in a cloud: \"grub-install --removable\" in a step puts GRUB there")
	}
}

// checkDisk warns of drivers that the system on the layer's own disk lacks, where
// its files can be seen.
func (j *Job) checkDisk(ctx context.Context) error {
	if !j.req.CanLook || len(j.uses) == 0 || j.req.Warn == nil {
		return nil
	}
	err := j.req.DiskTree(ctx, j.disk, func(dir string) error {
		return disk.CheckTree(dir, j.uses, j.req.Warn)
	})
	if err != nil && ctx.Err() == nil {
		j.logger.note("the drivers are not checked: " + err.Error()) // such as a disk with LVM
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
