package build

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/runtime/solve"
)

// An exporter writes artifacts below a directory, each in its own.
type exporter struct {
	b     *Build
	out   string // absolute
	disks heldDisks
}

// Current implements solve.Exports.
func (e *exporter) Current(ctx context.Context, n *plan.Node, key plan.Key) ([]solve.File, string, error) {
	switch op := n.Op.(type) {
	case *export.Publish:
		return e.b.published(ctx, n, op, key)
	case *export.Disk:
		return nil, "an artifact made of it is not up to date", nil
	}
	dir, err := e.dir(n)
	if err != nil {
		return nil, "", err
	}
	m, at, why, err := export.Find(dir, key, e.b.Store.StatCache())
	if err != nil || m == nil {
		return nil, why, err
	}
	return e.files(at, m), "", nil
}

// Settle implements solve.Settler.
func (e *exporter) Settle(ctx context.Context, n *plan.Node, key plan.Key, passed bool) ([]solve.File, error) {
	dir, err := e.dir(n)
	if err != nil {
		return nil, err
	}
	result, err := export.Settle(ctx, dir, key, passed, e.b.Store.StatCache())
	if err != nil {
		return nil, err
	}
	return e.files(result.Dir, result.Manifest), nil
}

// ImageConfig implements solve.Configurer.
func (e *exporter) ImageConfig(n *plan.Node, key plan.Key) ([]byte, error) {
	if _, ok := n.Op.(*export.Publish); ok {
		return nil, nil
	}
	dir, err := e.dir(n)
	if err != nil {
		return nil, err
	}
	m, _, _, err := export.Find(dir, key, e.b.Store.StatCache())
	if err != nil || m == nil {
		return nil, err
	}
	return m.ImageConfig, nil
}

// untested reports whether the definition has a test of the artifact n that has
// not passed.
func (e *exporter) untested(n *plan.Node) bool {
	for _, t := range testsOf(e.b.Definition, n) {
		if !solve.Passed(e.b.Store, t.Node) {
			return true
		}
	}
	return false
}

// Export implements solve.Exports.
func (e *exporter) Export(ctx context.Context, j solve.Job) ([]solve.File, error) {
	switch op := j.Node.Op.(type) {
	case *export.Publish:
		return e.publish(ctx, op, j)
	case *export.Output:
		return e.output(ctx, op, j)
	case *export.Disk:
		return e.disk(ctx, op, j)
	}
	op, err := exportOp(j.Node)
	if err != nil {
		return nil, err
	}
	request, err := e.request(ctx, j, op)
	if err != nil {
		return nil, err
	}
	if request.OutDir, err = e.dir(j.Node); err != nil {
		return nil, err
	}
	if e.untested(j.Node) {
		request.OutDir += export.UntestedSuffix
	}
	result, err := export.Run(ctx, request)
	if err == nil && result.Made {
		err = e.b.recordDisk(result.Manifest)
	}
	if err != nil {
		return nil, err
	}
	return e.files(result.Dir, result.Manifest), nil
}

// output takes files out of the machine of j.
func (e *exporter) output(ctx context.Context, op *export.Output, j solve.Job) ([]solve.File, error) {
	dir, err := e.dir(j.Node)
	if err != nil {
		return nil, err
	}
	result, err := export.RunOutput(ctx, export.OutputRequest{
		Op: op, Key: j.Key, Machine: j.Machine, OutDir: dir, About: e.b.about(j.Node), Arch: j.Traits.Arch, Logger: j.Out,
	})
	if err != nil {
		return nil, err
	}
	return e.files(result.Dir, result.Manifest), nil
}

// request returns how an artifact of j's layer is written.
func (e *exporter) request(ctx context.Context, j solve.Job, op *export.Op) (export.Request, error) {
	request := export.Request{
		Op:      op,
		Key:     j.Key,
		Formats: e.b.Formats,
		Tree:    treeOf(j),
		Layers:  j.Chain,
		Arch:    j.Traits.Arch,
		About:   e.b.about(j.Node),
		Secrets: j.Secrets,
		Logger:  j.Out,
		Warn:    e.b.warnOf(j.Node),
		CanLook: true,
	}
	if len(j.Used) > 0 {
		request.Disk, request.DiskKey = j.Used[0].Files[0].Path, j.Used[0].Key
	}
	if _, ok := j.Driver.(platforms.Disker); !ok {
		return request, nil
	}
	request.OwnDisk = true
	if request.Disk == "" {
		return request, fmt.Errorf("the platform %s does not say that its machines have disks", j.Node.Deps[0].Platform.Name)
	}
	treer, ok := j.Driver.(platforms.DiskTreer)
	request.CanLook = ok && len(treer.CheckDiskTree()) == 0 && op.Disk <= 1 // others have no system
	request.Tree = func(ctx context.Context, use func(string) error) error {
		if !ok {
			return fmt.Errorf("the platform %s cannot show the files of a disk", j.Node.Deps[0].Platform.Name)
		}
		return treer.DiskTree(ctx, request.Disk, use)
	}
	if v, ok := j.Driver.(platforms.VariableStorer); ok && op.Disk <= 1 {
		request.Variables = func() (string, error) { return v.Variables(j.Chain) }
	}
	return request, e.warnOfDisks(ctx, j, op)
}

