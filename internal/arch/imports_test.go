// Package arch holds the tests of the project's structure.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "bake.build/bake/"

type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// packages lists the packages of the module with what they import, tests left
// out.
func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Standard,Imports,Deps", module+"...")
	cmd.Env = append(cmd.Environ(), "GOOS=linux")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	dec := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 5 {
		t.Fatalf("go list found %d packages", len(all))
	}
	return all
}

func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

// TestImportsGoOneWay holds the direction cmd → runtime/build → builtins →
// runtime/op → runtime/plan → platforms.
func TestImportsGoOneWay(t *testing.T) {
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module)
		for _, imp := range p.Imports {
			to, own := strings.CutPrefix(imp, module)
			if !own {
				if (under(from, "runtime") && from != specs || under(from, "platforms")) && under(imp, "go.starlark.net") {
					t.Errorf("%s imports %s: only starlark, builtins and cmd know the language", from, imp)
				}
				if slices.Contains(neutral, from) && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") && !slices.ContainsFunc(besides, func(m string) bool { return under(imp, m) }) {
					t.Errorf("%s imports %s: what all platforms share knows none of them", from, imp)
				}
				if from == "platforms" && strings.Contains(strings.SplitN(imp, "/", 2)[0], ".") {
					t.Errorf("platforms imports %s: it may import the standard library only", imp)
				}
				continue
			}
			if why := forbidden(from, to); why != "" {
				t.Errorf("%s imports %s: %s", from, to, why)
			}
		}
	}
}

// shared are the packages beside the drivers that all of them may use.
var shared = append([]string{"platforms/ssh", "platforms/image", "platforms/installer", "platforms/console", "platforms/identity", "platforms/instance", "platforms/hypervisor", "platforms/desktop", "platforms/seed"}, neutral...)

// standIns are packages with programs that stand for those of hypervisors in tests.
var standIns = []string{"platforms/virtualbox/vboxtest", "platforms/vmware/vmwaretest"}

// specs runs tests of definitions: a program of its own that calls the build, and knows
// the language.
const specs = "runtime/spec"

// forbidden returns why the package from may not import the package to, or "".
func forbidden(from, to string) string {
	switch {
	case to == "internal/testqemu" && slices.Contains(standIns, from):
		return ""
	case slices.Contains([]string{"internal/need", "internal/testbake", "internal/testdisk", "internal/testqemu", "internal/testsshd"}, to) && !under(from, "internal/testdisk") && !under(from, "internal/testopenstack"):
		return "it is for tests"
	case under(to, "cmd") && !under(from, "cmd"):
		return "only cmd wires"
	case under(to, "runtime/build") && !under(from, "cmd") && from != specs:
		return "it is what programs call"
	case from == "runtime/build", from == specs:
		if under(to, "platforms") && to != "platforms" {
			return "the runtime knows drivers by their interface"
		}
	case from == "runtime/module" && slices.Contains([]string{"starlark/module", "platforms/image/fetch", "platforms/wait"}, to):
		return "" // what a source is; and origins are downloaded in the same way
	case from == "runtime/op" && to == "runtime/local", from == "runtime/local" && to == "internal/tool":
		return "" // a step that runs a program of this host
	case from == "runtime/lock" && to == "starlark/module":
		return "" // what a lock has of modules
	case under(from, "runtime"):
		if under(to, "starlark") || under(to, "builtins") || under(to, "stdlib") {
			return "the runtime does not know the language"
		}
		if under(to, "platforms") && to != "platforms" {
			return "the runtime knows drivers by their interface"
		}
		if from == "runtime/plan" && under(to, "runtime") {
			return "the plan is pure data"
		}
		if under(from, "runtime/op") && to != "runtime/plan" && to != "platforms" {
			return "a step knows the plan and the machine"
		}
	case under(from, "platforms"):
		return platformImport(from, to)
	case under(from, "starlark"):
		if under(to, "builtins") || under(to, "platforms") {
			return "the evaluator does not know what the builtins are"
		}
	}
	return ""
}

