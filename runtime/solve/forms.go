package solve

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// minForm is the length from which an encoded form is masked. A shorter one
// would be found in text that has nothing to do with the secret.
const minForm = 5

// forms returns how common tools write a secret that they are given: in base64,
// wherever in a longer text it stands, in hex, as part of a URL, of a JSON
// document, and as shells quote it. What a program makes of it otherwise, such
// as a reversed or a compressed text, cannot be known.
func forms(value []byte) [][]byte {
	if len(value) < 2 {
		return nil
	}
	var all [][]byte
	add := func(f string) {
		if f != string(value) && len(f) >= minForm {
			all = append(all, []byte(f))
		}
	}
	for _, f := range base64Forms(value) {
		add(f)
	}
	digits := hex.EncodeToString(value)
	add(digits)
	add(strings.ToUpper(digits))
	for _, piece := range pieces(digits, 60) { // as xxd -p breaks lines
		add(piece)
	}
	for _, f := range urlForms(string(value)) {
		add(f)
	}
	for _, f := range quotedForms(string(value)) {
		add(f)
	}
	return all
}

// base64Forms returns those characters of value's base64 that value alone
// decides, at each of the three places at which it can begin in a group of three
// bytes. Where the text has lines, so have its forms.
func base64Forms(value []byte) []string {
	var all []string
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := enc.EncodeToString(append(make([]byte, before), value...))
			text = text[(8*before+5)/6 : 8*(before+len(value))/6]
			all = append(all, text)
			if before == 0 {
				all = append(all, pieces(text, 76)...) // as base64 breaks lines
				all = append(all, pieces(text, 64)...) // as openssl does
			}
		}
	}
	return all
}

// pieces cuts s into lines of n characters, or returns nil for one that is no
// longer.
func pieces(s string, n int) []string {
	var all []string
	for len(s) > n {
		all, s = append(all, s[:n]), s[n:]
	}
	if all != nil && len(s) >= 2*minForm {
		all = append(all, s)
	}
	return all
}

// urlForms returns value as the encoders of several languages write it in a URL;
// they differ in what they leave as it is.
func urlForms(value string) []string {
	query := url.QueryEscape(value)
	space := strings.ReplaceAll(query, "+", "%20")
	path := strings.ReplaceAll(space, "%2F", "/")
	script := strings.NewReplacer("%21", "!", "%27", "'", "%28", "(", "%29", ")", "%2A", "*").Replace(space)
	all := []string{query, space, path, script, url.PathEscape(value)}
	for _, f := range all {
		all = append(all, lowerEscapes(f))
	}
	return all
}

// lowerEscapes returns s with the digits of its escapes in small letters.
func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// quotedForms returns value as JSON and as shells write it, without the quotes
// around it: set -x of bash and of busybox, printf %q, and double quotes.
func quotedForms(value string) []string {
	var backslashed strings.Builder
	for _, c := range []byte(value) {
		if strings.IndexByte(" \t\"!$&'()*,;<>?[\\]^`{|}", c) >= 0 {
			backslashed.WriteByte('\\')
		}
		backslashed.WriteByte(c)
	}
	all := []string{
		strings.ReplaceAll(value, "'", `'\''`),
		strings.ReplaceAll(value, "'", `'"'"'`),
		strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\t", `\t`, "\r", `\r`, "\x1b", `\E`).Replace(value), // $'…'
		strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`").Replace(value),
		backslashed.String(),
		unquoted(strconv.Quote(value)),
	}
	return append(all, jsonForms(value)...)
}

func unquoted(s string) string { return s[1 : len(s)-1] }

// jsonForms returns value as it stands in a JSON document: by encoders that
// leave all letters, that escape those beyond ASCII, and for HTML.
func jsonForms(value string) []string {
	html, err := json.Marshal(value)
	if err != nil {
		return nil // no text has a value that JSON cannot hold
	}
	plain := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(unquoted(string(html)))
	var ascii strings.Builder
	for _, r := range plain {
		switch {
		case r < 0x80:
			ascii.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		default: // two halves
			r -= 0x10000
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		}
	}
	return []string{unquoted(string(html)), plain, ascii.String(), strings.ReplaceAll(plain, "/", `\/`)}
}
