package module

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/starlark/diag"
)

// A world is the modules that are there, as "path version" or "path folder" → the
// lines behind module() in its bake.mod. A line is that of a requirement, in short:
// "path version [source]".
type world struct {
	files    map[string]string
	versions []string
	delay    time.Duration

	mu    sync.Mutex
	reads map[string]int
}

// modFile writes out the bake.mod of a module.
func modFile(path, short string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "module(%q)\n", path)
	for line := range strings.Lines(short) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case strings.Contains(f[0], "("):
			b.WriteString(line)
		case strings.HasPrefix(f[1], "file:"):
			fmt.Fprintf(&b, "require(%q, source = %q)\n", f[0], f[1])
		default:
			src := "oci://registry.example/" + f[0]
			if len(f) > 2 {
				src = f[2]
			}
			fmt.Fprintf(&b, "require(%q, %q, source = %q)\n", f[0], f[1], src)
		}
	}
	return b.String()
}

func (w *world) ReadModule(_ context.Context, ref Ref) (*File, error) {
	time.Sleep(w.delay)
	key := ref.Path + " " + ref.Version
	if ref.Source.Local() {
		key = ref.Path + " " + ref.Source.Dir
	}
	w.mu.Lock()
	if w.reads == nil {
		w.reads = map[string]int{}
	}
	w.reads[key]++
	w.mu.Unlock()
	text, ok := w.files[key]
	if !ok {
		return nil, fmt.Errorf("%s has no version %s", ref.Source, ref.Version)
	}
	path := ref.Path
	if other, rest, ok := strings.Cut(text, "\x00"); ok {
		path, text = other, rest
	}
	return Parse("@"+ref.Path+"//bake.mod", []byte(modFile(path, text)))
}

func (w *world) Versions(context.Context, Source) ([]string, error) { return w.versions, nil }

func (w *world) resolve(t *testing.T, main string) (*Graph, error) {
	t.Helper()
	f, err := Parse("bake.mod", []byte(modFile("acme/main", main)))
	if err != nil {
		t.Fatal(err)
	}
	return Resolve(t.Context(), f, w)
}

// selected writes the versions that were selected.
func selected(g *Graph) string {
	var list []string
	for _, m := range g.Modules {
		list = append(list, m.String())
	}
	return strings.Join(list, ", ")
}

