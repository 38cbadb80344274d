package fake

import (
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms"
)

// A shell runs commands on a tree. It knows
//
//	sh [-e] -c SCRIPT, sh [-e] FILE
//	true false : echo cat test mkdir rm env pwd id sleep exit cd set
//	kill -KILL $$
//
// and in scripts: lines, ";", "&&", "||", quotes, $NAME, $?, > and >> to files,
// >&2. A word that it does not know is a command that is not found.
type shell struct {
	ctx      context.Context // of the one call of Run
	files    Files
	cmd      platforms.Cmd
	dir      string
	env      map[string]string
	uid, gid string
	stdin    io.Reader
	last     int  // exit code of the last command
	strict   bool // end at the first that fails
}

// An end is how a command ended that was not run to its last line.
type end struct{ platforms.ExitError }

func (s *shell) exec(args []string) error {
	s.stdin = s.cmd.Stdin
	var e *end
	code, e := s.command(args, s.writer(s.cmd.Stdout), s.writer(s.cmd.Stderr))
	if e != nil {
		if e.Code == 0 && e.Signal == "" {
			return nil
		}
		return &e.ExitError
	}
	if code == 127 {
		return &platforms.ExitError{Code: code, Reason: "command not found: " + args[0]}
	}
	if code != 0 {
		return &platforms.ExitError{Code: code}
	}
	return nil
}

func (s *shell) writer(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

func exit(code int) *end { return &end{platforms.ExitError{Code: code}} }

// command runs one command. An end ends the script as well.
func (s *shell) command(args []string, out, errs io.Writer) (int, *end) {
	if s.ctx.Err() != nil {
		return 0, &end{platforms.ExitError{Code: -1, Signal: "terminated"}}
	}
	name := strings.TrimPrefix(strings.TrimPrefix(args[0], "/usr"), "/bin/")
	switch name {
	case "sh":
		return s.sh(args[1:], out, errs)
	case "exit":
		code := s.last
		if len(args) > 1 {
			code, _ = strconv.Atoi(args[1]) // what is no number is 0
		}
		return code, exit(code)
	case "kill":
		if slices.Contains(args, "$$") {
			return 0, &end{platforms.ExitError{Code: -1, Signal: "killed"}}
		}
		return 1, nil
	}
	if run, ok := tools[name]; ok {
		return run(s, args[1:], out, errs), nil
	}
	io.WriteString(errs, "sh: "+name+": not found\n")
	return 127, nil
}

func (s *shell) sh(args []string, out, errs io.Writer) (int, *end) {
	for len(args) > 0 && args[0] == "-e" {
		s.strict, args = true, args[1:]
	}
	if len(args) == 0 {
		return 2, nil
	}
	script := ""
	if args[0] == "-c" && len(args) > 1 {
		script = args[1]
	} else if n, err := s.files.get(s.path(args[0])); err == nil {
		script = string(n.Data)
	} else {
		io.WriteString(errs, "sh: cannot open "+args[0]+"\n")
		return 2, nil
	}
	var e *end
	s.last = 0
	for _, l := range split(script) {
		if l.after == "&&" && s.last != 0 || l.after == "||" && s.last == 0 {
			continue
		}
		if s.last, e = s.simple(l.words, out, errs); e != nil {
			return s.last, e
		}
		if s.strict && s.last != 0 && l.before == ";" {
			return s.last, exit(s.last)
		}
	}
	return s.last, nil
}

// simple runs words with their redirections.
func (s *shell) simple(words []word, out, errs io.Writer) (int, *end) {
	var args []string
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w.quoted:
			args = append(args, s.expand(w))
		case w.text == ">&2":
			out = errs
		case w.text == "2>&1":
			errs = out
		case (w.text == ">" || w.text == ">>") && i+1 < len(words):
			i++
			target := s.path(s.expand(words[i]))
			real, err := s.files.resolve(target, true)
			if up := s.files[path.Dir(real)]; err != nil || up == nil || !up.Dir {
				io.WriteString(errs, "sh: cannot create "+target+"\n")
				return 1, nil
			}
			n := s.files[real]
			if n == nil || w.text == ">" {
				n = &Node{Mode: 0o644}
				s.files[real] = n
			}
			var b bytes.Buffer
			defer func() { n.Data = append(n.Data, b.Bytes()...) }()
			out = &b
		default:
			args = append(args, s.expand(w))
		}
	}
	if len(args) == 0 {
		return 0, nil
	}
	return s.command(args, out, errs)
}

