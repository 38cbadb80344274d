package installer

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"bake.build/bake/internal/need"
)

// named returns keys by their names in QEMU.
func named(names ...string) []Key {
	var keys []Key
	for _, name := range names {
		for _, k := range allKeys() {
			if k.QEMU == name {
				keys = append(keys, k)
				break
			}
		}
	}
	return keys
}

func allKeys() []Key {
	var all []Key
	for _, k := range keyTable {
		all = append(all, k.Key)
	}
	for _, k := range namedKeys {
		all = append(all, k)
	}
	return all
}

func TestParseKeys(t *testing.T) {
	const http = "http://10.0.2.2/"
	for _, c := range []struct {
		line string
		want []Stroke
	}{
		{"aB", []Stroke{{Keys: named("a")}, {Keys: named("shift", "b")}}},
		{"<leftCtrl+x>", []Stroke{{Keys: named("ctrl", "x")}}},
		{"<leftCtrlOn>x<leftCtrlOff>", []Stroke{{Keys: named("ctrl"), Hold: Down}, {Keys: named("x")}, {Keys: named("ctrl"), Hold: Up}}},
		{"<leftAltOn><f2><leftAltOff>", []Stroke{{Keys: named("alt"), Hold: Down}, {Keys: named("f2")}, {Keys: named("alt"), Hold: Up}}},
		{"<aOn><aOff>", []Stroke{{Keys: named("a"), Hold: Down}, {Keys: named("a"), Hold: Up}}},
		{"<wait1m30s>", []Stroke{{Pause: 90 * time.Second}}},
		{"${x}", []Stroke{{Keys: named("shift", "4")}, {Keys: named("shift", "bracket_left")}, {Keys: named("x")}, {Keys: named("shift", "bracket_right")}}},
	} {
		got, err := ParseKeys([]string{c.line}, http)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, %v, want %v", c.line, got, err, c.want)
		}
	}
}

// TestKeysOfTemplates takes lines as templates of Packer have them: each works, or
// the error says what to write.
func TestKeysOfTemplates(t *testing.T) {
	for line, want := range map[string]string{
		"<leftCtrlOn><wait>x<wait><leftCtrlOff><wait10>":                             "",
		"<leftAltOn><wait><f2><wait><leftAltOff><wait2>":                             "",
		"<down><down><down><end> autoinstall<f10>":                                   "",
		" preseed/url=http://{{ .HTTPIP }}:{{ .HTTPPort }}/debian/preseed.cfg<wait>": `http://{{ .HTTPIP }}:{{ .HTTPPort }}/ would be typed literally: write <http>`,
		"ks=http://{{.HTTPIP}}:{{.HTTPPort}}/ks.cfg":                                 "write <http>",
		"url={{ .HTTPIP }}":    "write <http> for",
		"hostname={{.Name}} ":  "write the text itself",
		"user={{user `name`}}": "write a parameter",
		"<leftShiftOn>a":       "<leftshiftOn> is not let go: write <leftshiftOff> after it",
		"<waitForIt>":          "want such as <wait5>",
		"<hyper>":              "<hyper>: no such key",
		"a < b":                "write <lt> for the letter",
	} {
		_, err := ParseKeys([]string{line}, "http://10.0.2.2/")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}

// TestKeyTable holds that a key is the same one in all three namings.
func TestKeyTable(t *testing.T) {
	scans, usages, names := map[uint16]Key{}, map[uint8]Key{}, map[string]Key{}
	for _, k := range allKeys() {
		if s, ok := scans[k.Scan]; ok && s != k {
			t.Errorf("%v and %v have one scan code", s, k)
		}
		if u, ok := usages[k.USB]; ok && u != k {
			t.Errorf("%v and %v have one usage", u, k)
		}
		if n, ok := names[k.QEMU]; ok && n != k {
			t.Errorf("%v and %v have one name", n, k)
		}
		scans[k.Scan], usages[k.USB], names[k.QEMU] = k, k, k
	}
}

// TestScanCodesOfQEMU compares scan codes of letters with QEMU's keymap of a US
// keyboard, which is made from xkb's.
func TestScanCodesOfQEMU(t *testing.T) {
	const keymap = "/usr/share/qemu/keymaps/en-us"
	need.File(t, keymap)
	text, err := os.ReadFile(keymap)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]rune{
		"exclam": '!', "at": '@', "numbersign": '#', "dollar": '$', "percent": '%', "asciicircum": '^', "ampersand": '&', "asterisk": '*',
		"parenleft": '(', "parenright": ')', "minus": '-', "underscore": '_', "equal": '=', "plus": '+', "bracketleft": '[', "braceleft": '{',
		"bracketright": ']', "braceright": '}', "backslash": '\\', "bar": '|', "semicolon": ';', "colon": ':', "apostrophe": '\'', "quotedbl": '"',
		"grave": '`', "asciitilde": '~', "comma": ',', "less": '<', "period": '.', "greater": '>', "slash": '/', "question": '?', "space": ' ',
	}
	seen := map[rune]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || strings.HasPrefix(f[0], "#") {
			continue
		}
		r, ok := names[f[0]]
		if !ok && len(f[0]) == 1 {
			r, ok = rune(f[0][0]), true
		}
		code, err := strconv.ParseUint(f[1], 0, 8)
		if !ok || err != nil || seen[r] {
			continue
		}
		shifted := len(f) > 2 && f[2] == "shift"
		keys, err := keysOf(r)
		if err != nil {
			continue // of another alphabet
		}
		if last := keys[len(keys)-1]; uint64(last.Scan) != code || (len(keys) == 2) != shifted {
			continue // the numeric pad has some, too
		}
		seen[r] = true
	}
	for r := ' '; r < 0x7f; r++ {
		if !seen[r] {
			t.Errorf("%q is typed by another key than in QEMU's keymap", r)
		}
	}
}

