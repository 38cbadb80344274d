package origin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// maxRelease bounds a release file; sid's has 0.2 MB.
const maxRelease = 16 << 20

// A release is what a signed release file says about a suite, after
// https://wiki.debian.org/DebianRepository/Format.
type release struct {
	digest          string // SHA-256 of the InRelease file, in hex
	suite, codename string
	date            time.Time
	validUntil      time.Time // zero when it does not say
}

// is reports whether the file is that of the suite called name.
func (r release) is(name string) bool {
	old, security := strings.CutSuffix(name, "/updates")
	if security { // buster and before: the file says "buster"
		return r.codename == old || r.codename == name || r.suite == name
	}
	return name == r.suite || name == r.codename
}

// verifyRelease checks the signature of an InRelease file against the keyring
// and reads what was signed.
func verifyRelease(ctx context.Context, data []byte, keyring string) (release, error) {
	signed, err := gpgv(ctx, data, keyring)
	if err != nil {
		return release{}, err
	}
	r, err := parseRelease(signed)
	if err != nil {
		return release{}, err
	}
	r.digest = hexDigest(data)
	return r, nil
}

// gpgv returns the part of data that a key of the keyring has signed. Like
// apt, it asks for one good signature and passes over those of keys that the
// keyring does not hold.
func gpgv(ctx context.Context, data []byte, keyring string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "gpgv", "--keyring", keyring, "--status-fd", "2", "--output", "-")
	cmd.Env = append(cmd.Environ(), "LC_ALL=C.UTF-8")
	cmd.Stdin = bytes.NewReader(data)
	var signed, status bytes.Buffer
	cmd.Stdout, cmd.Stderr = &signed, &status
	runErr := cmd.Run()
	if errors.Is(runErr, exec.ErrNotFound) {
		return nil, fmt.Errorf("verify signature: gpgv is not installed (apt-get install gpgv)")
	}
	var good, valid bool
	for line := range strings.Lines(status.String()) {
		rest, ok := strings.CutPrefix(line, "[GNUPG:] ")
		if !ok {
			continue
		}
		switch what, _, _ := strings.Cut(rest, " "); what {
		case "BADSIG", "NODATA":
			return nil, fmt.Errorf("verify signature: the file is damaged or was tampered with (%s)", what)
		case "NEWSIG":
			good = false
		case "GOODSIG":
			good = true
		case "VALIDSIG":
			valid = valid || good
		}
	}
	// gpgv exits with 2 when one of several keys is unknown.
	if !valid {
		return nil, fmt.Errorf("verify signature: none of a key in %s: %s", keyring, lastLine(status.String(), runErr))
	}
	return signed.Bytes(), nil
}

// parseRelease reads the fields of a release file that matter here.
func parseRelease(signed []byte) (release, error) {
	var r release
	for line := range strings.Lines(string(signed)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":")
		if !ok || strings.HasPrefix(name, " ") {
			continue
		}
		value = strings.TrimSpace(value)
		var err error
		switch name {
		case "Suite":
			r.suite = value
		case "Codename":
			r.codename = value
		case "Date":
			r.date, err = parseDate(value)
		case "Valid-Until":
			r.validUntil, err = parseDate(value)
		}
		if err != nil {
			return r, fmt.Errorf("read release file: %s: %w", name, err)
		}
	}
	if r.date.IsZero() || r.suite == "" && r.codename == "" {
		return r, errors.New("read release file: it names no suite or no date")
	}
	return r, nil
}

func parseDate(s string) (time.Time, error) {
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 MST", s)
	if err != nil {
		t, err = time.Parse(time.RFC1123Z, s)
	}
	return t.UTC(), err
}

func hexDigest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// lastLine returns the last line of a program's output that says something, or
// else the error.
func lastLine(output string, err error) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	if s := strings.TrimSpace(lines[len(lines)-1]); s != "" || err == nil {
		return s
	}
	return err.Error()
}
