package ovf

import (
	"archive/tar"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/internal/need"
)

// keyPair has openssl make a key and its certificate.
func keyPair(t *testing.T, dir, name string, args ...string) (certificate, key []byte) {
	t.Helper()
	need.Tool(t, "openssl")
	cmd := exec.Command("openssl", append([]string{
		"req", "-x509", "-nodes", "-subj", "/CN=" + name, "-keyout", name + ".key", "-out", name + ".pem", "-days", "2"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return readFile(t, filepath.Join(dir, name+".pem")), readFile(t, filepath.Join(dir, name+".key"))
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// members returns the files of an archive, in their order.
func members(t *testing.T, path string) (list []file) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(readFile(t, path)))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, file{h.Name, string(data)})
	}
}

// TestSigned signs an OVA, which openssl verifies, and refuses what was changed since.
func TestSigned(t *testing.T) {
	dir := t.TempDir()
	certificate, key := keyPair(t, dir, "release", "-newkey", "rsa:2048")
	signer, err := NewSigner(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{"", "sha1"} {
		path := filepath.Join(dir, "web"+digest+".ova")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		m := machine(hardware.Options{}, Options{Digest: digest})
		err = WriteOVA(f, m, signer, func(_ int, w io.Writer) error {
			_, err := w.Write([]byte("disk"))
			return err
		})
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		list := members(t, path)
		var names []string
		for _, m := range list {
			names = append(names, m.name)
		}
		if got := strings.Join(names, " "); got != "web.ovf web.mf web.cert web-disk1.vmdk" {
			t.Fatalf("members %s", got)
		}
		if _, err := Open(path); err != nil {
			t.Error(err)
		}
		line, pem, _ := strings.Cut(list[2].data, "\n")
		signature, err := hex.DecodeString(line[strings.Index(line, "= ")+2:])
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(pem) != strings.TrimSpace(string(certificate)) {
			t.Errorf("the certificate is %s", pem)
		}
		for name, data := range map[string][]byte{"manifest": []byte(list[1].data), "signature": signature} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.Command("sh", "-ec", "openssl x509 -in release.pem -pubkey -noout >release.pub && openssl dgst -"+map[string]string{"": "sha256", "sha1": "sha1"}[digest]+" -verify release.pub -signature signature manifest")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		// Whoever changes the disk can write another manifest, and no signature of it.
		changed := append([]file(nil), list...)
		changed[1].data = list[1].data + strings.TrimSpace(sum("more", "x")) + "\n"
		changed = append(changed, file{"more", "x"})
		if _, err := openBytes(t, archive(t, tar.FormatUSTAR, changed...)); err == nil || !strings.Contains(err.Error(), "web.cert: the signature of web.mf is wrong") {
			t.Errorf("a changed manifest: %v", err)
		}
		changed = append([]file(nil), list...)
		changed[2].data = line + "\n"
		if _, err := openBytes(t, archive(t, tar.FormatUSTAR, changed...)); err == nil || !strings.Contains(err.Error(), "no certificate") {
			t.Errorf("no certificate: %v", err)
		}
	}
}

func TestSignerRefuses(t *testing.T) {
	dir := t.TempDir()
	certificate, key := keyPair(t, dir, "a", "-newkey", "rsa:2048")
	other, _ := keyPair(t, dir, "b", "-newkey", "rsa:2048")
	curve, curveKey := keyPair(t, dir, "c", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
	for _, c := range []struct {
		certificate, key []byte
		want             string
	}{
		{other, key, "not that of the certificate"},
		{curve, key, "ECDSA"},
		{certificate, curveKey, "not one of RSA"},
		{key, key, "no certificate"},
		{certificate, certificate, "neither of PKCS #1"},
		{certificate, []byte("secret"), "not in PEM"},
	} {
		if _, err := NewSigner(c.certificate, c.key); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}
