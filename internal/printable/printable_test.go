package printable

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

var hostile = []struct{ name, in, want string }{
	{"text", "plain é 漢 text", "plain é 漢 text"},
	{"colour", "a\x1b[1;31mred\x1b[0mb", "aredb"},
	{"cursor and erase", "a\x1b[2J\x1b[H\x1b[1Ab", "ab"},
	{"title", "a\x1b]0;owned\x07b", "ab"},
	{"clipboard", "a\x1b]52;c;cm0gLXJm\x1b\\b", "ab"},
	{"answer back and device control", "a\x1bP$q\"p\x1b\\\x1bZ\x05b", "ab"},
	{"C1 control sequence", "a\u009b31mb\u009d0;title\u009cc", "abc"},
	{"raw C1 bytes", "a\x9b31mb", "a\uFFFD31mb"},
	{"character set", "a\x1b(0b\x0ec\x0f", "abc"},
	{"bell, backspace, delete", "ok\b\bno\a\x7f", "okno"},
	{"carriage return", "secret\rpublic", "secretpublic"},
	{"line end of DOS", "text\r", "text"},
	{"order of writing", "a\u202eb\u2066c\u200fd", "abcd"},
	{"tags that nobody sees", "a\U000e0001b", "ab"},
	{"line separator", "a\u2028b", "ab"},
	{"sequence without an end", "a\x1b]0;owned", "a"},
	{"lone escape", "a\x1b", "a"},
}

func TestLine(t *testing.T) {
	for _, c := range hostile {
		if got := Line([]byte(c.in)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got, want := Text(c.in+"\nnext"), c.want+"\nnext"; got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
	if got := Line([]byte("ab\tc")); got != "ab      c" {
		t.Errorf("tab: %q", got)
	}
	if got := OneLine(" a\n\x1b[2Jb\r\nc "); got != "a b c" {
		t.Errorf("several lines: %q", got)
	}
}

// TestWriter writes each text at once and byte by byte.
func TestWriter(t *testing.T) {
	for _, c := range hostile {
		for _, size := range []int{1, 2, 3, 1000} {
			var out bytes.Buffer
			w := NewWriter(&out)
			text := "one\tx\n" + c.in + "\nend\n"
			for len(text) > 0 {
				n := min(size, len(text))
				if got, err := w.Write([]byte(text[:n])); got != n || err != nil {
					t.Fatal(got, err)
				}
				text = text[n:]
			}
			if got, want := out.String(), "one\tx\n"+strings.ReplaceAll(c.want, "secretpublic", "secret\npublic")+"\nend\n"; got != want {
				t.Errorf("%s in pieces of %d: %q, want %q", c.name, size, got, want)
			}
		}
	}
}

// TestWriterHoldsNothing has texts that are shown though no line ends them, such
// as prompts.
func TestWriterHoldsNothing(t *testing.T) {
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, s := range []string{"really? ", "é", "\x1b[1mbold\x1b[m"} {
		if _, err := w.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	if got := out.String(); got != "really? ébold" {
		t.Errorf("%q", got)
	}
	if Raw(w) != &out || Raw(&out) != &out {
		t.Error("Raw is not the writer below")
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"etc/passwd":           "etc/passwd",
		"straße 漢.txt":         "straße 漢.txt",
		"a\x1b[2Jb":            `"a\x1b[2Jb"`,
		"two\nlines":           `"two\nlines"`,
		"not utf8 \xff":        `"not utf8 \xff"`,
		"right\u202eleft.conf": `"right\u202eleft.conf"`,
	} {
		if got := Name(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	for _, c := range hostile {
		f.Add([]byte(c.in), 1)
	}
	f.Add([]byte("a\x1b[\nb\xc2"), 2)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		line := Line(b)
		text := Text(string(b))
		var out bytes.Buffer
		w := NewWriter(&out)
		for i, step := 0, max(1, size); i < len(b); i += min(step, len(b)-i) {
			if _, err := w.Write(b[i:min(len(b), i+min(step, len(b)-i))]); err != nil {
				t.Fatal(err)
			}
		}
		for what, s := range map[string]string{"Line": line, "Text": text, "Writer": out.String(), "Name": Name(string(b))} {
			if !utf8.ValidString(s) {
				t.Errorf("%s makes of %q %q, which is not UTF-8", what, b, s)
			}
			for _, r := range s {
				if !Shown(r) && (r != '\n' || what == "Line" || what == "Name") && (r != '\t' || what != "Writer") {
					t.Errorf("%s makes of %q %q, which has %q", what, b, s, r)
				}
			}
		}
		encoded, err := json.Marshal(string(b))
		if err != nil {
			t.Fatal(err)
		}
		safe := JSON(encoded)
		var before, after string
		if err := json.Unmarshal(encoded, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(safe, &after); err != nil || before != after {
			t.Errorf("JSON makes of %s %s, %v", encoded, safe, err)
		}
		if strings.IndexFunc(string(safe), func(r rune) bool { return !Shown(r) }) >= 0 {
			t.Errorf("JSON leaves %q", safe)
		}
	})
}
