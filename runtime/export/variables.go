package export

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"bake.build/bake/platforms"
)

// variablesSuffix ends the name of the file with a disk's UEFI variables, as libvirt names it.
const variablesSuffix = "_VARS.fd"

// VariablesBeside returns the path of the file with the UEFI variables of a disk, or ""
// where there is none beside it.
func VariablesBeside(disk string) string {
	path := strings.TrimSuffix(disk, filepath.Ext(disk)) + variablesSuffix
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	return path
}

// writeVariables copies the UEFI variables of the layer's machine into the artifact,
// where it has a disk that they go with.
func (j *Job) writeVariables(ctx context.Context, dir string, list []Format) ([]File, error) {
	hasDisk := slices.ContainsFunc(list, func(f Format) bool { return f.From == FromDisk })
	if j.req.Variables == nil || !hasDisk {
		return nil, nil
	}
	path, err := j.req.Variables()
	if path == "" || err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	name := j.op.Name + variablesSuffix
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
		return nil, err
	}
	j.logger.note("the machine has set UEFI variables, which go with the disk: " + name)
	return settle(ctx, dir, name, platforms.VariablesFormat, j.Progress)
}