// TestScan writes strokes as a PC keyboard sends them.
func TestScan(t *testing.T) {
	for text, want := range map[string]string{
		"a":                         "1e 9e",
		"A":                         "2a 1e 9e aa",
		"<del>":                     "e0 53 e0 d3",
		"<leftCtrl+rightAlt+x>":     "1d e0 38 2d ad e0 b8 9d",
		"<leftCtrlOn><leftCtrlOff>": "1d 9d",
	} {
		strokes, err := ParseKeys([]string{text}, "")
		if err != nil {
			t.Fatal(err)
		}
		var codes []byte
		for _, s := range strokes {
			codes = append(codes, s.Scan()...)
		}
		if got := fmt.Sprintf("% x", codes); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// FuzzParseKeys reads any line: what is accepted has keys or a pause in each
// stroke, lets all keys go, and can be sent.
func FuzzParseKeys(f *testing.F) {
	for _, line := range []string{"aB", "<leftCtrlOn>x<leftCtrlOff>", "<wait1m30s>", "<http>", "<lt><gt>", "<", "<a+>", "<on>", "<waiton>", "<f2+wait>", "\x00", "é", "<leftShiftOn>"} {
		f.Add(line, "http://10.0.2.2/")
	}
	f.Add("<http>", "<http>")
	f.Fuzz(func(t *testing.T, line, http string) {
		if strings.Contains(strings.ToLower(http), "<http>") {
			return // no address names itself
		}
		strokes, err := ParseKeys([]string{line}, http)
		if err != nil {
			return
		}
		held := map[uint16]bool{}
		for _, s := range strokes {
			if (len(s.Keys) == 0) == (s.Pause == 0) || s.Pause < 0 {
				t.Fatalf("%q: stroke %+v", line, s)
			}
			if len(s.Keys) > 0 && len(s.Scan()) == 0 {
				t.Fatalf("%q: stroke %+v sends nothing", line, s)
			}
			for _, k := range s.Keys {
				if k.Scan == 0 || k.USB == 0 || k.QEMU == "" {
					t.Fatalf("%q: key %+v", line, k)
				}
				delete(held, k.Scan)
				if s.Hold == Down {
					held[k.Scan] = true
				}
			}
		}
		if len(held) > 0 {
			t.Fatalf("%q: %v stay down", line, held)
		}
	})
}
