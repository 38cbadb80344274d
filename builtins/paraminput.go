package builtins

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bake.build/bake/internal/datafile"
	"bake.build/bake/runtime/plan"
	"go.starlark.net/starlark"
)

// paramEnv is what the names of variables begin with that give parameters.
const paramEnv = "BAKE_PARAM_"

// A ParamInput is the value of a parameter from outside of the definition.
type ParamInput struct {
	Text  string          // as typed, when Typed
	Typed bool            // on a command line, or in a file or a variable without types
	Value *datafile.Value // with a type, from a file of parameters
	Sets  []ParamSet      // what -p changes in the value, or else in the default
	From  string          // such as "-p", "params.json" or "BAKE_PARAM_VERSION"
	File  string          // the file that the places of Value are in, or ""
	Loose bool            // no error when the definition has no such parameter
}

// A ParamSet gives a value to a part of a parameter.
type ParamSet struct {
	Path []string // names of fields and numbers of elements, outermost first
	Text string
}

// ReadParams collects the values of parameters, in order of precedence: args
// are "name=value" as of -p, file is the content of a file of parameters called
// fileName ("" for none), and environ is the environment as of os.Environ.
//
// A file of parameters is JSON, YAML or TOML by the end of its name; another is a JSON
// object, or lines of KEY=VALUE in which empty lines and those that begin with "#" do
// not count. An error of the file is a plan.Error in it.
func ReadParams(args []string, fileName string, file []byte, environ []string) (map[string]ParamInput, error) {
	params := map[string]ParamInput{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if rest, ok := strings.CutPrefix(name, paramEnv); ok && rest != "" {
			params[strings.ToLower(rest)] = ParamInput{Text: value, Typed: true, From: name, Loose: true}
		}
	}
	if fileName != "" {
		if err := readParamsFile(params, fileName, file); err != nil {
			return nil, err
		}
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		path := strings.Split(name, ".")
		if !ok || slices.Contains(path, "") {
			return nil, fmt.Errorf("-p %s: want name=value", arg)
		}
		if len(path) == 1 {
			params[name] = ParamInput{Text: value, Typed: true, From: "-p"}
			continue
		}
		p := params[path[0]]
		if p.From == "" {
			p.From = "-p"
		}
		p.Loose = false
		p.Sets = append(p.Sets, ParamSet{Path: path[1:], Text: value})
		params[path[0]] = p
	}
	return params, nil
}

func readParamsFile(params map[string]ParamInput, name string, text []byte) error {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	parse := datafile.ParserOf(name)
	if parse == nil && bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		parse = datafile.ParseJSON
	}
	if parse == nil {
		return readParamLines(params, name, text)
	}
	v, err := parse(text)
	if err == nil && v.Kind != datafile.Object {
		err = &datafile.Error{Line: v.Line, Col: v.Col, Err: fmt.Errorf("%s is not an object of parameters by their names", shownValue(v))}
	}
	var at *datafile.Error
	if errors.As(err, &at) && at.Line > 0 {
		return &plan.Error{Pos: []plan.Pos{{File: name, Line: at.Line, Col: at.Col}}, Err: at.Err}
	} else if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	for _, f := range v.Fields {
		params[f.Name] = ParamInput{Value: f.Value, From: name, File: name}
	}
	return nil
}

// readParamLines reads lines of KEY=VALUE.
func readParamLines(params map[string]ParamInput, name string, text []byte) error {
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		wrong := func(text string) error {
			col := 1 + len(line) - len(strings.TrimLeft(line, " \t"))
			return &plan.Error{Pos: []plan.Pos{{File: name, Line: n, Col: col}}, Err: errors.New(text)}
		}
		trimmed := strings.TrimSpace(line)
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		key, value, ok := strings.Cut(trimmed, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return wrong("want KEY=VALUE, or a JSON object; YAML and TOML go by the end of the file's name")
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') {
			if value[len(value)-1] != value[0] {
				return wrong("a quote is not closed")
			}
			value = value[1 : len(value)-1]
		}
		if value == "{" || value == "[" {
			return wrong("a map or a list of several lines: write the file as JSON, YAML or TOML, with the end of its name saying so")
		}
		params[key] = ParamInput{Text: value, Typed: true, From: name}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// GiveParam returns v as the value of a parameter; from says where it is from.
func GiveParam(v starlark.Value, from string) (ParamInput, error) {
	x, err := fromStarlark(v)
	return ParamInput{Value: x, From: from}, err
}
