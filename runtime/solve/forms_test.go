package solve

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"

	"bake.build/bake/internal/need"
)

// pem is a secret of many lines, as a private key is one.
func pem() string {
	rnd := rand.New(rand.NewChaCha8([32]byte{3}))
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var b strings.Builder
	b.WriteString("-----BEGIN OPENSSH PRIVATE KEY-----\n")
	for range 24 {
		for range 70 {
			b.WriteByte(letters[rnd.IntN(len(letters))])
		}
		b.WriteByte('\n')
	}
	return b.String() + "-----END OPENSSH PRIVATE KEY-----\n"
}

// TestFormsOfTools lets the programs that scripts use write secrets, and looks
// for what is left of them behind the mask.
func TestFormsOfTools(t *testing.T) {
	values := map[string]string{
		"password": `it's a $ecret "x"/é+1&<b>`,
		"token":    "ghp_0123456789abcdefABCDEF",
		"short":    "hunter2",
		"path":     "a/b+c d",
		"key":      pem(),
	}
	const py = "import os, sys, json, base64, urllib.parse as u; s = os.environ['S']; h = s.encode().hex(); print(*("
	for _, c := range []struct{ name, tool, script string }{
		{"base64", "bash", `printf %s "$S" | base64; printf '\0'; echo "$S" | base64; printf '\0'; printf %s "$S" | base64 -w0`},
		{"base64 within a text", "bash", `printf %s "u:$S" | base64 -w0; printf '\0'; printf %s "user:$S" | base64 -w0; printf '\0'; printf %s "us:$S:more" | base64 -w0`},
		{"base64 for URLs, hex", "python3", py + "base64.urlsafe_b64encode(b'x' + s.encode() + b'yz').decode(), h, h.upper(), '\\n'.join(h[i:i+60] for i in range(0, len(h), 60))), sep='\\0')"},
		{"URLs", "python3", py + "u.quote(s), u.quote(s, safe=''), u.quote_plus(s)), sep='\\0')"},
		{"JSON", "python3", py + "json.dumps({'v': s}), json.dumps({'v': s}, ensure_ascii=False)), sep='\\0')"},
		{"bash -x", "bash", `set -x; : "$S"; V=$S; : "Authorization: $S"`},
		{"bash -x in C", "bash", `export LC_ALL=C; set -x; : "$S"`},
		{"printf %q", "bash", `printf '%q\n' "$S"`},
		{"at Q", "bash", `echo "${S@Q}"`},
		{"declare", "bash", `declare -p S`},
		{"dash -x", "dash", `set -x; : "$S"; V=$S`},
		{"busybox -x", "busybox", `set -x; : "$S"; V=$S`},
	} {
		t.Run(c.name, func(t *testing.T) {
			need.Tool(t, c.tool)
			for name, value := range values {
				args := []string{"-c", c.script}
				if c.tool == "busybox" {
					args = append([]string{"sh"}, args...)
				}
				cmd := exec.Command(c.tool, args...)
				cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "S="+value)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				m := &Masker{}
				m.Add([]byte(value))
				for _, form := range strings.Split(string(out), "\x00") {
					checkMasked(t, name, value, form, m.String(form))
				}
			}
		})
	}
}

// checkMasked looks at what is left of a form: what the script itself says, and
// the few characters at the ends of base64 that are not the value's alone.
func checkMasked(t *testing.T, name, value, form, got string) {
	t.Helper()
	left := strings.NewReplacer(masked, "", "\n", "").Replace(got)
	if !strings.Contains(got, masked) || len(left) > 120 {
		t.Errorf("%s: %d bytes are left: %q\nof %q", name, len(left), got, form)
	}
	if strings.Contains(left, value[2:min(len(value), 12)]) {
		t.Errorf("%s: the value is in %q", name, got)
	}
}

// TestFormsAreFew holds that a long key does not become patterns without number,
// and that its forms are text.
func TestFormsAreFew(t *testing.T) {
	m := &Masker{}
	m.Add([]byte(pem()))
	if n := len(m.known); n > 1000 {
		t.Errorf("%d patterns", n)
	}
	for p := range m.known {
		if !utf8.ValidString(p) || len(p) < minLine {
			t.Errorf("pattern %q", p)
		}
	}
	if got := m.String("words that hold nothing of it\n"); got != "words that hold nothing of it\n" {
		t.Errorf("masked to %q", got)
	}
}

func BenchmarkMask(b *testing.B) {
	var log bytes.Buffer
	for i := 0; log.Len() < 16<<20; i++ {
		fmt.Fprintf(&log, "Get:%d http://mirror.example/debian bookworm/main amd64 libfoo%d amd64 1.2.%d [12.3 kB]\n", i, i, i)
	}
	m := &Masker{}
	m.Add([]byte(pem()))
	m.Add([]byte("hunter2-is-long"))
	w := maskWriter{m: m, to: func([]byte) {}}
	b.SetBytes(int64(log.Len()))
	for b.Loop() {
		for rest := log.Bytes(); len(rest) > 0; {
			n := min(4096, len(rest))
			w.write(rest[:n], false)
			rest = rest[n:]
		}
	}
}