// treeOf shows the files of j's layer.
func treeOf(j solve.Job) func(ctx context.Context, use func(string) error) error {
	return func(ctx context.Context, use func(string) error) error {
		treer, ok := j.Driver.(platforms.Treer)
		if !ok {
			return fmt.Errorf("the platform %s cannot show the files of a layer", j.Node.Deps[0].Platform.Name)
		}
		return treer.Tree(ctx, j.Chain, use)
	}
}

// warnOf returns what warns of the artifact n.
func (b *Build) warnOf(n *plan.Node) func(text string) {
	return func(text string) { b.warn(n.Name + ": " + text) }
}

// warnOfDisks warns of the disks of the machine that its artifacts leave out.
func (e *exporter) warnOfDisks(ctx context.Context, j solve.Job, op *export.Op) error {
	d, ok := j.Driver.(platforms.FurtherDisker)
	if !ok || op.Disk > 1 {
		return nil
	}
	further, err := d.FurtherDisks(ctx, j.Chain)
	if err != nil {
		return err
	}
	layer, warn := j.Node.Deps[0], e.b.warnOf(j.Node)
	for n := 2; n <= 1+further; n++ {
		if !e.b.exportsDisk(layer, n) {
			warn(fmt.Sprintf("the machine's disk %d is not in it: export(…, disk = %d) writes that", n, n))
		}
	}
	return nil
}

// exportsDisk reports whether the definition has an artifact of the layer's disk n.
func (b *Build) exportsDisk(layer *plan.Node, n int) bool {
	for _, a := range b.Definition.Artifacts {
		if op, ok := a.Node.Op.(*export.Op); ok && op.Disk == n && a.Node.Deps[0].Key == layer.Key {
			return true
		}
	}
	return false
}

// files lists an artifact's files; one that is a folder is listed once, with
// the size of all that is in it.
func (e *exporter) files(dir string, m *export.Manifest) []solve.File {
	var files []solve.File
	for _, f := range m.Files {
		top, _, _ := strings.Cut(f.Path, "/")
		path := filepath.Join(dir, top)
		if last := len(files) - 1; last >= 0 && files[last].Path == path {
			files[last].Size += f.Size
			continue
		}
		files = append(files, solve.File{Path: path, Format: f.Format, Size: f.Size})
	}
	return files
}

// dir returns the directory of n's artifact: its name, or its target where several
// artifacts of files have the name.
func (e *exporter) dir(n *plan.Node) (string, error) {
	name, err := artifactName(n)
	if err != nil {
		return "", err
	}
	dir, sharing := name, 0
	for _, t := range e.b.Definition.Artifacts {
		if other, err := artifactName(t.Node); err == nil && other == name {
			sharing++
		}
		if t.Node == n {
			dir = t.Name
		}
	}
	if sharing < 2 {
		dir = name
	}
	return filepath.Join(e.out, dir), nil
}

// artifactName returns the name of n's artifact of files.
func artifactName(n *plan.Node) (string, error) {
	if op, ok := n.Op.(*export.Output); ok {
		return op.Name, nil
	}
	op, err := exportOp(n)
	if err != nil {
		return "", err
	}
	return op.Name, nil
}

func exportOp(n *plan.Node) (*export.Op, error) {
	op, ok := n.Op.(*export.Op)
	if !ok {
		return nil, fmt.Errorf("%s: no artifact", n.Name)
	}
	return op, nil
}

// about returns what the manifest of n's artifact tells of the definition.
func (b *Build) about(n *plan.Node) export.About {
	a := export.About{
		Definition: b.Project.Show(b.Project.Definition),
		Params:     map[string]string{},
		Pins:       map[string]*platforms.Pin{},
		Version:    b.Version,
	}
	for _, p := range b.Definition.Params {
		a.Params[p.Name] = p.Text()
	}
	seen := make(map[*plan.Node]bool)
	var walk func(n *plan.Node)
	walk = func(n *plan.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		if n.Pin != nil {
			a.Pins[n.Name] = n.Pin
		}
		for _, d := range n.Deps {
			walk(d)
		}
	}
	walk(n)
	return a
}
