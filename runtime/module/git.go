package module

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/internal/tool"
	"bake.build/bake/starlark/module"
)

// A repository is a module in a git repository, which the user's own git talks to:
// with its credential helpers, its ssh and its configuration. git never asks
// anything, runs no hook, and writes no file of the tree: the files are read from its
// objects, so that no filter, attribute or setting of this machine changes them.
type repository struct {
	src  module.Source
	most int64 // bytes that git may store

	once sync.Once
	env  []string // of git
}

// versions lists the tags. A module in a folder has tags of its own, FOLDER/VERSION;
// where there are none, those of the repository are its versions.
func (g *repository) versions(ctx context.Context) ([]string, error) {
	refs, err := g.refs(ctx)
	if err != nil {
		return nil, err
	}
	var own, all []string
	for ref := range refs {
		tag, ok := strings.CutPrefix(ref, "refs/tags/")
		if !ok {
			continue
		}
		if v, ok := strings.CutPrefix(tag, g.src.Dir+"/"); ok && g.src.Dir != "" {
			own = append(own, v)
		}
		all = append(all, tag)
	}
	if len(own) > 0 {
		return own, nil
	}
	return all, nil
}

// commitID is a whole commit, of SHA-1 or SHA-256.
var commitID = lazyregexp.New(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// resolve looks for a tag, then for a branch. A commit stands for itself.
func (g *repository) resolve(ctx context.Context, version string) (found, error) {
	if commitID.MatchString(version) {
		return g.found(version, ""), nil
	}
	if err := checkRef(version); err != nil {
		return found{}, err
	}
	refs, err := g.refs(ctx)
	if err != nil {
		return found{}, err
	}
	candidates := []string{"refs/tags/" + version, "refs/heads/" + version}
	if g.src.Dir != "" {
		candidates = slices.Insert(candidates, 0, "refs/tags/"+g.src.Dir+"/"+version)
	}
	for _, ref := range candidates {
		if id, ok := refs[ref]; ok {
			return g.found(id, ref), nil
		}
	}
	if len(version) < 40 && strings.Trim(version, "0123456789abcdef") == "" {
		return found{}, fmt.Errorf("there is no tag or branch %q; a commit is written with all its digits", version)
	}
	return found{}, noVersion(version, tagsOf(refs), "tag or branch")
}

func (g *repository) found(id, ref string) found {
	return found{id: "git " + g.src.String() + " " + id, commit: id, ref: ref}
}

func tagsOf(refs map[string]string) (tags []string) {
	for ref := range refs {
		if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
			tags = append(tags, tag)
		}
	}
	return tags
}