func (s *shell) path(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(s.dir, name)
}

// expand replaces variables.
func (s *shell) expand(w word) string {
	if w.literal {
		return w.text
	}
	return os.Expand(w.text, func(name string) string {
		switch name {
		case "$":
			return "$$"
		case "?":
			return strconv.Itoa(s.last)
		}
		return s.env[name]
	})
}

// A tool is a command that returns its exit code.
type tool func(s *shell, args []string, out, errs io.Writer) int

var tools = map[string]tool{
	"true":  func(*shell, []string, io.Writer, io.Writer) int { return 0 },
	":":     func(*shell, []string, io.Writer, io.Writer) int { return 0 },
	"set":   func(*shell, []string, io.Writer, io.Writer) int { return 0 },
	"false": func(*shell, []string, io.Writer, io.Writer) int { return 1 },
	"echo": func(_ *shell, args []string, out, _ io.Writer) int {
		io.WriteString(out, strings.Join(args, " ")+"\n")
		return 0
	},
	"pwd": func(s *shell, _ []string, out, _ io.Writer) int {
		io.WriteString(out, s.dir+"\n")
		return 0
	},
	"cd": func(s *shell, args []string, _, _ io.Writer) int {
		if len(args) == 1 {
			s.dir = s.path(args[0])
		}
		return 0
	},
	"env": func(s *shell, _ []string, out, _ io.Writer) int {
		for _, name := range sorted(s.env) {
			io.WriteString(out, name+"="+s.env[name]+"\n")
		}
		return 0
	},
	"id": func(s *shell, args []string, out, _ io.Writer) int {
		id := s.uid
		if slices.Contains(args, "-g") {
			id = s.gid
		}
		io.WriteString(out, id+"\n")
		return 0
	},
	"sleep": func(s *shell, args []string, _, _ io.Writer) int {
		seconds, err := strconv.ParseFloat(strings.Join(args, ""), 64)
		if err != nil {
			return 1
		}
		select {
		case <-time.After(time.Duration(seconds * float64(time.Second))):
		case <-s.ctx.Done():
		}
		return 0
	},
	"cat":   cat,
	"test":  test,
	"mkdir": mkdir,
	"rm":    rm,
}

func cat(s *shell, args []string, out, errs io.Writer) int {
	if len(args) == 0 && s.stdin != nil {
		if _, err := io.Copy(out, s.stdin); err != nil {
			return 1
		}
	}
	code := 0
	for _, name := range args {
		n, err := s.files.get(s.path(name))
		if err != nil || n.Dir {
			io.WriteString(errs, "cat: cannot open "+name+"\n")
			code = 1
			continue
		}
		if _, err := out.Write(n.Data); err != nil {
			return 1
		}
	}
	return code
}

func test(s *shell, args []string, _, _ io.Writer) int {
	not := len(args) > 0 && args[0] == "!"
	if not {
		args = args[1:]
	}
	ok := false
	switch {
	case len(args) == 3 && args[1] == "=":
		ok = args[0] == args[2]
	case len(args) == 2 && args[0] == "-n":
		ok = args[1] != ""
	case len(args) == 2:
		n, err := s.files.get(s.path(args[1]))
		ok = err == nil && (args[0] == "-e" || args[0] == "-d" && n.Dir || args[0] == "-f" && !n.Dir)
	}
	if ok != not {
		return 0
	}
	return 1
}

func mkdir(s *shell, args []string, _, errs io.Writer) int {
	for _, name := range args {
		if name == "-p" {
			continue
		}
		if _, err := s.files.mkdirAll(s.path(name)); err != nil {
			io.WriteString(errs, "mkdir: "+err.Error()+"\n")
			return 1
		}
	}
	return 0
}

func rm(s *shell, args []string, _, errs io.Writer) int {
	force := false
	for _, name := range args {
		if strings.HasPrefix(name, "-") {
			force = force || strings.Contains(name, "f")
			continue
		}
		real, err := s.files.resolve(s.path(name), false)
		if err != nil || s.files[real] == nil {
			if !force {
				io.WriteString(errs, "rm: no "+name+"\n")
				return 1
			}
			continue
		}
		s.files.remove(real)
	}
	return 0
}

func sorted(m map[string]string) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
