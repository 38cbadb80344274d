package lint

import (
	"fmt"
	"slices"
	"strings"

	sh "mvdan.cc/sh/v3/syntax"

	"bake.build/bake/internal/lazyregexp"
)

func secretArgument() Rule {
	return Rule{
		Name: "secret-argument", Severity: Warning,
		Doc: "A secret is on a command line: as a word that everybody reads in the definition and in the layer's key, or as a variable whose value every process of the machine can read in the list of processes. Declare it with secret(), and let programs read it from their input, a file or the environment.",
		Wrong: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "curl -fsS -H \"Authorization: Bearer $TOKEN\" https://example.com/file -o /srv/file", secrets = {"TOKEN": secret("token")})
export(m, "web", formats = ["tar"])`,
		Right: `m = source(rootfs(), debian = "bookworm")
m = shell(m, "printf 'header = \"Authorization: Bearer %s\"' \"$TOKEN\" | curl -fsS -K - https://example.com/file -o /srv/file", secrets = {"TOKEN": secret("token")})
export(m, "web", formats = ["tar"])`,
		check: func(p *pass) {
			for _, s := range p.scripts {
				s.calls(func(_ *sh.Stmt, c command) { p.checkSecrets(s, c) })
			}
		},
	}
}

// secretNames matches variables that hold a secret by their name, and publicNames
// those of them that only say where or what it is.
var (
	secretNames = lazyregexp.New(`(?i)(^|_)(pass|passwd|password|passphrase|secret|token|api_?key|access_?key|secret_?key|private_?key)s?([0-9]*)$`)
	publicNames = lazyregexp.New(`(?i)(_id|_file|_path|_url|_dir|_name)$|public|encrypted|hashed|max_|min_|len|expir|hash|(^|_)no_|enable`)
)

// own are commands of the shell itself: what they are given is in no list of processes.
var own = []string{"echo", "printf", "export", "test", "[", "read", "set", "unset", "local", "readonly", "declare", ":", "true", "false", "return", "exit", "shift", "trap", "eval", ".", "source", "let", "type", "hash", "fail"}

// onFiles are commands whose operands are files, and fileOptions those options of
// others whose value is one: a variable there is a path, whatever it is called.
var (
	onFiles     = []string{"cat", "cp", "mv", "rm", "ls", "chmod", "chown", "stat", "mkdir", "touch", "install", "head", "tail", "ln", "tee", "wc", "base64", "sha256sum", "ssh-keygen", "shred", "dirname", "basename", "realpath"}
	fileOptions = []string{"-o", "--output", "-i", "-T", "--cert", "--key", "--cacert", "-f", "--file", "--from-file", "-in", "-out", "-K", "--netrc-file", "-O", "--config"}
)

func (p *pass) checkSecrets(s *script, c command) {
	for i, w := range c.words {
		if name := literalSecret(c, i); name != "" {
			p.foundIn(s, w.node, fmt.Sprintf("%s: %s is on the command line", c.name, name), "declare it with secret(), and pass it by input, a file or the environment")
			continue
		}
		if slices.Contains(own, c.name) || s.functions()[c.name] {
			continue
		}
		guess := !slices.Contains(onFiles, c.name) && (i == 0 || !slices.Contains(fileOptions, c.words[i-1].text)) &&
			!strings.Contains(w.text, "metadata-token:") // a machine's own, of minutes
		for _, name := range variables(w.node) {
			if slices.Contains(s.secrets, name) || guess && secretNames.MatchString(name) && !publicNames.MatchString(name) {
				p.foundIn(s, w.node, fmt.Sprintf("%s: the value of %s is on the command line, which every process can read", c.name, name), "pass it by input, a file or the environment")
				break
			}
		}
	}
}

// variables returns the variables whose values a word holds.
func variables(w *sh.Word) (names []string) {
	for _, part := range flat(w.Parts) {
		if x, ok := part.(*sh.ParamExp); ok && x.Param != nil && !x.Length && !x.IsSet && (x.Exp == nil || x.Exp.Op != sh.AlternateUnset && x.Exp.Op != sh.AlternateUnsetOrNull) {
			names = append(names, x.Param.Value)
		}
	}
	return names
}

var (
	secretFlags  = lazyregexp.New(`^--?(password|passwd|pass|token|secret|api-?key|access-key|secret-key|auth-token|private-key-pass(word|phrase)?|passphrase)$`)
	userInfo     = lazyregexp.New(`^[a-z][a-z0-9+.-]*://[^/@:\s]+:([^/@\s]+)@`)
	authorizes   = lazyregexp.New(`(?i)^(authorization|x-[a-z-]*(token|key)|private-token|api-key): *(bearer|basic|token)? *(.+)$`)
	placeholders = lazyregexp.New(`(?i)^(x+|vagrant|[*!]+|<.*>|\.\.\.|…|change-?me|example|none|null|true|false|stdin|-|)$`)
)

// literalSecret says what secret word i of a command is, which stands in the script as
// it is, or "".
func literalSecret(c command, i int) string {
	w := c.words[i].text
	next := ""
	if i+1 < len(c.words) {
		next = c.words[i+1].text
	}
	name, value, assigned := strings.Cut(w, "=")
	header := authorizes.FindStringSubmatch(w)
	url := userInfo.FindStringSubmatch(w)
	switch {
	case assigned && secretFlags.MatchString(name) && isSecret(value), !assigned && secretFlags.MatchString(w) && isSecret(next) && !strings.HasPrefix(next, "-"):
		return "the value of " + name
	case url != nil && isSecret(url[1]):
		return "a password in an address"
	case header != nil && isSecret(header[4]):
		return "the header " + header[1]
	case c.name == "sshpass" && (w == "-p" && isSecret(next) || strings.HasPrefix(w, "-p") && isSecret(w[2:])):
		return "a password"
	case strings.HasPrefix(c.name, "mysql") && strings.HasPrefix(w, "-p") && len(w) > 2 && isSecret(w[2:]):
		return "a password"
	case c.name == "curl" && (w == "-u" || w == "--user"):
		if _, password, ok := strings.Cut(next, ":"); ok && isSecret(password) {
			return "a password"
		}
	}
	return ""
}

// isSecret reports whether a value is written out, and no placeholder.
func isSecret(value string) bool {
	return value != "" && !strings.ContainsRune(value, unknown) && !strings.Contains(value, "$") && !placeholders.MatchString(value)
}
