package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/event"
	"bake.build/bake/runtime/spec"
	"bake.build/bake/runtime/ui"
	"bake.build/bake/starlark/lint"
)

// TestJSONIsDocumented looks for each field of the output for programs in its
// documentation.
func TestJSONIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	plan, rest, ok1 := strings.Cut(string(text), "## A run")
	run, tests, ok2 := strings.Cut(rest, "## Tests of definitions")
	if !ok1 || !ok2 {
		t.Fatal("docs/json.md has no section on runs, or none on tests")
	}
	for _, c := range []struct {
		section string
		v       any
	}{{plan, build.Description{}}, {run, ui.Line{}}, {tests + plan, spec.Line{}}} {
		for _, field := range jsonFields(reflect.TypeOf(c.v)) {
			if !strings.Contains(c.section, "`"+field+"`") {
				t.Errorf("%T: the field %s is not in docs/json.md", c.v, field)
			}
		}
	}
	_, findings, _ := strings.Cut(string(text), "## Findings")
	for _, field := range append(jsonFields(reflect.TypeFor[lint.Result]()), lint.Schema) {
		if !strings.Contains(findings, "`"+field+"`") {
			t.Errorf("findings: %s is not in docs/json.md", field)
		}
	}
	if !strings.Contains(plan, "`"+build.PlanSchema+"`") {
		t.Errorf("docs/json.md does not name %s", build.PlanSchema)
	}
	if !strings.Contains(tests, "`"+spec.Schema+"`") {
		t.Errorf("docs/json.md does not name %s", spec.Schema)
	}
	for _, e := range []event.Type{
		event.Planned, event.Waiting, event.Started, event.Output, event.Progress, event.Retry, event.Cached, event.Done,
		event.Failed, event.Canceled, event.Skipped, event.Note, event.Warning, event.Artifact, event.Finished,
	} {
		if !strings.Contains(run, "| `"+string(e)+"` |") {
			t.Errorf("the event %s is not in docs/json.md", e)
		}
	}
}

// jsonFields returns the names of the fields of t and of the structs in it.
func jsonFields(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var names []string
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		names = append(append(names, name), jsonFields(f.Type)...)
	}
	return names
}
