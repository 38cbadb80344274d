package lint

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bake.build/bake/starlark/eval"
)

// TestCases shows what is found, at which place, in definitions that one rule says
// something about.
func TestCases(t *testing.T) {
	const begin = "m = source(rootfs(), debian = \"bookworm\")\n"
	const end = "\nexport(m, \"web\", formats = [\"tar\"])\n"
	for _, c := range []struct {
		name, rule, in string
		want           []string // without the name of the rule
	}{
		{"through constants", "package-prompt", "_A = 'set -e\\n'\n_B = _A + 'apt-get install curl\\n'\nm = shell(m, _B + 'true')", []string{"3:12: apt-get install asks, and nobody answers"}},
		{"in a list", "package-prompt", "m = shell(m, [\n    'true',\n    'apt-get -q install x',\n])", []string{"4:6: apt-get install asks, and nobody answers"}},
		{"behind an escape", "package-prompt", `m = shell(m, "echo \"ü\"; apt upgrade")`, []string{"2:27: apt upgrade asks, and nobody answers"}},
		{"formatted", "package-prompt", "def f(m, x):\n    return shell(m, 'apt-get install %s' % x)\nm = f(m, 'y')", []string{"3:22: apt-get install asks, and nobody answers"}},
		{"answers", "package-prompt", "m = shell(m, '''apt-get -qy install a; yes | apt-get install b; apt-get install -o APT::Get::Assume-Yes=true c\napt-get $OPTS install d; yum -y update; apt-get update\ngrep -q 'apt-get install' /etc/motd; echo apt-get install e''')", nil},
		{"a function of that name", "package-prompt", "m = shell(m, '''apt-get() { command apt-get -y \"$@\"; }\napt-get install a''')", nil},
		{"another interpreter", "package-prompt", "m = shell(m, 'apt-get install a', interpreter = 'python3')", nil},
		{"pipes to shells", "download-run", "m = shell(m, '''curl x | sudo -E bash -s -- a\nwget -qO- x | tee y | sh -\nbash <(curl x)\nsh -c \"$(curl -fsSL x)\"\n. <(curl x)''')",
			[]string{"2:17: a download is run as it comes", "3:1: a download is run as it comes", "4:1: a download is run as it comes", "5:1: a download is run as it comes", "6:1: a download is run as it comes"}},
		{"pipes to others", "download-run", "m = shell(m, '''curl x | python3 -c 'import json'\ncurl x | tar xz\ncurl x | sh build.sh\ncurl localhost | grep sh\nv=$(curl x)\ncurl http://127.0.0.1/x | sh''')", nil},
		{"on this host", "download-run", "m = shell_local(m, 'curl x | sh')", []string{"2:21: a download is run as it comes"}},
		{"saved and run", "download-run", "m = shell(m, '''curl -fsSLo /tmp/a.sh x\nchmod +x /tmp/a.sh\n/tmp/a.sh''')", []string{"4:1: what was downloaded is run, and nothing says what it has to be"}},
		{"saved, compared and run", "download-run", "m = shell(m, '''wget https://x.example/a.sh\necho 0 a.sh | sha256sum -c\nsh a.sh''')", nil},
		{"declared secrets", "secret-argument", "m = shell(m, 'tool --key \"$KEY\"; echo \"$KEY\"; tool <<<\"$KEY\"', secrets = {'KEY': secret('k')})", []string{"2:26: tool: the value of KEY is on the command line, which every process can read"}},
		{"literal secrets", "secret-argument", "m = shell(m, '''mysql -phunter2\ncurl -u a:b https://c.example\ntool --password=x1 --token $(cat t) --password-file f\ngit clone https://u:p4ss@h.example/r\nuseradd -p vagrant''')",
			[]string{"2:23: mysql: a password is on the command line", "3:6: curl: a password is on the command line", "4:6: tool: the value of --password is on the command line", "5:11: git: a password in an address is on the command line"}},
		{"set -e", "script-errexit", "m = shell(m, '''#!/bin/sh -e\na\nb''')\nm = shell(m, '''#!/bin/bash\nset -o errexit\na\nb''')\nm = shell(m, 'a\\nb')\nm = shell(m, '''#!/bin/bash\na''')", nil},
		{"an interpreter of its own", "script-errexit", "m = shell(m, 'a\\nb', interpreter = ['bash', '-u'])", []string{"2:15: the script goes on after a command that failed"}},
		{"template of a shell", "script-syntax", "def f(m, x):\n    return shell(m, 'if %s' % x)\nm = f(m, 'true; then a; fi')", nil},
		{"overwritten", "dropped-layer", "x = shell(m, 'a')\nx = shell(m, 'b')\nm = copy(x, 'a', '/a')", []string{"2:1: nothing uses the layer x that shell returns"}},
		{"in a function", "dropped-layer", "def f(m):\n    write(m, '/a', 'b')\n    return m\nm = f(m)", []string{"3:5: the layer that write returns is dropped"}},
		{"read by a function", "dropped-layer", "x = shell(m, 'a')\ndef f():\n    return x\nx = shell(x, 'b')\nm = f()", nil},
		{"of functions of the library under other names", "dropped-layer", "load('@bake//debian.star', 'apt', 'service', 'user', 'clean')\nm = shell(m, 'a')\napt.install(m, ['a'])\nuser(m, 'a')\nservice.mask(m, ['a'])\nclean(m)",
			[]string{"4:1: the layer that apt.install returns is dropped", "5:1: the layer that user returns is dropped", "6:1: the layer that service.mask returns is dropped", "7:1: the layer that clean returns is dropped"}},
		{"of a documented function", "dropped-layer", "def f(m):\n    '''F.\n\n    Returns:\n      The new layer.\n    '''\n    return shell(m, 'a')\nf(m)", []string{"9:1: the layer that f returns is dropped"}},
		{"what the installation needs", "cache-order", "m = copy(m, 'pkgs/', '/opt/pkgs')\nm = shell(m, 'apt-get install -y /opt/pkgs/a.deb')\nm = copy(m, 'apt/', '/etc/apt/')\nm = shell(m, 'apt-get install -y b')", nil},
		{"nested", "cache-order", "load('@bake//debian.star', 'apt')\nm = apt.install(copy(m, 'dir/', '/srv'), ['a'])", []string{"3:17: a directory is copied before packages are installed in line 3, which run again after each change of a file in it"}},
		{"deprecated", "deprecated", "m = old(m)\nm = new(m, size = 3)", []string{"2:5: old is deprecated", "3:12: the option size of new is deprecated"}},
		{"deprecated argument of a function", "deprecated", "def f(m, a = 1, b = 2):\n    '''F.\n\n    Args:\n      a: Deprecated: give b.\n      b: it.\n    '''\n    return shell(m, str(a + b))\nm = f(m, a = 3)", []string{"10:10: the option a of f is deprecated"}},
		{"stubs and tests", "unused-argument", "def f(a, _b):\n    '''No.'''\n    fail('no')\ndef test_g(t):\n    return m\ndef h(*, x, **kw):\n    return m\n", []string{"7:10: h: the parameter x is not used", "7:15: h: the parameter kw is not used"}},
		{"shadows", "shadowed-builtin", "def copy(a):\n    return a\nfor list in [1]:\n    pass\nx = [len for len in [1]]", []string{"2:5: copy hides the function copy of the language", "4:5: list hides the function list of the language", "6:14: len hides the function len of the language"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := newLinter(Rules(), nil).Definition("images.star", "images.star", []byte(begin+c.in+end))
			var got []string
			for _, f := range found {
				if line := lines([]Finding{f})[0]; f.Rule == c.rule {
					got = append(got, strings.Replace(strings.TrimPrefix(line, "images.star:"), " "+c.rule, "", 1))
				} else if f.Rule == "syntax" {
					t.Error(line)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestDisable holds which findings a comment switches off.
func TestDisable(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     []string
	}{
		{"at the end of a statement", "m = shell(source(rootfs(), debian = 'x'), '''\napt-get install a\n''') # lint: disable=package-prompt it is a stub there\nexport(m, 'a')\n", []string{}},
		{"before a function", "# lint: disable=unused-argument,unused-variable they are examples\ndef f(a):\n    b = 1\n    return 2\n", []string{}},
		{"in a script", "m = shell(source(rootfs(), debian = 'x'), '''\n# lint: disable=package-prompt the next line only\napt-get install a\napt-get install b\n''')\nexport(m, 'a')\n", []string{"images.star:4:1 package-prompt: apt-get install asks, and nobody answers"}},
		{"without a reason", "def f(a): # lint: disable=unused-argument\n    return [2]\n", []string{"images.star:1:11 lint-comment: the reason is missing: # lint: disable=unused-argument reason"}},
		{"for nothing", "x = 1 # lint: disable=unused-load,no-rule why not\n", []string{`images.star:1:7 lint-comment: no rule "no-rule"`, "images.star:1:7 unused-disable: unused-load finds nothing here"}},
		{"another word", "x = 1 # lint: off\n", []string{"images.star:1:7 lint-comment: a comment for the linter is written: # lint: disable=rule reason"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := lines(newLinter(Rules(), nil).Definition("images.star", "images.star", []byte(c.in)))
			for i := range got {
				got[i], _, _ = strings.Cut(got[i], " (rules:")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// FuzzDefinition looks for definitions that the linter cannot stand, and holds that
// what it fixes still parses.
func FuzzDefinition(f *testing.F) {
	for _, r := range Rules() {
		f.Add([]byte(r.Wrong))
	}
	f.Add([]byte("# lint: disable=a,b c\nload('@bake//debian.star', x = 'apt')\nm = shell(m, '%s {}\\\n\\x41'.format(1) % (2,) + _A, secrets = [secret('a-b')])\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		l := newLinter(Rules(), nil)
		l.Loads(text)
		found := l.Definition("images.star", "images.star", text)
		for _, one := range found {
			if one.Line < 1 || one.Col < 1 || one.EndLine < one.Line {
				t.Errorf("a finding is nowhere: %+v", one)
			}
			if one.Rule == "syntax" {
				return
			}
		}
		fixed, _ := Apply("images.star", text, found)
		if _, err := eval.Dialect().Parse("images.star", fixed, 0); err != nil {
			t.Errorf("what was fixed does not parse: %v\n%s", err, fixed)
		}
	})
}
