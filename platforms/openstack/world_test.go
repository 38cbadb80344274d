package openstack

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

func newHost(t testing.TB) *platformtest.Host {
	return &platformtest.Host{Dir: t.TempDir(), Secrets: map[platforms.Secret]string{"password": "pw"}}
}

// openAt opens a driver of a cloud with an identity service of its own.
func openAt(t testing.TB, h *platformtest.Host, url string, change ...func(*Options)) *driver {
	t.Helper()
	for _, name := range []string{"OS_CLOUD", "OS_AUTH_URL", "OS_TOKEN", "OS_APPLICATION_CREDENTIAL_ID", "OS_REGION_NAME", "OS_CACERT"} {
		if os.Getenv(name) != "" {
			t.Fatalf("%s is set", name)
		}
	}
	o := Options{AuthURL: url, Region: "RegionOne", CloudUser: "admin", CloudPassword: "password", Project: "admin"}
	for _, f := range change {
		f(&o)
	}
	d, err := open(o, h)
	if err != nil {
		t.Fatal(err)
	}
	d.pause = 20 * time.Millisecond
	d.clients.pause = d.pause
	return d
}

func publication(content string, o Publication) platforms.Publication {
	text, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	return platforms.Publication{Name: "web", Content: content, Key: content + string(text), Arch: "amd64", Boot: "uefi", Options: text}
}
