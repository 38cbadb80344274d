package builtins

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// paramEnv is what the names of variables begin with that give parameters.
const paramEnv = "BAKE_PARAM_"

// ReadParams collects the values of parameters, in order of precedence: args
// are "name=value" as of -p, file is the content of a file of parameters called
// fileName ("" for none), and environ is the environment as of os.Environ.
//
// A file of parameters is a JSON object, or lines of KEY=VALUE in which empty
// lines and those that begin with "#" do not count.
func ReadParams(args []string, fileName string, file []byte, environ []string) (map[string]ParamInput, error) {
	params := map[string]ParamInput{}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		if rest, ok := strings.CutPrefix(name, paramEnv); ok && rest != "" {
			params[strings.ToLower(rest)] = ParamInput{Text: value, From: name, Loose: true}
		}
	}
	if fileName != "" {
		if err := readParamsFile(params, fileName, file); err != nil {
			return nil, fmt.Errorf("read %s: %w", fileName, err)
		}
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("-p %s: want name=value", arg)
		}
		params[name] = ParamInput{Text: value, From: "-p"}
	}
	return params, nil
}

func readParamsFile(params map[string]ParamInput, name string, text []byte) error {
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		var values map[string]json.RawMessage
		if err := json.Unmarshal(text, &values); err != nil {
			return err
		}
		for k, v := range values {
			params[k] = ParamInput{Value: v, From: name}
		}
		return nil
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return fmt.Errorf("line %d: want KEY=VALUE, or a JSON object", n)
		}
		value = strings.TrimSpace(value)
		if len(value) >= 2 && (value[0] == '"' || value[0] == '\'') {
			if value[len(value)-1] != value[0] {
				return fmt.Errorf("line %d: %w", n, errors.New("a quote is not closed"))
			}
			value = value[1 : len(value)-1]
		}
		params[key] = ParamInput{Text: value, From: name}
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
