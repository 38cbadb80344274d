package build

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bake.build/bake/builtins"
	"bake.build/bake/internal/regular"
	"bake.build/bake/internal/spell"
)

// secretEnv begins the environment variables that hold secrets.
const secretEnv = "BAKE_SECRET_"

// A secretSource returns the value of one secret.
type secretSource func() ([]byte, error)

// secretSources returns where the values of secrets come from: the command
// line's name=env:VARIABLE and name=file:PATH, and otherwise the environment
// variable that the definition names, BAKE_SECRET_NAME by default. Values are read when a step needs
// them.
func (c *Config) secretSources(flags []string, uses []builtins.SecretUse) (func(name string) ([]byte, error), error) {
	given := make(map[string]secretSource)
	for _, f := range flags {
		name, from, ok := strings.Cut(f, "=")
		if !ok || name == "" {
			// What stands there may be the secret itself: it is not repeated.
			return nil, errors.New("--secret: want name=env:VARIABLE or name=file:PATH, not the value itself")
		}
		switch kind, place, _ := strings.Cut(from, ":"); {
		case kind == "env" && place != "":
			given[name] = func() ([]byte, error) { return c.secretFromEnv(place) }
		case kind == "file" && place != "":
			given[name] = func() ([]byte, error) { return secretFromFile(c.abs(place)) }
		default:
			// The text after the sign may be the secret itself: it is not repeated.
			return nil, fmt.Errorf("--secret %s=…: want env:VARIABLE or file:PATH, not the value itself", name)
		}
	}
	if err := checkSecretNames(given, uses); err != nil {
		return nil, err
	}
	return func(name string) ([]byte, error) {
		if source, ok := given[name]; ok {
			return source()
		}
		variable := SecretVariable(name)
		for _, u := range uses {
			if u.Name == name && u.Env != "" {
				variable = u.Env
			}
		}
		v, err := c.secretFromEnv(variable)
		if err != nil {
			return nil, fmt.Errorf("no value: set %s, or give --secret %s=file:PATH", variable, name)
		}
		return v, nil
	}, nil
}

// checkSecretNames returns an error for a name that no step uses: a secret that
// is misspelled would be missed only when its step runs.
func checkSecretNames(given map[string]secretSource, uses []builtins.SecretUse) error {
	var names []string
	for _, u := range uses {
		names = append(names, u.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("--secret %s: no step of the definition uses a secret of this name%s", name, spell.Hint(name, "secrets", names))
		}
	}
	return nil
}

func (c *Config) secretFromEnv(variable string) ([]byte, error) {
	v := c.getenv(variable)
	if v == "" {
		return nil, fmt.Errorf("the environment variable %s is not set", variable)
	}
	return []byte(v), nil
}

// maxSecret is how many bytes a secret has at most.
const maxSecret = 1 << 20

// secretFromFile reads a secret and drops the line break at its end, which
// editors add and tools do not want.
func secretFromFile(path string) ([]byte, error) {
	data, err := regular.ReadGiven(path, maxSecret)
	if err != nil {
		return nil, err
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(data) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return data, nil
}

// envName turns the name of a parameter or a secret into the end of an
// environment variable's name.
func envName(name string) string {
	return strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// SecretVariable returns the environment variable that the value of a secret comes
// from when nothing else is said.
func SecretVariable(secret string) string { return secretEnv + envName(secret) }