// leaves are packages that platforms may use, and that know no driver.
var leaves = []string{"internal/lazyregexp", "internal/hardware", "internal/ovf", "internal/vmx", "internal/tool", "internal/durable", "internal/mountns", "internal/sparse", "internal/regular", "internal/modroot", "internal/fstab", "internal/paxattr", "internal/userns", "internal/spell", "internal/vmdk", "internal/vdi", "internal/qcow2", "internal/blocks"}

// neutral are those of the shared packages that know no cloud, no hypervisor and no
// protocol: they import each other, the standard library and what is in besides.
var (
	neutral = []string{"platforms/publish", "platforms/remote", "platforms/resource", "platforms/wait"}
	besides = []string{"golang.org/x/sync"}
)

func platformImport(from, to string) string {
	parts := strings.Split(from, "/")
	switch {
	case from == "platforms":
		return "it imports no other package of the project"
	case to == "platforms" || slices.Contains(leaves, to):
		return ""
	case slices.Contains(neutral, from) && !slices.Contains(neutral, to):
		return "what all platforms share knows none of them"
	case slices.ContainsFunc(shared, func(folder string) bool { return under(to, folder) }):
		return ""
	case from == "platforms/all" && under(to, "platforms"):
		return ""
	case len(parts) > 1 && under(to, "platforms/"+parts[1]):
		return ""
	}
	return "a platform imports platforms, what platforms share and its own folders"
}

func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		from, to string
		ok       bool
	}{
		{"cmd/bake", "builtins", true},
		{"cmd/bake", "runtime/build", true},
		{"runtime/build", "builtins", true},
		{"runtime/build", "platforms", true},
		{"runtime/build", "platforms/rootfs", false},
		{"runtime/spec", "runtime/build", true},
		{"runtime/spec", "platforms/rootfs", false},
		{"runtime/solve", "runtime/build", false},
		{"builtins", "runtime/op", true},
		{"runtime/op", "runtime/plan", true},
		{"runtime/plan", "platforms", true},
		{"platforms/rootfs", "platforms/rootfs/origin", true},
		{"platforms/aws", "platforms/ssh", true},
		{"platforms/rootfs/origin", "platforms/image", true},
		{"platforms/aws", "platforms/wait", true},
		{"platforms/ssh", "platforms/wait", true},
		{"platforms/wait", "platforms/ssh", false},
		{"platforms/wait", "platforms/aws", false},
		{"platforms/qemu", "internal/tool", true},
		{"platforms/aws/ebs", "internal/sparse", true},
		{"internal/testdisk", "internal/need", true},
		{"internal/testdisk", "internal/testbake", true},
		{"platforms/qemu", "internal/testbake", false},
		{"platforms/qemu", "internal/testdisk", false},
		{"platforms/virtualbox/vboxtest", "internal/testqemu", true},
		{"platforms/virtualbox", "internal/testqemu", false},
		{"platforms/ssh", "internal/testsshd", false},
		{"platforms/all", "platforms/rootfs", true},
		{"runtime/plan", "runtime/store", false},
		{"runtime/solve", "platforms/rootfs", false},
		{"runtime/solve", "builtins", false},
		{"runtime/module", "starlark/module", true},
		{"runtime/module", "starlark/eval", false},
		{"platforms", "runtime/plan", false},
		{"platforms/aws", "platforms/rootfs", false},
		{"platforms/rootfs", "runtime/store", false},
		{"starlark/eval", "builtins", false},
		{"builtins", "cmd/bake", false},
		{"runtime/store", "internal/need", false},
	} {
		if got := forbidden(c.from, c.to) == ""; got != c.ok {
			t.Errorf("%s → %s: allowed %v, want %v", c.from, c.to, got, c.ok)
		}
	}
}
