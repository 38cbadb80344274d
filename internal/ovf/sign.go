package ovf

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// maxCertificate bounds the file of a signature with its certificates, in bytes.
const maxCertificate = 1 << 20

// hashes are the algorithms of digests that are signed.
var hashes = map[string]crypto.Hash{"SHA1": crypto.SHA1, "SHA256": crypto.SHA256, "SHA512": crypto.SHA512}

// A Signer signs the manifest of a package, as section 5.1 of DSP0243 says: RSA in the
// form of PKCS #1 v1.5, which gives the same signature each time.
type Signer struct {
	certificates []byte // PEM, that of the key first
	key          *rsa.PrivateKey
}

// NewSigner returns what signs with a private key, as PEM. The first of the
// certificates, as PEM, is that of the key.
func NewSigner(certificates, key []byte) (*Signer, error) {
	private, err := privateKey(key)
	if err != nil {
		return nil, err
	}
	public, err := certificateKey(certificates)
	if err != nil {
		return nil, err
	}
	if !private.PublicKey.Equal(public) {
		return nil, errors.New("the private key is not that of the certificate")
	}
	return &Signer{certificates: bytes.TrimSpace(certificates), key: private}, nil
}

// CheckCertificate returns why text is no certificate that a package is signed with.
func CheckCertificate(text []byte) error {
	_, err := certificateKey(text)
	return err
}

func privateKey(text []byte) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("the private key is not in PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key is neither of PKCS #1 nor of PKCS #8, or has a passphrase")
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New("the private key is not one of RSA, which signatures of OVF are made with")
	}
	return private, nil
}

// certificateKey returns the public key of the first certificate in a text.
func certificateKey(text []byte) (*rsa.PublicKey, error) {
	if len(text) > maxCertificate {
		return nil, fmt.Errorf("has more than %d bytes", maxCertificate)
	}
	block, _ := pem.Decode(text)
	for block != nil && block.Type != "CERTIFICATE" {
		block, text = pem.Decode(text)
	}
	if block == nil {
		return nil, errors.New("has no certificate in PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	public, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the certificate has a key of %s, and signatures of OVF are made with RSA", c.PublicKeyAlgorithm)
	}
	return public, nil
}

// Sign returns the content of the file with the end ".cert" for a manifest, whose file
// is called name. Its length follows from the name and the digest's algorithm alone.
func (s *Signer) Sign(name string, manifest []byte, algorithm string) ([]byte, error) {
	d := NewDigest(algorithm, nil)
	h := d.New()
	h.Write(manifest)
	signature, err := rsa.SignPKCS1v15(nil, s.key, hashes[d.Algorithm], h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return append(EncodeManifest([]Sum{{name, Digest{d.Algorithm, hex.EncodeToString(signature)}}}), append(s.certificates, '\n')...), nil
}

// verify fails unless the signature in a file with the end ".cert" is that of the
// manifest called name, by the certificate that is with it. Whose certificate that is,
// nobody knows here: it shows that nothing was changed by somebody without the key.
func verify(text []byte, name string, manifest []byte) error {
	line, rest, _ := bytes.Cut(bytes.TrimLeft(text, "\r\n"), []byte("\n"))
	part := manifestLine.FindStringSubmatch(strings.TrimSpace(string(line)))
	if part == nil || part[2] != name {
		return fmt.Errorf("does not begin with a signature of %s", name)
	}
	signature, err := hex.DecodeString(part[3])
	if err != nil {
		return errors.New("the signature is not written in hex")
	}
	public, err := certificateKey(rest)
	if err != nil {
		return err
	}
	h := Digest{Algorithm: part[1]}.New()
	h.Write(manifest)
	if err := rsa.VerifyPKCS1v15(public, hashes[part[1]], h.Sum(nil), signature); err != nil {
		return fmt.Errorf("the signature of %s is wrong: it was changed, or signed with another key", name)
	}
	return nil
}
