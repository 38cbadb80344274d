package main

import (
	"bytes"
	"errors"
	"fmt"

	"bake.build/bake/internal/printable"
	"bake.build/bake/internal/spell"
	"bake.build/bake/runtime/build"
	"bake.build/bake/runtime/plan"
	"bake.build/bake/starlark/diag"
	"bake.build/bake/starlark/lint"
)

// findingFormats are the forms in which findings are written.
var findingFormats = []string{"plain", "json", "sarif", "github"}

func checkFindingFormat(format string) error {
	for _, f := range findingFormats {
		if f == format {
			return nil
		}
	}
	return coded(exitUsage, fmt.Errorf("--format %s: no such format%s", format, spell.Hint(format, "formats", findingFormats)))
}

// writeFindings writes findings to the standard output. source returns the text of a
// file that they name.
func (a *app) writeFindings(format string, rules []lint.Rule, findings []lint.Finding, source func(string) ([]byte, error)) error {
	var out bytes.Buffer
	var err error
	switch format {
	case "json":
		err = lint.WriteJSON(&out, findings)
	case "sarif":
		err = lint.WriteSARIF(&out, version, rules, findings)
	case "github":
		if err = lint.WriteGitHub(&out, findings); err == nil {
			_, err = a.stdout.Write(out.Bytes())
		}
		return err
	default:
		return a.writePlain(findings, source)
	}
	if err != nil {
		return err
	}
	_, err = printable.Raw(a.stdout).Write(printable.JSON(out.Bytes()))
	return err
}

// writePlain writes findings as errors in definitions are shown.
func (a *app) writePlain(findings []lint.Finding, source func(string) ([]byte, error)) error {
	if len(findings) == 0 {
		return nil
	}
	var errs []error
	for _, f := range findings {
		at := []plan.Pos{{File: f.File, Line: f.Line, Col: f.Col}}
		err := fmt.Errorf("%s [%s]", f.Message, f.Rule)
		errs = append(errs, build.WithHint(&plan.Error{Pos: at, Err: err}, f.Hint))
	}
	return diag.Render(printable.Raw(a.stdout), errors.Join(errs...), diag.Options{Color: a.colorOn(a.stdout), Source: source})
}