func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name, main, want string
		versions         string
		files            map[string]string
	}{
		{name: "nothing", want: ""},
		{name: "one", main: "a v1.0.0", files: map[string]string{"a v1.0.0": ""}, want: "a v1.0.0"},
		// The example of the article that the selection follows.
		{name: "highest that is asked for", main: "b v1.2.0\nc v1.2.0", want: "b v1.2.0, c v1.2.0, d v1.4.0, e v1.2.0", files: map[string]string{
			"b v1.2.0": "d v1.3.0", "c v1.2.0": "d v1.4.0", "d v1.3.0": "e v1.2.0", "d v1.4.0": "e v1.2.0", "e v1.2.0": "", "e v1.3.0": ""}},
		{name: "what only a version asks for that lost is not needed", main: "a v1.0.0\nb v1.0.0", want: "a v1.0.0, b v1.1.0", files: map[string]string{
			"a v1.0.0": "b v1.1.0", "b v1.0.0": "c v1.0.0", "b v1.1.0": "", "c v1.0.0": ""}},
		{name: "order of semantic versions", main: "a v1.9.0\nb v1.0.0", want: "a v1.10.0, b v1.0.0", files: map[string]string{
			"a v1.9.0": "", "a v1.10.0": "", "b v1.0.0": "a v1.10.0"}},
		{name: "prerelease is lower", main: "a v1.9.0\nb v1.0.0", want: "a v1.9.0, b v1.0.0", files: map[string]string{
			"a v1.9.0": "", "a v1.9.0-rc.1": "", "b v1.0.0": "a v1.9.0-rc.1"}},
		{name: "major versions side by side", main: "a v1.0.0\na/v2 v2.3.0 oci://h/a\nrequire('b', 'v1.0.0', source = 'oci://h/b')", want: "", files: map[string]string{
			"a v1.0.0": "", "a/v2 v2.3.0": "", "b v1.0.0": ""}},
		{name: "folder before versions", main: "a file:../a\nb v1.0.0", want: "a (file:../a), b v1.0.0", files: map[string]string{
			"a ../a": "", "a v1.5.0": "", "b v1.0.0": "a v1.5.0"}},
		{name: "folder of a folder", main: "a file:../team/a", want: "a (file:../team/a), b (file:../team/b)", files: map[string]string{
			"a ../team/a": "b file:../b", "b ../team/b": ""}},
		{name: "branch of the built module", main: "a main\nb v1.0.0", want: "a main, b v1.0.0", files: map[string]string{
			"a main": "", "a v1.5.0": "", "b v1.0.0": "a v1.5.0"}},
		{name: "replaced by a folder", main: "b v1.0.0\nreplace('a', source = 'file:../a')", want: "a (file:../a), b v1.0.0", files: map[string]string{
			"a ../a": "", "b v1.0.0": "a v1.5.0"}},
		{name: "replaced by a version", main: "b v1.0.0\nreplace('a', version = 'v1.5.1', only = 'v1.5.0', source = 'oci://fork/a')", want: "a v1.5.1, b v1.0.0", files: map[string]string{
			"a v1.5.1": "", "b v1.0.0": "a v1.5.0"}},
		{name: "replaced source", main: "a v1.5.0\nreplace('a', source = 'oci://mirror/a')", want: "a v1.5.0", files: map[string]string{"a v1.5.0": ""}},
		{name: "replacements of others do not count", main: "b v1.0.0", want: "a v1.5.0, b v1.0.0", files: map[string]string{
			"a v1.5.0": "", "b v1.0.0": "a v1.5.0\nreplace('a', source = 'oci://h/a', version = 'v1.9.0')\nexclude('a', 'v1.5.0')"}},
		{name: "excluded", main: "b v1.0.0\nexclude('a', 'v1.5.0')\nexclude('a', 'v1.6.0')", versions: "v1.10.0 v1.5.0 v1.7.0 v1.6.0 v2.0.0", want: "a v1.7.0, b v1.0.0", files: map[string]string{
			"a v1.7.0": "", "b v1.0.0": "a v1.5.0"}},
		{name: "the built module says where a module is", main: "a v1.0.0 oci://ours/a\nb v1.0.0", want: "a v1.5.0, b v1.0.0", files: map[string]string{
			"a v1.0.0": "", "a v1.5.0": "", "b v1.0.0": "a v1.5.0 oci://theirs/a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{files: c.files, versions: strings.Fields(c.versions)}
			if c.name == "major versions side by side" {
				// Two names are needed for them.
				g, err := w.resolve(t, "a v1.0.0\nrequire('a/v2', 'v2.3.0', name = 'a2', source = 'oci://h/a')")
				if err != nil || selected(g) != "a v1.0.0, a/v2 v2.3.0" {
					t.Fatalf("%v", err)
				}
				return
			}
			g, err := w.resolve(t, c.main)
			if err != nil {
				t.Fatal(err)
			}
			if got := selected(g); got != c.want {
				t.Errorf("selected %s, want %s", got, c.want)
			}
			for ref, n := range w.reads {
				if n != 1 {
					t.Errorf("%s was read %d times", ref, n)
				}
			}
			if a := g.Module("a"); c.name == "the built module says where a module is" && a.Source.URL != "ours/a" {
				t.Errorf("a is from %s", a.Source)
			}
		})
	}
}

