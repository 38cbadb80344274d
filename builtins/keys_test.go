package builtins

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/op"
	"bake.build/bake/runtime/plan"
)

// ops are all ops of the project.
var ops = []plan.Op{&op.Source{}, &op.Shell{}, &op.Local{}, &op.Copy{}, &op.Write{}, &op.Reboot{}, &op.Test{}, &export.Op{}, &export.Disk{}, &export.Publish{}, &export.Output{}}

// TestOpsAreListed finds ops in the source that ops lacks.
func TestOpsAreListed(t *testing.T) {
	listed := map[string]bool{}
	for _, o := range ops {
		listed[reflect.TypeOf(o).Elem().String()] = true
	}
	found := 0
	for _, dir := range []string{"../runtime/op", "../runtime/export"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range f.Decls {
				if name := kindReceiver(d); name != "" {
					found++
					if !listed[f.Name.Name+"."+name] {
						t.Errorf("%s.%s is an op that ops does not list", f.Name.Name, name)
					}
				}
			}
		}
	}
	if found != len(ops) {
		t.Errorf("found %d ops in the source, %d are listed", found, len(ops))
	}
}

// kindReceiver returns the type that d declares the method Kind() string of.
func kindReceiver(d ast.Decl) string {
	fn, ok := d.(*ast.FuncDecl)
	if !ok || fn.Recv == nil || fn.Name.Name != "Kind" || len(fn.Type.Params.List) != 0 {
		return ""
	}
	if star, ok := fn.Recv.List[0].Type.(*ast.StarExpr); ok {
		return star.X.(*ast.Ident).Name
	}
	return ""
}

func keyOf(t *testing.T, o plan.Op) plan.Key {
	t.Helper()
	pre, err := plan.Encode(o)
	if err != nil {
		t.Fatal(err)
	}
	return pre.Key()
}

// TestEveryFieldOfEveryOp changes each field of each op, nested ones too, and
// wants another key exactly when the field's tag says that it is part of it.
func TestEveryFieldOfEveryOp(t *testing.T) {
	kinds := map[string]bool{}
	for _, o := range ops {
		v := reflect.New(reflect.TypeOf(o).Elem())
		fill(t, v.Elem())
		full := v.Interface().(plan.Op)
		if kinds[full.Kind()] {
			t.Errorf("two ops have the kind %q", full.Kind())
		}
		kinds[full.Kind()] = true
		before := keyOf(t, full)
		if before != keyOf(t, full) {
			t.Fatalf("%s: the key changes by itself", full.Kind())
		}
		changes := 0
		change(t, full.Kind(), v.Elem(), true, func(field string, hashed bool, undo func()) {
			changes++
			if after := keyOf(t, full); (after != before) != hashed {
				t.Errorf("%s: a change of it changes the key: %v, its tag says %v", field, after != before, hashed)
			}
			undo()
			if keyOf(t, full) != before {
				t.Fatalf("%s: the key does not come back", field)
			}
		})
		if changes < v.Elem().NumField() {
			t.Errorf("%s: %d changes for %d fields", full.Kind(), changes, v.Elem().NumField())
		}
	}
}

// fill sets every field below v to something that is not zero.
func fill(t *testing.T, v reflect.Value) {
	switch x := v.Addr().Interface().(type) {
	case *json.RawMessage:
		*x = json.RawMessage(`{"a":1}`)
		return
	case **plan.Input:
		*x = &plan.Input{Path: "/p", Digest: "d", Size: 1, Exclude: []string{"e"}}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"k": "v"}))
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("no value for a %s: is it allowed in an op?", v.Type())
	}
}

