package lint

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCopied holds what is found in scripts that a definition copies into the machine.
func TestCopied(t *testing.T) {
	others := map[string]string{
		"crlf.sh":      "#!/bin/sh\r\nset -e\r\nmake\r\n",
		"bin/tool":     "#!/bin/bash\napt-get install a\nmake\n",
		"bin/ok":       "#!/bin/bash\nset -e\nmake\nmake install\n",
		"bin/plain.sh": "make\nmake install\n",
		"bin/lib.sh":   "#!/bin/sh\n# lint: disable=script-errexit who reads it says so\na() { b; c; }\n",
		"bin/py":       "#!/usr/bin/env python3\nimport os\r\n",
		"broken.bash":  "if true\n",
		"data.txt":     "a\r\nb\r\n",
	}
	const begin = "m = source(rootfs(), debian = \"bookworm\")\n"
	const end = "\nexport(m, \"web\", formats = [\"tar\"])\n"
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"kept", "m = copy(m, ['crlf.sh', 'broken.bash', 'data.txt', 'bin/tool', 'none.sh', 'bin/*.sh'], '/opt/')", []string{
			"broken.bash:1:1 script-syntax: sh: `if <cond>` must be followed by `then`",
			"crlf.sh:1:10 script-crlf: the script has lines that end in CR LF",
		}},
		{"run", "m = copy(m, 'bin/tool', '/opt/')\nm = shell(m, 'cd / && sudo /opt/tool --all')", []string{
			"bin/tool:1:1 script-errexit: the script goes on after a command that failed",
			"bin/tool:2:1 package-prompt: apt-get install asks, and nobody answers",
		}},
		{"run in a directory", "m = copy(m, 'bin', '/opt')\nm = shell(m, '/opt/ok; /opt/py; /opt/none; /other/tool')\nm = shell(m, 'bash -x /opt/plain.sh; bash -e /opt/tool; . /opt/lib.sh')", []string{
			"bin/plain.sh:1:1 script-errexit: the script goes on after a command that failed",
			"bin/tool:2:1 package-prompt: apt-get install asks, and nobody answers",
		}},
		{"under another name", "m = copy(m, 'bin/plain.sh', '/opt/x')\nm = shell(m, '/opt/x')", []string{
			"bin/plain.sh:1:1 script-errexit: the script goes on after a command that failed",
		}},
		{"comments", "m = copy(m, 'bin/lib.sh', '/opt/')", []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := lines(newLinter(Rules(), others).Definition("images.star", "images.star", []byte(begin+c.in+end)))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLoads holds what is found in loads of other files, and in calls of their functions.
func TestLoads(t *testing.T) {
	others := map[string]string{
		"lib.star": "load('@bake//debian.star', 'apt')\n" +
			"def f(m, a, b = 1, *, c, d = 2):\n    return m\n" +
			"def many(m, *args, **kwargs):\n    return m\n" +
			"def twice(m):\n    return m\n" +
			"if True:\n    def twice(m, a):\n        return m\n    inner = 1\n" +
			"_own = 1\nfor item in [1]:\n    pass\nlib = struct(f = f)\n",
		"broken.star": "def f(\n",
	}
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"names", "load('lib.star', 'f', 'inner', 'item', 'lib', _g = 'many')\nprint(f, inner, item, lib, _g)", []string{}},
		{"wrong names", "load('lib.star', 'ff')\nload('lib.star', 'apt')\nprint(ff, apt)", []string{
			"images.star:1:18 broken-load: lib.star defines no ff",
			"images.star:2:18 broken-load: lib.star does not give apt to others: it loads it itself",
		}},
		{"files", "load('none.star', 'a')\nload('broken.star', 'b')\nload('@bake//none.star', 'c')\nprint(a, b, c)", []string{
			"images.star:1:6 broken-load: file does not exist",
			"images.star:3:6 broken-load: open none.star: file does not exist",
		}},
		{"right calls", "load('lib.star', 'f', 'many', 'twice', 'lib')\nargs = {}\nf(1, 2, c = 3)\nf(m = 1, a = 2, c = 3, b = 4, d = 5)\nf(1, **args)\nf(1, c = 3, *[2])\nmany(1, 2, 3, x = 4)\ntwice(1, 2)\nlib.f(1, 2, c = 3)", []string{}},
		{"wrong calls", "load('lib.star', 'f', 'lib')\nf(1, 2, 3, 4, c = 5)\nf(1, c = 2)\nlib.f(1, 2, 3)\nlib.f(1, 2, c = 3, bb = 4)\nf(1, 2, e = 1, **{})", []string{
			"images.star:2:1 wrong-argument: f takes at most 3 arguments by position, and gets 4",
			"images.star:3:1 wrong-argument: f is called without a",
			"images.star:4:1 wrong-argument: lib.f is called without c",
			"images.star:5:20 wrong-argument: lib.f has no parameter bb",
			"images.star:6:9 wrong-argument: f has no parameter e",
		}},
		{"hidden", "load('lib.star', 'f')\ndef g(f):\n    return f(1)\ng(lambda x: f(1, 2, c = x))\nprint([f(1) for f in [g]])", []string{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := lines(newLinter(Rules(), others).Definition("images.star", "images.star", []byte(c.in+"\n")))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
