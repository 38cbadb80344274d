package openstack

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/internal/testopenstack"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// asOther has a driver be that of a member of another project.
func asOther(o *Options) { o.CloudUser, o.Project = testopenstack.Other, testopenstack.OtherProject }

// TestOtherProject has another project use an image that is shared with it, and use up its
// quota of images.
func TestOtherProject(t *testing.T) {
	w := newWorld(t)
	other := newHost(t)
	other.ProjectID = w.host.Project()
	d := openAt(t, other, w.cloud.URL, asOther)
	project, err := d.clients.project(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	disk, raw := w.disk(5, "raw")
	o := Publication{Members: []string{project}}
	found, _ := w.publish(publication("shared", o), disk)
	byName := Origin{Image: found[0].Name}
	if _, err := d.named(t.Context(), testopenstack.Region, byName); err == nil || !strings.Contains(err.Error(), "openstack image set --accept "+found[0].ID) {
		t.Errorf("an image that was not accepted: %v", err)
	}
	if i, err := d.named(t.Context(), testopenstack.Region, Origin{Image: found[0].ID}); err != nil || i.ID != found[0].ID {
		t.Errorf("by its id: %v", err)
	}
	o.Accept = true
	w.publish(publication("shared", o), disk)
	text, err := json.Marshal(byName)
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := d.Pin(t.Context(), platforms.Origin{Kind: "image", Options: text})
	if err != nil || pinned.Pin.ID != found[0].ID {
		t.Errorf("pinned %+v, %v", pinned.Pin, err)
	}
	dst := filepath.Join(t.TempDir(), "pulled.raw")
	if err := d.Pull(t.Context(), found[0].Name, dst, &platformtest.Log{}); err != nil {
		t.Error(err)
	} else if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("pulled %d bytes, %v", len(got), err)
	}
	w.publish(publication("shared", Publication{}), disk)
	if _, err := d.named(t.Context(), testopenstack.Region, byName); err == nil || !strings.Contains(err.Error(), "no active image") {
		t.Errorf("an image that is not shared any more: %v", err)
	}
	if err := w.driver.removeID(t.Context(), testopenstack.Region, found[0].ID); err != nil {
		t.Error(err)
	}

	// Another project's image cannot be accepted, nor made public, by who is no administrator.
	d = openAt(t, other, w.cloud.URL, asOther, func(o *Options) { o.Region = testopenstack.Second })
	mine := publication("mine", Publication{Members: []string{w.project()}, Accept: true})
	if _, err := d.Publish(t.Context(), mine, platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "accept_members: ") {
		t.Errorf("accepted for others: %v", err)
	}
	public := publication("public", Publication{Visibility: "public"})
	if _, err := d.Publish(t.Context(), public, platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "visibility: the project may not make public images") {
		t.Errorf("public: %v", err)
	}
	// Glance takes an image that begins within the quota, and none after it.
	next := publication("next", Publication{})
	if _, err := d.Publish(t.Context(), next, platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err != nil {
		t.Errorf("beyond the quota, as Glance takes one: %v", err)
	}
	if err := d.CheckPublish(t.Context(), publication("last", Publication{})); err == nil || !strings.Contains(err.Error(), "image_size_total is used up") {
		t.Errorf("the quota that is used up: %v", err)
	}
	if left := other.Left(); len(left) > 1 { // what could not be accepted stays for the next build
		t.Errorf("left in the ledger: %v", left)
	}
	list, err := d.own(t.Context(), testopenstack.Second, images.ListOpts{}, nil)
	if err != nil || len(list) != 2 {
		t.Errorf("%d images, %v", len(list), err)
	}
	for _, i := range list {
		if err := d.remove(t.Context(), i); err != nil {
			t.Error(err)
		}
	}
}

// project is the id of the world's project.
func (w *world) project() string {
	w.Helper()
	id, err := w.driver.clients.project(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return id
}

// TestWebDownload has a Glance that is offered a disk fetch it.
func TestWebDownload(t *testing.T) {
	w := newWorld(t, func(o *Options) { o.Region = testopenstack.Second })
	disk, raw := w.disk(6, "raw")
	found, log := w.publish(publication("fetched", Publication{ViaImport: uploadWeb}), disk)
	if !strings.Contains(log, "is offered at http://127.0.0.1:") || !strings.Contains(log, "uploaded web-") {
		t.Error(log)
	}
	dst := filepath.Join(t.TempDir(), "pulled.raw")
	if err := w.driver.Pull(t.Context(), found[0].ID, dst, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst); err != nil || !bytes.Equal(got, raw) {
		t.Errorf("pulled %d bytes, %v", len(got), err)
	}
	if err := w.driver.removeID(t.Context(), testopenstack.Second, found[0].ID); err != nil {
		t.Error(err)
	}
	for want, o := range map[string]Publication{
		"upload: RegionTwo does not offer glance-direct": {ViaImport: uploadImport},
		"image_format: RegionTwo does not take vhdx":     {ImageFormat: "vhdx"},
	} {
		p := publication("refused", o)
		err := w.driver.CheckPublish(t.Context(), p)
		if err == nil {
			_, err = w.driver.Publish(t.Context(), p, platforms.ImageSource{Disk: disk}, &platformtest.Log{})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// Where this host cannot be reached, nothing is left.
	lost := publication("lost", Publication{ViaImport: uploadWeb, Serve: "127.0.0.2:0"})
	if _, err := w.driver.Publish(t.Context(), lost, platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err == nil || !strings.Contains(err.Error(), "the cloud refuses to fetch from http://127.0.0.2:0") {
		t.Errorf("not reached: %v", err)
	}
}

// TestTLS logs in to the identity service behind TLS with an authority, and a client's
// certificate, of the cloud's own.
func TestTLS(t *testing.T) {
	w := newWorld(t)
	to, err := url.Parse(w.cloud.URL)
	if err != nil {
		t.Fatal(err)
	}
	to.Path = ""
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	dir := t.TempDir()
	ca, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "key.pem")
	pair := selfSigned(t, ca, key)
	serve := func(want tls.ClientAuthType) string {
		s := httptest.NewUnstartedServer(proxy)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: want, ClientCAs: x509.NewCertPool()}
		s.TLS.ClientCAs.AddCert(pair.Leaf)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	open, strict := serve(tls.NoClientCert), serve(tls.RequireAndVerifyClientCert)
	for name, c := range map[string]struct {
		url    string
		change func(*Options)
		want   string // in the error
	}{
		"an unknown authority":    {open, func(*Options) {}, "certificate signed by unknown authority"},
		"ca_cert":                 {open, func(o *Options) { o.CACert = ca }, ""},
		"insecure":                {open, func(o *Options) { o.Insecure = true }, ""},
		"no client's certificate": {strict, func(o *Options) { o.CACert = ca }, "certificate required"},
		"client_cert":             {strict, func(o *Options) { o.CACert, o.ClientCert, o.ClientKey = ca, ca, key }, ""},
	} {
		d := openAt(t, newHost(t), c.url+"/v3", c.change)
		d.clients.pause = 1
		_, err := d.clients.project(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// selfSigned makes a certificate for servers of the loopback and for clients, which is its
// own authority, and writes it and its key.
func selfSigned(t *testing.T, ca, key string) tls.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{ca: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: text}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(ca, key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}