// change calls check once for each way in which something below v can differ,
// while it does.
func change(t *testing.T, name string, v reflect.Value, hashed bool, check func(field string, hashed bool, undo func())) {
	set := func(x any) {
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		v.Set(reflect.ValueOf(x).Convert(v.Type()))
		check(fmt.Sprintf("%s = %v", name, x), hashed, func() { v.Set(old) })
	}
	switch x := v.Interface().(type) {
	case json.RawMessage:
		set(json.RawMessage(`{"a":2}`))
		return
	case *plan.Input:
		set(&plan.Input{Path: x.Path, Digest: "other", Size: x.Size})
		hashed = false // where an input lies does not matter, what it holds does
		set(&plan.Input{Path: "/elsewhere", Digest: x.Digest, Size: 2, Pos: []plan.Pos{{Line: 1}}})
		return
	case map[string]string:
		set(map[string]string{"k": "w"})
		set(map[string]string{"l": "v"})
		set(map[string]string{"k": "v", "l": "v"})
		return
	}
	switch v.Kind() {
	case reflect.String:
		set("y")
		set("")
	case reflect.Bool:
		set(false)
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64:
		set(2)
		set(0)
	case reflect.Slice:
		set(reflect.AppendSlice(v.Slice(0, 1), v.Slice(0, 1)).Interface())
		set(reflect.MakeSlice(v.Type(), 0, 0).Interface())
		change(t, name+"[0]", v.Index(0), hashed, check)
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			change(t, name+"."+f.Name, v.Field(i), hashed && f.Tag.Get("key") != "-", check)
		}
	default:
		t.Fatalf("%s: no change for a %s", name, v.Type())
	}
}

// TestEveryFieldOfNode says of each field of a node whether it changes the key.
func TestEveryFieldOfNode(t *testing.T) {
	type decision struct {
		hashed bool
		change func(n *plan.Node)
	}
	other := &plan.Node{Op: &op.Write{Path: "/other"}}
	decided := map[string]decision{
		"ID":       {false, func(n *plan.Node) { n.ID = 7 }},
		"Op":       {true, func(n *plan.Node) { n.Op = &op.Write{Path: "/else"} }},
		"Platform": {true, func(n *plan.Node) { n.Platform = &plan.Platform{Name: "toy"} }},
		"Deps":     {true, func(n *plan.Node) { n.Deps = []*plan.Node{other} }},
		"Pin":      {true, func(n *plan.Node) { n.Pin = &platforms.Pin{ID: "sha256:2"} }},
		"Uses":     {false, func(n *plan.Node) { n.Uses = []*plan.Node{other} }},
		"After":    {false, func(n *plan.Node) { n.After = []*plan.Node{other} }},
		"Name":     {false, func(n *plan.Node) { n.Name = "else" }},
		"Pos":      {false, func(n *plan.Node) { n.Pos = []plan.Pos{{File: "b.star", Line: 9}} }},
		"Run": {false, func(n *plan.Node) {
			n.Run = plan.RunOptions{Timeout: time.Hour, Retries: 3, Always: true}
		}},
		"Key":      {false, func(n *plan.Node) { n.Key = plan.Key{1} }},
		"Preimage": {false, func(n *plan.Node) { n.Preimage = plan.Preimage{{Name: "a"}} }},
	}
	if got := reflect.TypeFor[plan.RunOptions]().NumField(); got != 3 {
		t.Errorf("RunOptions has %d fields: set them all above", got)
	}
	sealed := func(change func(n *plan.Node)) plan.Key {
		first := &plan.Node{Op: &op.Write{Path: "/first"}}
		n := &plan.Node{Op: &op.Write{Path: "/x"}, Platform: &plan.Platform{Name: "rootfs"}, Deps: []*plan.Node{first}, Pin: &platforms.Pin{ID: "sha256:1"}}
		change(n)
		p := &plan.Plan{Nodes: []*plan.Node{other, first, n}}
		if err := p.Seal(func(p *plan.Platform) (string, error) { return p.ID(), nil }); err != nil {
			t.Fatal(err)
		}
		return n.Key
	}
	before := sealed(func(*plan.Node) {})
	typ := reflect.TypeFor[plan.Node]()
	for i := range typ.NumField() {
		name := typ.Field(i).Name
		d, ok := decided[name]
		if !ok {
			t.Errorf("Node.%s: nobody decided whether it changes the key", name)
			continue
		}
		if changed := sealed(d.change) != before; changed != d.hashed {
			t.Errorf("Node.%s: changes the key: %v, want %v", name, changed, d.hashed)
		}
	}
	if sealed(func(n *plan.Node) {
		n.Pin = &platforms.Pin{ID: "sha256:1", Date: "2026-01-01T00:00:00Z", Detail: map[string]string{"a": "b"}}
	}) != before {
		t.Error("the date and details of a pin change the key")
	}
}
