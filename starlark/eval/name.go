package eval

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/regular"
)

// projectName is what a project may be called: a tag of every cloud takes it.
var projectName = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$`)

// CheckName says what is wrong with the name of a project.
func CheckName(name string) error {
	if !projectName.MatchString(name) {
		return fmt.Errorf("project name %q: want at most 128 letters, digits and ._/-, beginning with a letter or digit", name)
	}
	return nil
}

// Name returns the project's identity, by which what it makes outside of this host is
// told from what other projects make: the first line of the file BAKE_ROOT at its
// root; or else its repository's name, as the remote called origin has it, with the
// way from the repository's top to the root. It is "" where neither says it.
func (p *Project) Name() (string, error) {
	name, err := p.rootName()
	if name != "" || err != nil {
		return name, err
	}
	for dir := p.Root; ; dir = filepath.Dir(dir) {
		name, found, err := repositoryName(filepath.Join(dir, ".git"))
		if err != nil {
			return "", fmt.Errorf("name of the project: %w", err)
		}
		if found {
			rel, err := filepath.Rel(dir, p.Root)
			if name == "" || err != nil {
				return "", err
			}
			if name = path.Join(name, filepath.ToSlash(rel)); CheckName(name) != nil {
				return "", nil // it is none by which a cloud would know it
			}
			return name, nil
		}
		if filepath.Dir(dir) == dir {
			return "", nil
		}
	}
}

// maxNameFile is how many bytes a file that names the project has at most.
const maxNameFile = 1 << 20

// rootName returns what BAKE_ROOT says.
func (p *Project) rootName() (string, error) {
	text, err := regular.Read(filepath.Join(p.Root, "BAKE_ROOT"), maxNameFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", fmt.Errorf("name of the project: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := CheckName(line); err != nil {
			return "", fmt.Errorf("BAKE_ROOT: %w", err)
		}
		return line, nil
	}
	return "", nil
}

// repositoryName reads the name of a repository's remote off its directory, which a
// work tree's .git, a file, leads to.
func repositoryName(git string) (name string, found bool, err error) {
	info, err := os.Stat(git)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	} else if err != nil {
		return "", false, err
	}
	if !info.IsDir() {
		if git, err = linkedRepository(git); err != nil {
			return "", true, err
		}
	}
	f, err := os.Open(filepath.Join(git, "config"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", true, nil
	} else if err != nil {
		return "", true, err
	}
	defer f.Close()
	section, lines := "", bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if section == `[remote "origin"]` && strings.TrimSpace(key) == "url" {
			return urlName(strings.TrimSpace(value)), true, lines.Err()
		}
	}
	return "", true, lines.Err()
}

// linkedRepository returns the directory of the repository that a work tree or a
// submodule belongs to.
func linkedRepository(file string) (string, error) {
	text, err := regular.Read(file, maxNameFile)
	if err != nil {
		return "", err
	}
	dir, _ := strings.CutPrefix(strings.TrimSpace(string(text)), "gitdir: ")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(filepath.Dir(file), dir)
	}
	common, err := regular.Read(filepath.Join(dir, "commondir"), maxNameFile)
	if errors.Is(err, fs.ErrNotExist) {
		return dir, nil
	} else if err != nil {
		return "", err
	}
	if c := strings.TrimSpace(string(common)); filepath.IsAbs(c) {
		return c, nil
	} else {
		return filepath.Join(dir, c), nil
	}
}

// urlName returns the path of a remote's URL: "acme/images" of
// "git@example.org:acme/images.git" and of "https://example.org/acme/images". A
// repository on this host has none that others would know.
func urlName(url string) string {
	_, rest, ok := strings.Cut(url, "://")
	if ok {
		_, rest, ok = strings.Cut(rest, "/")
	} else if host, p, scp := strings.Cut(url, ":"); scp && !strings.Contains(host, "/") && len(host) > 1 {
		rest, ok = p, true
	}
	if !ok || strings.HasPrefix(url, "file://") {
		return ""
	}
	return strings.Trim(strings.TrimSuffix(strings.Trim(rest, "/"), ".git"), "/")
}
