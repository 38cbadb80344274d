package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms"
)

// A Config is what export says of how containers of the image run. It changes
// the configuration that the layer's image came with.
type Config struct {
	Entrypoint []string          `bake:"entrypoint" json:"entrypoint,omitempty" help:"The command that a container runs. It drops the imported cmd."`
	Cmd        []string          `bake:"cmd" json:"cmd,omitempty" help:"Arguments of the entrypoint, or the command where there is none."`
	Env        map[string]string `bake:"env,numbers" json:"env,omitempty" help:"Environment variables, beside the imported ones."`
	User       string            `bake:"user,numbers" json:"user,omitempty" help:"User, or user:group, that a container runs as."`
	Workdir    string            `bake:"workdir" json:"workdir,omitempty" help:"Working directory."`
	Labels     map[string]string `bake:"labels,numbers" json:"labels,omitempty" help:"Labels, beside the imported ones."`
	Ports      []string          `bake:"ports,numbers" json:"ports,omitempty" help:"Ports that the image serves, such as 80 or 53/udp, beside the imported ones."`
	Volumes    []string          `bake:"volumes" json:"volumes,omitempty" help:"Directories that are volumes, beside the imported ones."`
	StopSignal string            `bake:"stop_signal,numbers" json:"stop_signal,omitempty" help:"Signal that ends a container."`
	Tag        string            `bake:"tag" json:"tag,omitempty" help:"Tag of the image." default:"latest"`
}

var (
	imagePort   = lazyregexp.New(`^[0-9]{1,5}(-[0-9]{1,5})?(/(tcp|udp|sctp))?$`)
	imageSignal = lazyregexp.New(`^(SIG[A-Z0-9+-]+|[0-9]{1,2})$`)
	imageTag    = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
)

// Check says what is wrong with the configuration.
func (c *Config) Check() error {
	for name := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("env: %q is not the name of a variable", name)
		}
	}
	for _, p := range c.Ports {
		if !imagePort.MatchString(p) {
			return fmt.Errorf(`ports: %q: want a port such as "80" or "53/udp"`, p)
		}
	}
	for _, v := range append([]string{c.Workdir}, c.Volumes...) {
		if v != "" && !path.IsAbs(v) {
			return fmt.Errorf("%q is not an absolute path", v)
		}
	}
	if c.StopSignal != "" && !imageSignal.MatchString(c.StopSignal) {
		return fmt.Errorf(`stop_signal: %q: want a signal such as "SIGQUIT"`, c.StopSignal)
	}
	if c.Tag != "" && !imageTag.MatchString(c.Tag) {
		return fmt.Errorf(`tag: %q: want letters, digits, "_", "." and "-"`, c.Tag)
	}
	return nil
}

// apply changes an imported configuration.
func (c *Config) apply(to *v1.Config) {
	if len(c.Entrypoint) > 0 {
		to.Entrypoint, to.Cmd = c.Entrypoint, nil
	}
	if len(c.Cmd) > 0 {
		to.Cmd = c.Cmd
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		to.Env = setEnv(to.Env, name+"="+c.Env[name])
	}
	if c.User != "" {
		to.User = c.User
	}
	if c.Workdir != "" {
		to.WorkingDir = c.Workdir
	}
	for name, value := range c.Labels {
		if to.Labels == nil {
			to.Labels = map[string]string{}
		}
		to.Labels[name] = value
	}
	for _, p := range c.Ports {
		if !strings.Contains(p, "/") {
			p += "/tcp"
		}
		to.ExposedPorts = add(to.ExposedPorts, p)
	}
	for _, v := range c.Volumes {
		to.Volumes = add(to.Volumes, v)
	}
	if c.StopSignal != "" {
		to.StopSignal = c.StopSignal
	}
}

func add(set map[string]struct{}, name string) map[string]struct{} {
	if set == nil {
		set = map[string]struct{}{}
	}
	set[name] = struct{}{}
	return set
}

// setEnv replaces a variable in its place, or adds it.
func setEnv(env []string, kv string) []string {
	name, _, _ := strings.Cut(kv, "=")
	for i, old := range env {
		if strings.HasPrefix(old, name+"=") {
			env = slices.Clone(env)
			env[i] = kv
			return env
		}
	}
	return append(slices.Clip(env), kv)
}

// importedConfig returns the run configuration of the image that a chain began with,
// or nil.
func importedConfig(chain []platforms.Layer) ([]byte, error) {
	if len(chain) == 0 {
		return nil, nil
	}
	b, err := os.ReadFile(filepath.Join(chain[0].Dir, platforms.ImageConfigName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// imageConfig returns how containers of the artifact run, and its tag.
func (j *Job) imageConfig() (config v1.Config, tag string, err error) {
	b, err := importedConfig(j.req.Layers)
	imported := b != nil
	if err == nil && imported {
		err = json.Unmarshal(b, &config)
	}
	if err != nil {
		return config, "", fmt.Errorf("read configuration of the imported image: %w", err)
	}
	var set Config
	if len(j.op.Config) > 0 {
		if err := json.Unmarshal(j.op.Config, &set); err != nil {
			return config, "", err
		}
	}
	if !slices.ContainsFunc(config.Env, func(kv string) bool { return strings.HasPrefix(kv, "PATH=") }) {
		config.Env = append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, config.Env...)
	}
	set.apply(&config)
	if !imported && len(config.Entrypoint)+len(config.Cmd) == 0 {
		config.Cmd = []string{"/bin/sh"}
	}
	tag = set.Tag
	if tag == "" {
		tag = "latest"
	}
	return config, tag, nil
}

var repositoryRest = lazyregexp.New(`[^a-z0-9]+`)

// repository returns an artifact's name as that of an image: parts of lower case
// letters and digits with one separator between them.
func repository(name string) string {
	name = strings.ToLower(name)
	return strings.Trim(repositoryRest.ReplaceAllStringFunc(name, func(sep string) string {
		switch {
		case sep == "." || sep == "_" || sep == "__" || strings.Trim(sep, "-") == "":
			return sep
		}
		return "-"
	}), "-._")
}