// checkRef says what is wrong with the name of a tag or branch: it holds git's rules,
// and those of what git would take for something else.
func checkRef(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`~^:?*[\`, r) })
	if name == "" || len(name) > 200 || bad >= 0 || name[0] == '-' || strings.Contains(name, "..") || strings.Contains(name, "@{") ||
		strings.Contains(name, "//") || strings.HasPrefix(name, "/") || strings.HasSuffix(name, "/") || strings.HasSuffix(name, ".") ||
		strings.HasSuffix(name, ".lock") || strings.HasPrefix(name, ".") || strings.Contains(name, "/.") {
		return fmt.Errorf("%q is not the name of a tag or branch", name)
	}
	return nil
}

// noVersion says that a version is not there, and which are.
func noVersion(version string, versions []string, kind string) error {
	const shown = 10
	if len(versions) == 0 {
		return fmt.Errorf("there is no %s %q, and no other version", kind, version)
	}
	slices.Sort(versions)
	more := ""
	if n := len(versions) - shown; n > 0 {
		versions, more = versions[n:], fmt.Sprintf(" and %d more", n)
	}
	return fmt.Errorf("there is no %s %q; there are %s%s", kind, version, strings.Join(versions, ", "), more)
}

// refs returns the commits of all tags and branches. An annotated tag is that of the
// commit it names.
func (g *repository) refs(ctx context.Context) (map[string]string, error) {
	out, err := g.git(ctx, "", "ls-remote", "--", g.src.URL)
	if err != nil {
		return nil, err
	}
	refs := map[string]string{}
	for line := range strings.Lines(string(out)) {
		id, ref, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok || !commitID.MatchString(id) {
			return nil, fmt.Errorf("git ls-remote: a line that is not understood: %.80q", line)
		}
		if tag, peeled := strings.CutSuffix(ref, "^{}"); peeled {
			refs[tag] = id
		} else if _, ok := refs[ref]; !ok {
			refs[ref] = id
		}
	}
	return refs, nil
}

// write fetches the commit alone, or all where the server does not give single
// commits, and writes the files of its tree.
func (g *repository) write(ctx context.Context, what found, w *writer, temp string) error {
	dir := filepath.Join(temp, "git")
	format := "sha1"
	if len(what.commit) == 64 {
		format = "sha256"
	}
	if _, err := g.git(ctx, "", "init", "--quiet", "--bare", "--template=", "--object-format="+format, dir); err != nil {
		return err
	}
	err := g.fetch(ctx, dir, "--depth=1", "--", g.src.URL, what.commit)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errLarge) {
		all := []string{"--", g.src.URL}
		if what.ref != "" {
			all = append(all, what.ref)
		} else {
			all = append(all, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
		}
		err = g.fetch(ctx, dir, all...)
	}
	if err != nil {
		return err
	}
	return g.extract(ctx, dir, what.commit, w)
}

// maxRepository is how many bytes git stores at most of a repository: of the commit
// alone where the server gives that, with all of its history otherwise.
const maxRepository = 2 << 30

var errLarge = errors.New("it was made to fill a disk, or its history is too large and its server gives no single commits")

// fetch runs git fetch in the repository dir, and ends it where it stores too much: git
// has no bound of its own.
func (g *repository) fetch(ctx context.Context, dir string, args ...string) error {
	ctx, stop := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.watch(ctx, dir, stop)
	}()
	_, err := g.git(ctx, dir, append([]string{"fetch", "--quiet", "--no-tags"}, args...)...)
	if large := g.check(dir); large != nil {
		stop(large)
	}
	cause := context.Cause(ctx)
	stop(nil)
	<-ended
	if errors.Is(cause, errLarge) {
		return cause
	}
	return err
}

// watch calls stop when the repository dir has become too large.
func (g *repository) watch(ctx context.Context, dir string, stop func(error)) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := g.check(dir); err != nil {
				stop(err)
			}
		}
	}
}

// check fails where the files in dir, which git may be changing, are too large.
func (g *repository) check(dir string) error {
	var size int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				size += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // git has removed it meanwhile
		}
		return err
	})
	if err == nil && size > g.most {
		err = fmt.Errorf("the repository has more than %d bytes: %w", g.most, errLarge)
	}
	return err
}

// An object is a file of a commit.
type object struct {
	mode, id, path string
}

// extract writes the files of a commit that is in the repository dir.
func (g *repository) extract(ctx context.Context, dir, commit string, w *writer) error {
	tree := commit + "^{commit}"
	if g.src.Dir != "" {
		tree += ":" + g.src.Dir
	}
	out, err := g.git(ctx, dir, "ls-tree", "-r", "-z", "--full-tree", tree)
	if err != nil && ctx.Err() == nil {
		if _, err := g.git(ctx, dir, "rev-parse", "--quiet", "--verify", commit+"^{commit}"); err != nil {
			return fmt.Errorf("the repository has no commit %s on its branches and tags", commit)
		}
		if g.src.Dir != "" {
			return fmt.Errorf("commit %s has no folder %q", commit, g.src.Dir)
		}
	}
	if err != nil {
		return err
	}
	var objects []object
	var ids bytes.Buffer
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		o, err := parseObject(entry)
		if err == nil {
			err = w.count()
		}
		if err != nil {
			return err
		}
		if isGit(o.path) {
			continue
		}
		objects = append(objects, o)
		ids.WriteString(o.id + "\n")
	}
	return g.contents(ctx, dir, objects, &ids, w)
}

func parseObject(entry string) (object, error) {
	meta, path, ok := strings.Cut(entry, "\t")
	fields := strings.Fields(meta)
	if !ok || len(fields) != 3 || !commitID.MatchString(fields[2]) {
		return object{}, fmt.Errorf("git ls-tree: a line that is not understood: %.80q", entry)
	}
	if fields[1] == "commit" {
		return object{}, fmt.Errorf("path %q: it is a submodule, which bake does not fetch: require it as a module of its own, or put its files into the repository", path)
	}
	return object{fields[0], fields[2], path}, nil
}

// contents has git write the objects into one pipe, and takes them from there.
func (g *repository) contents(ctx context.Context, dir string, objects []object, ids io.Reader, w *writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd, stderr := g.command(ctx, dir, "cat-file", "--batch", "--buffer")
	cmd.Stdin = ids
	// Not StdoutPipe, which who waits for the program closes.
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout = to
	ended, err := tool.Start(cmd)
	if err = errors.Join(err, to.Close()); err != nil {
		return errors.Join(fmt.Errorf("git: %w", err), from.Close())
	}
	r := bufio.NewReader(from)
	for _, o := range objects {
		if err = g.content(r, o, w); err != nil {
			cancel() // it may have gigabytes left to write
			break
		}
	}
	err = errors.Join(err, from.Close())
	if waitErr := <-ended; err == nil && waitErr != nil {
		err = gitError("cat-file", stderr, waitErr)
	}
	return err
}

// lfsPointer begins the files that git LFS keeps elsewhere.
var lfsPointer = []byte("version https://git-lfs.github.com/spec/")

// content reads one object, which cat-file has written, and writes its file.
func (g *repository) content(r *bufio.Reader, o object, w *writer) error {
	head, err := r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("git cat-file: %w", err)
	}
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[0] != o.id || fields[1] != "blob" {
		return fmt.Errorf("path %q: git has not its content: %.80q", o.path, head)
	}
	size, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return fmt.Errorf("git cat-file: %w", err)
	}
	body := bufio.NewReader(io.LimitReader(r, size))
	if begin, _ := body.Peek(len(lfsPointer)); bytes.Equal(begin, lfsPointer) && size < 1024 {
		return fmt.Errorf("path %q: git LFS keeps its content elsewhere, which bake does not fetch: put it into the repository, or download it in a step", o.path)
	}
	if o.mode == "120000" {
		target, err := io.ReadAll(io.LimitReader(body, 4096))
		if err == nil {
			err = w.link(o.path, string(target))
		}
		if err != nil {
			return err
		}
	} else if err := w.file(o.path, o.mode == "100755", body); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	if end, err := r.ReadByte(); err != nil || end != '\n' {
		return errors.New("git cat-file: an object without its end")
	}
	return nil
}

// git runs git and returns what it prints.
func (g *repository) git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd, stderr := g.command(ctx, dir, args...)
	out := &said{most: maxOutput, all: true}
	cmd.Stdout = out
	err := tool.RunAll(cmd)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if out.cut {
		return nil, fmt.Errorf("git %s: it lists more than any module has", args[0])
	}
	if errors.Is(err, exec.ErrNotFound) {
		return nil, errors.New("git is missing: install git, which modules from git repositories need")
	}
	if err != nil {
		return nil, gitError(args[0], stderr, err)
	}
	return out.kept.Bytes(), nil
}

// How much of what git says is kept: of a list, and for an error.
const (
	maxOutput = 64 << 20
	maxSaid   = 64 << 10
)

// A said keeps the beginning of what a program writes. It embeds no Buffer, whose
// ReadFrom would be called in place of Write.
type said struct {
	kept bytes.Buffer
	most int
	all  bool // to write more is an error, which ends the program
	cut  bool // there was more
}

// Write implements io.Writer.
func (s *said) Write(p []byte) (int, error) {
	n := min(len(p), s.most-s.kept.Len())
	s.kept.Write(p[:n])
	if s.cut = s.cut || n < len(p); s.cut && s.all {
		return n, io.ErrShortWrite
	}
	return len(p), nil
}

// gitError is err with the first lines of what git says of it.
func gitError(verb string, stderr *said, err error) error {
	var lines []string
	for line := range strings.Lines(stderr.kept.String()) {
		line = strings.TrimSpace(line)
		for _, prefix := range []string{"fatal: ", "error: ", "remote: "} {
			line = strings.TrimPrefix(line, prefix)
		}
		if line != "" && !strings.HasPrefix(line, "warning: ") && len(lines) < 3 {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return fmt.Errorf("git %s: %w", verb, err)
	}
	return fmt.Errorf("git %s: %s", verb, strings.Join(lines, "; "))
}

// command prepares git: in a repository if dir is not "", without a prompt, and apart
// from whatever repository bake itself was started by.
func (g *repository) command(ctx context.Context, dir string, args ...string) (*exec.Cmd, *said) {
	settings := []string{
		"-c", "core.hooksPath=" + os.DevNull,
		"-c", "gc.auto=0", "-c", "maintenance.auto=false",
		"-c", "fetch.recurseSubmodules=false", "-c", "fetch.unpackLimit=1",
		"-c", "credential.interactive=false",
		"-c", "http.lowSpeedLimit=1", "-c", "http.lowSpeedTime=60", // bytes per second, seconds
	}
	if dir != "" {
		settings = append(settings, "--git-dir="+dir)
	}
	cmd := exec.CommandContext(ctx, "git", append(settings, args...)...)
	g.once.Do(func() { g.env = g.environ(ctx) })
	cmd.Env = g.env
	tool.Group(cmd)
	stderr := &said{most: maxSaid}
	cmd.Stderr = stderr
	cmd.WaitDelay = 5 * time.Second // for what git has started
	return cmd, stderr
}

// environ is gitEnviron with an ssh that never asks, unless the user has told git what
// to run in its place.
func (g *repository) environ(ctx context.Context) []string {
	env := gitEnviron(os.Environ())
	if !strings.HasPrefix(g.src.URL, "ssh:") || os.Getenv("GIT_SSH_COMMAND") != "" || os.Getenv("GIT_SSH") != "" {
		return env
	}
	own := exec.CommandContext(ctx, "git", "config", "--get", "core.sshCommand")
	own.Env = env
	if tool.Run(own) != nil { // it is not set
		env = append(env, "GIT_SSH_COMMAND=ssh -o BatchMode=yes -o ConnectTimeout=60 -o ServerAliveInterval=30")
	}
	return env
}

// gitEnviron returns the environment for git: the user's, without what names another
// repository and without what would ask.
func gitEnviron(environ []string) []string {
	env := slices.DeleteFunc(slices.Clone(environ), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		switch strings.ToUpper(name) {
		case "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR",
			"GIT_NAMESPACE", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_SHALLOW_FILE", "GIT_DEFAULT_HASH", "GIT_EXTERNAL_DIFF", "SSH_ASKPASS":
			return true
		}
		return false
	})
	return append(env, "GIT_TERMINAL_PROMPT=0", "GCM_INTERACTIVE=never", "LC_ALL=C", "GIT_ALLOW_PROTOCOL=https:ssh:file", "GIT_NO_REPLACE_OBJECTS=1")
}
