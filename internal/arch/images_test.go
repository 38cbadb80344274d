package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhoGivesImagesToQEMU lists every function that gives QEMU or qemu-img a
// file to open as a disk, and what it gives. QEMU follows names of other files in
// images, and guesses formats, unless it is told of every node: an image of a
// user's, or one that a guest has written to, goes through image.Open. Who adds a
// line here says where its images come from.
func TestWhoGivesImagesToQEMU(t *testing.T) {
	want := map[string]string{
		"platforms/qemu.sealed: image.Open":                   "the layers of a chain",
		"platforms/qemu.(*driver).shortened: image.Open":      "the layers of a chain",
		"platforms/qemu.(*driver).merged: image.Open":         "what mergeDisk has written",
		"platforms/qemu.(*driver).Disk: image.Open":           "the overlay of a machine",
		"platforms/qemu.(*driver).importImage: image.Open":    "a user's disk",
		"platforms/qemu.(*machine).addFurther: image.Open":    "a further disk of a machine that is launched",
		"platforms/qemu.resize: image.Open":                   "the copy of a user's disk",
		"platforms/qemu.(*machine).prepareLaunch: image.Open": "an artifact, or a user's disk",
		"platforms/rootfs/origin.rawDisk: image.Open":         "a user's disk",
		"platforms/desktop.(*Driver).raw: image.Open":         "a user's disk, or an artifact",

		"platforms/image.CheckWhole: qemu-img":             "a node",
		"platforms/image.joinExtents: qemu-img":            "a description of bake's own, with pieces that were looked into",
		"platforms/qemu.qemuImg: qemu-img":                 "what its callers give it",
		"platforms/qemu.createImage: qemuImg":              "nothing: it makes an image",
		"platforms/qemu.convert: qemuImg":                  "a node",
		"platforms/qemu.resize: qemuImg":                   "a node",
		"platforms/qemu.(*machine).prepareLaunch: qemuImg": "nothing: it makes an image and leaves the one below closed",
		"platforms/rootfs/origin.rawDisk: qemu-img":        "a node",
		"platforms/image.(*Node).ConvertRaw: qemu-img":     "a node",
		"runtime/export.qemuConvert: qemu-img":             "the disk that the plan has made, as raw, or a node",
		"cmd/bake.locate: image.Open":                      "an artifact",

		"platforms/qemu.hardware.memoryAndFirmware: -blockdev": "bake's own firmware and variables, as raw",
		"platforms/qemu.hardware.drives: -blockdev":            "nodes",
		"platforms/qemu.hardware.installer: -blockdev":         "CDs, as raw",
		"platforms/qemu.(*machine).snapshot: blockdev-add":     "overlays that createImage has made",
		"platforms/qemu.timeProbe: -drive":                     "a floppy of bake's own, as raw",
	}
	got := map[string]bool{}
	for _, top := range []string{"cmd/bake", "builtins", "starlark", "runtime", "platforms", "internal"} {
		err := filepath.WalkDir(filepath.Join("..", "..", filepath.FromSlash(top)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			return imageUses(path, got)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); diff != "" {
		t.Errorf("who gives images to QEMU (-want +got):\n%s", diff)
	}
}

// imageUses adds to got what the functions of a file give to QEMU, each as
// "package.function: what".
func imageUses(path string, got map[string]bool) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return err
	}
	dir := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../../")
	if dir == "internal/testdisk" || dir == "internal/testqemu" || slices.Contains(standIns, dir) {
		return nil // tests' own disks and machines
	}
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				for _, what := range imageUse(call) {
					got[fmt.Sprintf("%s.%s: %s", dir, funcName(fn), what)] = true
				}
			}
			return true
		})
	}
	return nil
}

// imageUse returns what a call gives to QEMU.
func imageUse(call *ast.CallExpr) (uses []string) {
	name := ""
	switch f := call.Fun.(type) {
	case *ast.Ident:
		name = f.Name
	case *ast.SelectorExpr:
		name = f.Sel.Name
		if x, ok := f.X.(*ast.Ident); ok && x.Name == "image" && name == "Open" {
			uses = append(uses, "image.Open")
		}
	}
	if name == "qemuImg" {
		uses = append(uses, name)
	}
	starts := name == "Command" || name == "CommandContext" || name == "isolated"
	for _, arg := range call.Args {
		lit, ok := arg.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			continue
		}
		switch text, err := strconv.Unquote(lit.Value); {
		case err != nil:
		case text == "qemu-img" && starts:
			uses = append(uses, text)
		case slices.Contains([]string{"-blockdev", "-drive", "-hda", "-hdb", "-cdrom", "-fda", "-pflash", "-snapshot", "blockdev-add", "drive_add"}, text):
			uses = append(uses, text)
		}
	}
	return uses
}

// funcName writes a function with its receiver.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	switch r := fn.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		return fmt.Sprintf("(*%s).%s", r.X, fn.Name.Name)
	default:
		return fmt.Sprintf("%s.%s", r, fn.Name.Name)
	}
}
