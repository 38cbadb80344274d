package vsphere

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vapi/library"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// addLibrary makes a content library on a datastore.
func (w *world) addLibrary(d *driver, name string) (id string) {
	w.Helper()
	ds, err := d.datastore(w.Context(), "LocalDS_0")
	if err == nil {
		err = d.withLibraries(w.Context(), func(l *libraries) error {
			published := true
			id, err = l.CreateLibrary(w.Context(), library.Library{
				Name: name, Type: "LOCAL", Storage: []library.StorageBacking{{DatastoreID: ds.Reference().Value, Type: "DATASTORE"}}, Publication: &library.Publication{Published: &published},
			})
			return err
		})
	}
	if err != nil {
		w.Fatal(err)
	}
	return id
}

// items returns the items of all libraries by their names, and how many sessions there are.
func (w *world) items(d *driver) (items map[string]library.Item, sessions int) {
	w.Helper()
	items = map[string]library.Item{}
	err := d.withLibraries(w.Context(), func(l *libraries) error {
		all, err := l.GetLibraries(w.Context())
		for _, lib := range all {
			list, err := l.GetLibraryItems(w.Context(), lib.ID)
			if err != nil {
				return err
			}
			for _, i := range list {
				items[i.Name] = i
			}
		}
		if err != nil {
			return err
		}
		ids, err := l.ListLibraryItemUpdateSession(w.Context())
		sessions = len(ids)
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return items, sessions
}

// TestLibrary publishes disks as versions of an item, which a machine is deployed of.
func TestLibrary(t *testing.T) {
	w, _ := newFleet(t)
	d := w.open(onDatastore())
	w.addLibrary(d, "images")
	o := Publication{Library: "images", Description: "a web server"}
	p := publication(o, "aa11")
	if err := d.CheckPublish(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if _, why, err := d.Published(t.Context(), p); err != nil || why != "no item web in images" {
		t.Errorf("published: %q, %v", why, err)
	}
	bodies := w.uploaded()
	disk := w.disk()
	found, err := d.Publish(t.Context(), p, platforms.ImageSource{Disk: disk}, &platformtest.Log{})
	if err != nil || len(found) != 1 || found[0].Place != "images" || found[0].Name != "web" {
		t.Fatalf("found %+v: %v", found, err)
	}
	sent := bodies()
	sameDisk(t, disk, sent[diskFile])
	if text := string(sent[descriptorFile]); !strings.Contains(text, `ovf:href="disk.vmdk"`) || strings.Contains(text, "ovf:size") {
		t.Errorf("the descriptor is %s", text)
	}
	if again, why, err := d.Published(t.Context(), p); err != nil || why != "" || again[0].ID != found[0].ID {
		t.Errorf("published %+v: %q, %v", again, why, err)
	}
	next := publication(o, "bb22")
	if _, why, err := d.Published(t.Context(), next); err != nil || why != "the item web of images is of another definition" {
		t.Errorf("published: %q, %v", why, err)
	}
	if again, err := d.Publish(t.Context(), next, platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err != nil || again[0].ID != found[0].ID {
		t.Fatalf("the new version is %+v: %v", again, err)
	}
	items, sessions := w.items(d)
	if len(items) != 1 || sessions != 0 || len(w.host.Left()) != 0 || !strings.HasPrefix(*items["web"].Description, "a web server\nbake: {") {
		t.Errorf("items %+v, %d sessions, in the ledger %d", items, sessions, len(w.host.Left()))
	}

	// A machine of it.
	origin, err := d.Pin(t.Context(), origin("library_item", "", Origin{LibraryItem: "images/web"}))
	if err != nil || origin.Pin.ID != found[0].ID+"@"+itemVersion(new(items["web"])) {
		t.Fatalf("pinned to %+v: %v", origin.Pin, err)
	}
	state := platforms.State{Key: key("item"), Name: "item"}
	made, err := d.ImportRemote(t.Context(), origin, state, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	w.sh(w.boot(d, made.Ref), "test -s /root/.ssh/authorized_keys")
	b, err := d.base(t.Context(), made.Ref)
	if err != nil || b.marks[markToken] == "" || b.marks[markBuild] != "build" {
		t.Errorf("the layer's machine is %+v: %v", b, err)
	}
	origin.Pin.ID = found[0].ID + "@0"
	_, err = d.ImportRemote(t.Context(), origin, state, &platformtest.Log{})
	w.fails(err, "images/web has changed since it was pinned")
}

// uploaded keeps what is uploaded to libraries, by its name.
func (w *world) uploaded() func() map[string][]byte {
	return w.keep(func(r *http.Request) bool { return r.Method == http.MethodPut })
}

// TestLibraryFaults refuses what is not there or not bake's.
func TestLibraryFaults(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	id := w.addLibrary(d, "images")
	err := d.withLibraries(t.Context(), func(l *libraries) error {
		for name, kind := range map[string]string{"theirs": "ovf", "cd": "iso"} {
			if _, err := l.CreateLibraryItem(t.Context(), library.Item{Name: name, LibraryID: id, Type: kind}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ item, want string }{
		{"image/web", `there is no content library "image" (did you mean "images"?)`},
		{"images/their", `images has no item "their" (did you mean "theirs"?)`},
		{"images/cd", `images/cd is of the type "iso"`},
		{"images", `"images": want the names of a library and of its item`},
	} {
		_, err := d.Pin(t.Context(), origin("library_item", "", Origin{LibraryItem: c.item}))
		w.fails(err, "library_item: ")
		w.fails(err, c.want)
	}
	for _, c := range []struct {
		o    Publication
		want string
	}{
		{Publication{Library: "image"}, `library: there is no content library "image"`},
		{Publication{Library: "images", LibraryItem: "theirs"}, `images has an item "theirs" that bake has not made`},
		{Publication{LibraryItem: "a"}, "library_item and library_type: belong to a library"},
		{Publication{Library: "images", ImageName: "a"}, "image_name, image_type and keep are for templates"},
	} {
		w.fails(d.CheckPublish(t.Context(), publication(c.o, "aa11")), c.want)
	}
}

// TestCapture publishes layers of machines there: as OVF, and as a VM template whose next
// one takes its place.
func TestCapture(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	w.addLibrary(d, "images")
	const template = "DC0_C0_RP1_VM1"
	w.off(d, template, true)
	before := len(w.server.VMs())
	layer := platforms.ImageSource{Layer: w.vm(template).Config.InstanceUuid}
	p := publication(Publication{Library: "images"}, "aa11")
	p.Arch = ""
	if _, err := d.Publish(t.Context(), p, layer, &platformtest.Log{}); err != nil {
		t.Fatal(err)
	}
	if n := len(w.server.VMs()); n != before {
		t.Errorf("%d machines are left", n-before)
	}
	for _, content := range []string{"bb22", "cc33"} {
		p := publication(Publication{Library: "images", LibraryItem: "golden", LibraryType: "vm-template"}, content)
		if _, err := d.Publish(t.Context(), p, layer, &platformtest.Log{}); err != nil {
			t.Fatal(err)
		}
		if _, why, err := d.Published(t.Context(), p); err != nil || why != "" {
			t.Errorf("published: %q, %v", why, err)
		}
	}
	items, _ := w.items(d)
	if len(items) != 2 || items["golden"].Type != "vm-template" || items["web"].Type != "ovf" || len(w.host.Left()) != 0 {
		t.Errorf("items %+v, in the ledger %d", items, len(w.host.Left()))
	}
	o, err := d.Pin(t.Context(), origin("library_item", "", Origin{LibraryItem: "images/golden"}))
	if err != nil {
		t.Fatal(err)
	}
	made, err := d.ImportRemote(t.Context(), o, platforms.State{Key: key("item"), Name: "item"}, &platformtest.Log{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := d.base(t.Context(), made.Ref); err != nil || b.template {
		t.Errorf("the layer's machine is %+v: %v", b, err)
	}
}

// TestKilledLibrary kills builds that publish in a library, and collects what they have
// left: items, sessions and machines.
func TestKilledLibrary(t *testing.T) {
	w := newWorld(t)
	gc := w.open(onDatastore())
	w.addLibrary(gc, "images")
	if _, err := gc.ownFolder(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk := w.disk()
	for i, n := range moments(45, 12) {
		moment := fmt.Sprintf("build %d, which died after %d requests", i, n)
		o := Publication{Library: "images", LibraryItem: fmt.Sprint("web-", i%5)}
		p := publication(o, fmt.Sprintf("%012x", i))
		before := len(w.server.VMs())
		w.dies(n)
		_, err := w.mortal(onDatastore()).Publish(t.Context(), p, platforms.ImageSource{Disk: disk}, &platformtest.Log{})
		w.server.HTTP = nil
		w.cleared(gc, moment, before)
		items, sessions := w.items(gc)
		for name, item := range items {
			if m, ok := marksOf(&item); !ok || m.Begun != "" || m.Key == "" {
				t.Errorf("%s: %s is left: %+v", moment, name, m)
			}
		}
		if sessions != 0 {
			t.Errorf("%s: %d sessions are left", moment, sessions)
		}
		if _, why, findErr := gc.Published(t.Context(), p); findErr != nil || err == nil && why != "" {
			t.Errorf("%s: %q, %v", moment, why, findErr)
		}
	}
}

// TestSubscribers has those that the library knows take an item over. Answers in
// front of vcsim stand for these, since it knows VM templates alone.
func TestSubscribers(t *testing.T) {
	w := newWorld(t)
	d := w.open(onDatastore())
	w.addLibrary(d, "images")
	asked := 0
	w.server.HTTP = func(rw http.ResponseWriter, r *http.Request) bool {
		answer := ""
		switch {
		case strings.Contains(r.URL.Path, "/library/subscriptions"):
			answer = `{"value":[{"subscription":"1","subscribed_library":"2","subscribed_library_name":"branch"}]}`
		case r.URL.Query().Get("~action") == "publish":
			asked, answer = asked+1, "{}"
		default:
			return false
		}
		if _, err := io.WriteString(rw, answer); err != nil {
			t.Error(err)
		}
		return true
	}
	log := &platformtest.Log{}
	if _, err := d.Publish(t.Context(), publication(Publication{Library: "images"}, "aa11"), platforms.ImageSource{Disk: w.disk()}, log); err != nil {
		t.Fatal(err)
	}
	if asked != 1 || !strings.Contains(log.String(), "1 subscribers take web over") {
		t.Errorf("asked %d times: %s", asked, log)
	}
}