// TestResolveErrors has what is said, with the line of bake.mod that leads to it.
func TestResolveErrors(t *testing.T) {
	for _, c := range []struct {
		name, main, want string
		versions         string
		files            map[string]string
	}{
		{name: "missing version", main: "a v1.0.0\nb v1.0.0", files: map[string]string{"a v1.0.0": "", "b v1.0.0": "c v1.2.0", "c v1.2.0": "a v1.9.0"},
			want: `^bake\.mod:3:1: a v1\.9\.0: oci://registry\.example/a has no version v1\.9\.0\nrequired by acme/main → b v1\.0\.0 → c v1\.2\.0 → a v1\.9\.0$`},
		{name: "missing version, asked for here", main: "a v1.0.0", want: `^bake\.mod:2:1: a v1\.0\.0: oci://registry\.example/a has no version v1\.0\.0$`},
		{name: "cycle", main: "a v1.0.0", files: map[string]string{"a v1.0.0": "b v1.0.0", "b v1.0.0": "a v1.0.0"},
			want: `^bake\.mod:2:1: a v1\.0\.0: cycle: a v1\.0\.0 → b v1\.0\.0 → a v1\.0\.0$`},
		{name: "cycle through another version", main: "a v1.0.0", files: map[string]string{"a v1.0.0": "b v1.0.0", "a v1.1.0": "b v1.0.0", "b v1.0.0": "a v1.1.0"},
			want: `: cycle: a v1\.1\.0 → b v1\.0\.0 → a v1\.1\.0`},
		{name: "cycle through the built module", main: "a v1.0.0", files: map[string]string{"a v1.0.0": "acme/main v1.0.0"},
			want: `^bake\.mod:2:1: acme/main v1\.0\.0: cycle: acme/main → a v1\.0\.0 → acme/main v1\.0\.0`},
		{name: "another name", main: "a v1.0.0", files: map[string]string{"a v1.0.0": "acme/other\x00"}, want: `a v1\.0\.0: it calls itself acme/other in its bake\.mod`},
		{name: "two sources", main: "b v1.0.0\nc v1.0.0", files: map[string]string{"a v1.5.0": "", "b v1.0.0": "a v1.5.0 oci://x/a", "c v1.0.0": "a v1.5.0 oci://y/a"},
			want: `^bake\.mod:3:1: conflict of a:\nv1\.5\.0 from oci://x/a, required by acme/main → b v1\.0\.0\nv1\.5\.0 from oci://y/a, required by acme/main → c v1\.0\.0$`},
		{name: "branch and version", main: "b v1.0.0\nc v1.0.0", files: map[string]string{"a v1.5.0": "", "a main": "", "b v1.0.0": "a v1.5.0", "c v1.0.0": "a main"},
			want: `conflict of a:\n(.*\n)*main from oci://registry\.example/a, required by acme/main → c v1\.0\.0`},
		{name: "two branches", main: "b v1.0.0\nc v1.0.0", files: map[string]string{"a next": "", "a main": "", "b v1.0.0": "a next", "c v1.0.0": "a main"},
			want: `conflict of a:\nnext from (.*\n)main from`},
		{name: "folder of a published module", main: "b v1.0.0", files: map[string]string{"b v1.0.0": "a file:../a", "a ../a": ""},
			want: `^bake\.mod:2:1: a \(file:\.\./a\): file:\.\./a is a folder on its author's machine: .*\nrequired by acme/main → b v1\.0\.0 → a`},
		{name: "excluded, none higher", main: "a v1.5.0\nexclude('a', 'v1.5.0')", versions: "v1.4.0 v1.5.0 v2.0.0",
			want: `^bake\.mod:2:1: a v1\.5\.0: it is excluded, and no higher version is there \(versions: v1\.4\.0, v1\.5\.0, v2\.0\.0\)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &world{files: c.files, versions: strings.Fields(c.versions)}
			_, err := w.resolve(t, c.main)
			if err == nil {
				t.Fatal("no error")
			}
			shown := diag.Of(err)[0]
			text := shown.Message
			if len(shown.Stack) > 0 {
				text = shown.Stack[0].String() + ": " + text
			}
			if !regexp.MustCompile(c.want).MatchString(text) {
				t.Errorf("error:\n%s\nwant %s", text, c.want)
			}
			var conflict *ConflictError
			if errors.As(err, &conflict) && shown.Hint == "" {
				t.Error("a conflict without a hint")
			}
		})
	}
}

// TestLargeGraph resolves 2,000 modules in some versions each, many times asked for.
func TestLargeGraph(t *testing.T) {
	const modules = 2000
	w := &world{files: map[string]string{}}
	path := func(i int) string { return fmt.Sprintf("team%d.example/m%d", i%7, i) }
	for i := range modules {
		for v := range 3 {
			var requires strings.Builder
			for _, d := range []int{1, 17, 170} {
				if i+d < modules {
					fmt.Fprintf(&requires, "%s v1.%d.0\n", path(i+d), (i+v)%3)
				}
			}
			w.files[fmt.Sprintf("%s v1.%d.0", path(i), v)] = requires.String()
		}
	}
	g, err := w.resolve(t, path(0)+" v1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Modules) != modules {
		t.Errorf("%d modules, want %d", len(g.Modules), modules)
	}
	again, err := w.resolve(t, path(0)+" v1.0.0")
	if err != nil || selected(again) != selected(g) {
		t.Errorf("%v: the second selection is another", err)
	}
}

// TestReadsInParallel holds that modules are not read one after the other.
func TestReadsInParallel(t *testing.T) {
	const modules = 50
	w := &barrier{n: modules, open: make(chan struct{})}
	var main strings.Builder
	for i := range modules {
		fmt.Fprintf(&main, "m%d v1.0.0\n", i)
	}
	f, err := Parse("bake.mod", []byte(modFile("acme/main", main.String())))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Resolve(t.Context(), f, w); err != nil {
		t.Fatal(err)
	}
}

// A barrier answers when all its modules are asked for.
type barrier struct {
	mu   sync.Mutex
	n    int
	open chan struct{}
}

func (b *barrier) ReadModule(ctx context.Context, ref Ref) (*File, error) {
	b.mu.Lock()
	if b.n--; b.n == 0 {
		close(b.open)
	}
	b.mu.Unlock()
	select {
	case <-b.open:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return Parse("bake.mod", []byte(modFile(ref.Path, "")))
}

func (b *barrier) Versions(context.Context, Source) ([]string, error) { return nil, nil }

func TestLockedGraph(t *testing.T) {
	w := &world{files: map[string]string{"a v1.0.0": "b v1.1.0\nc v1.0.0", "b v1.1.0": "", "b v1.2.0": "", "c v1.0.0": "", "l ../l": "b v1.2.0"}}
	f, err := Parse("bake.mod", []byte(modFile("acme/main", "a v1.0.0\nl file:../l")))
	if err != nil {
		t.Fatal(err)
	}
	g, err := Resolve(t.Context(), f, w)
	if err != nil {
		t.Fatal(err)
	}
	l := &Lock{Modules: map[string]Locked{}}
	for _, m := range g.Modules {
		if !m.Source.Local() {
			l.Modules[m.Path] = Locked{Version: m.Version, Source: m.Source.String(), Digest: Digest("sha256:" + strings.Repeat("0", 64))}
		}
	}
	if err := l.Check(); err != nil {
		t.Fatal(err)
	}
	w.reads = nil
	again, err := l.Resolve(t.Context(), f, w)
	if err != nil || selected(again) != selected(g) {
		t.Fatalf("%v: locked %s, want %s", err, selected(again), selected(g))
	}
	if len(w.reads) != len(g.Modules) {
		t.Errorf("read %v", w.reads)
	}
	// What a merge or somebody's hand has left there cannot have been selected.
	for path, other := range map[string]Locked{
		"a": {Version: "v0.9.0", Source: l.Modules["a"].Source},
		"b": {Version: "v1.1.0", Source: l.Modules["b"].Source}, // l asks for v1.2.0
		"c": {Version: "main", Source: l.Modules["c"].Source},
		"l": {Version: "v1.0.0", Source: l.Modules["a"].Source},
	} {
		tampered := &Lock{Modules: maps.Clone(l.Modules)}
		tampered.Modules[path] = other
		w.files[path+" "+other.Version] = ""
		if _, err := tampered.Resolve(t.Context(), f, w); path != "c" && !errors.Is(err, ErrStale) {
			t.Errorf("%s is locked to %+v: %v", path, other, err)
		}
	}
	elsewhere := l.Modules["a"]
	elsewhere.Source += "x"
	if _, err := (&Lock{Modules: map[string]Locked{"a": elsewhere, "b": l.Modules["b"], "c": l.Modules["c"]}}).Resolve(t.Context(), f, w); !errors.Is(err, ErrStale) {
		t.Errorf("a is locked to another source: %v", err)
	}
	delete(l.Modules, "b")
	if _, err := l.Resolve(t.Context(), f, w); !errors.Is(err, ErrStale) {
		t.Errorf("a module that is not locked: %v", err)
	}
}

func TestAsked(t *testing.T) {
	local := "b v1.2.0"
	ask := func(main string) string {
		f, err := Parse("bake.mod", []byte(modFile("acme/main", main)))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := Asked(f, func(Source) (*File, error) { return Parse("bake.mod", []byte(modFile("l", local))) })
		if err != nil {
			t.Fatal(err)
		}
		return digest
	}
	one := ask("a v1.0.0\nl file:../l")
	if ask("l file:../l\na v1.0.0") != one {
		t.Error("the order of requirements counts")
	}
	for _, other := range []string{"a v1.1.0\nl file:../l", "a v1.0.0", "a v1.0.0 oci://x/a\nl file:../l", "a v1.0.0\nl file:../l\nexclude('b', 'v1.0.0')"} {
		if ask(other) == one {
			t.Errorf("%q asks for the same", other)
		}
	}
	local = "b v1.3.0"
	if ask("a v1.0.0\nl file:../l") == one {
		t.Error("what a local folder requires does not count")
	}
}

// TestLockHolds has random modules: what was selected and locked is never refused as
// what cannot have been selected, and is the same again.
func TestLockHolds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	names := []string{"a", "b", "c", "d"}
	versions := []string{"v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0", "main"}
	require := func(name string) string {
		switch {
		case rnd.IntN(8) == 0:
			return name + " file:../" + name + "\n"
		case rnd.IntN(4) == 0:
			return name + " " + pick(versions...) + " " + pick("https://e.example/a.zip", "https://e.example/b.zip", "oci://other.example/x") + "\n"
		}
		return name + " " + pick(versions[:4]...) + "\n"
	}
	held := 0
	for range 2000 {
		w := &world{files: map[string]string{}, versions: versions}
		for i, name := range names {
			for _, version := range append(versions, "../"+name) {
				text := ""
				for _, next := range names[i+1:] {
					if rnd.IntN(2) == 0 {
						line := require(next)
						if !strings.Contains(line, "file:") || strings.HasPrefix(version, "..") {
							text += line
						}
					}
				}
				w.files[name+" "+version] = text
			}
		}
		main := ""
		for _, name := range names {
			switch rnd.IntN(6) {
			case 0, 1, 2:
				main += require(name)
			case 3:
				main += fmt.Sprintf("replace(%q, source = %q, version = %q%s)\n", name, "oci://replaced.example/"+name, pick(versions[:4]...), pick("", `, only = "v1.1.0"`))
			case 4:
				main += fmt.Sprintf("exclude(%q, %q)\n", name, pick(versions[:3]...))
			}
		}
		f, err := Parse("bake.mod", []byte(modFile("acme/main", main)))
		if err != nil {
			t.Fatal(err)
		}
		g, err := Resolve(t.Context(), f, w)
		if err != nil {
			continue
		}
		l := &Lock{Modules: map[string]Locked{}}
		for _, m := range g.Modules {
			if !m.Source.Local() {
				l.Modules[m.Path] = Locked{Version: m.Version, Source: m.Source.String()}
			}
		}
		again, err := l.Resolve(t.Context(), f, w)
		if err != nil || selected(again) != selected(g) {
			t.Fatalf("%v: locked, want %s\n%s\n%v", err, selected(g), main, w.files)
		}
		if len(g.Modules) > 1 {
			held++
		}
	}
	if held < 500 {
		t.Errorf("only %d graphs were locked", held)
	}
	t.Logf("%d graphs", held)
}
