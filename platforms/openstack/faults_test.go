package openstack

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bake.build/bake/internal/need"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/platformtest"
)

// A stand is a stand-in for an identity service and Glance, for what real services do now
// and then: it knows just enough of them to fail at a chosen request.
type stand struct {
	*httptest.Server
	mu     sync.Mutex
	images map[string]map[string]any
	data   map[string][]byte
	tokens int
	fault  func(w http.ResponseWriter, r *http.Request) bool // true where it has answered
	seen   map[string]int                                    // requests, by method and path without ids
}

func newStand(t *testing.T) *stand {
	s := &stand{images: map[string]map[string]any{}, data: map[string][]byte{}, seen: map[string]int{}}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// ServeHTTP implements http.Handler.
func (s *stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	defer s.mu.Unlock()
	what := r.Method + " " + r.URL.Path
	for id := range s.images {
		what = strings.ReplaceAll(what, id, "ID")
	}
	s.seen[what]++
	if s.fault != nil && s.fault(w, r) {
		return
	}
	if r.URL.Path == "/" {
		w.WriteHeader(http.StatusMultipleChoices)
		answer(w, map[string]any{"versions": []any{map[string]any{"id": "v2.9", "status": "CURRENT", "links": []any{map[string]any{"rel": "self", "href": s.URL + "/v2/"}}}}})
		return
	}
	if strings.HasSuffix(r.URL.Path, "/auth/tokens") {
		s.login(w)
		return
	}
	if r.Header.Get("X-Auth-Token") != fmt.Sprint("token", s.tokens) {
		http.Error(w, `{"error": {"message": "The request you have made requires authentication."}}`, http.StatusUnauthorized)
		return
	}
	s.glance(w, r)
}

func (s *stand) login(w http.ResponseWriter) {
	s.tokens++
	w.Header().Set("X-Subject-Token", fmt.Sprint("token", s.tokens))
	w.WriteHeader(http.StatusCreated)
	at := func(path string) map[string]any {
		return map[string]any{"id": "e", "interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": s.URL + path}
	}
	endpoint := at("")
	answer(w, map[string]any{"token": map[string]any{
		"expires_at": "2036-01-01T00:00:00.000000Z", "project": map[string]any{"id": "p1", "name": "admin"},
		"catalog": []any{
			map[string]any{"type": "image", "name": "glance", "endpoints": []any{endpoint}},
			map[string]any{"type": "compute", "name": "nova", "endpoints": []any{at("/v2.1")}},
			map[string]any{"type": "volumev3", "name": "cinder", "endpoints": []any{at("/v3/p1")}},
		},
	}})
}

func answer(w io.Writer, v any) { _ = json.NewEncoder(w).Encode(v) }

func (s *stand) glance(w http.ResponseWriter, r *http.Request) {
	rest := strings.TrimPrefix(r.URL.Path, "/v2/")
	id, more, _ := strings.Cut(strings.TrimPrefix(rest, "images/"), "/")
	i := s.images[id]
	switch {
	case rest == "images" && r.Method == http.MethodGet:
		list := []any{}
		for _, i := range s.images {
			if name := r.URL.Query().Get("name"); (name == "" || i["name"] == name) && r.URL.Query().Get("os_hidden") != "true" {
				list = append(list, i)
			}
		}
		answer(w, map[string]any{"images": list})
	case rest == "images":
		var i map[string]any
		_ = json.NewDecoder(r.Body).Decode(&i)
		i["status"], i["owner"], i["created_at"], i["updated_at"], i["visibility"] = "queued", "p1", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", "shared"
		s.images[fmt.Sprint(i["id"])] = i
		w.WriteHeader(http.StatusCreated)
		answer(w, i)
	case i == nil:
		http.Error(w, "none", http.StatusNotFound)
	case more == "file" && r.Method == http.MethodPut:
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		sum := sha512.Sum512(b)
		i["status"], i["size"], i["os_hash_algo"], i["os_hash_value"] = "active", len(b), "sha512", hex.EncodeToString(sum[:])
		s.data[id] = b
		w.WriteHeader(http.StatusNoContent)
	case more == "file":
		_, _ = w.Write(s.data[id])
	case r.Method == http.MethodGet:
		answer(w, i)
	case r.Method == http.MethodDelete:
		delete(s.images, id)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPatch:
		var patches []struct {
			Op, Path string
			Value    any
		}
		_ = json.NewDecoder(r.Body).Decode(&patches)
		for _, p := range patches {
			if name := p.Path[1:]; p.Op == "remove" {
				delete(i, name)
			} else {
				i[name] = p.Value
			}
		}
		answer(w, i)
	}
}

// times fails the first n requests that match.
func times(n int, method, suffix string, fail func(w http.ResponseWriter, r *http.Request)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if n == 0 || r.Method != method || !strings.HasSuffix(r.URL.Path, suffix) {
			return false
		}
		n--
		fail(w, r)
		return true
	}
}

func status(code int, text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		http.Error(w, text, code)
	}
}

// hangUp breaks the connection in the middle of an upload.
func hangUp(w http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 1000)
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

// TestFaults publishes an image by services that fail in the middle. It is there in the
// end, or the error says why it is not; no half of one is ever left.
func TestFaults(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, []byte(strings.Repeat("0123456789abcdef", 1<<16)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		fault func(s *stand) func(http.ResponseWriter, *http.Request) bool
		want  string // in the error; "" where it goes well
		log   string
	}{
		"throttled": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			return times(3, http.MethodPost, "/v2/images", status(http.StatusTooManyRequests, "slow down"))
		}},
		"a burst of 5xx": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			return times(4, http.MethodGet, "/v2/images", status(http.StatusBadGateway, "<html><head><title>x</title></head>Bad gateway</html>"))
		}},
		"never better": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			return times(-1, http.MethodGet, "/v2/images", status(http.StatusServiceUnavailable, "maintenance until nine"))
		}, want: "maintenance until nine"},
		"the token expires": {fault: func(s *stand) func(http.ResponseWriter, *http.Request) bool {
			return times(1, http.MethodPut, "/file", func(w http.ResponseWriter, r *http.Request) {
				s.tokens++ // the one that the client has is not known any more
				status(http.StatusUnauthorized, "expired")(w, r)
			})
		}},
		"a broken transfer": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			return times(2, http.MethodPut, "/file", hangUp)
		}, log: "the upload begins again"},
		"every transfer breaks": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			return times(-1, http.MethodPut, "/file", hangUp)
		}, want: "upload web-"},
		"over the quota": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			return times(-1, http.MethodPut, "/file", status(http.StatusRequestEntityTooLarge, "<html><body>Denying attempt to upload image because it exceeds the quota</body></html>"))
		}, want: "larger than the project's quota, or than the cloud takes: 413 Request Entity Too Large: Denying attempt"},
		"direct uploads are forbidden": {fault: func(*stand) func(http.ResponseWriter, *http.Request) bool {
			forbid := times(-1, http.MethodPut, "/file", status(http.StatusForbidden, `{"message": "not by you"}`))
			return func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					w.Header().Set("OpenStack-image-import-methods", "web-download")
				}
				return forbid(w, r)
			}
		}, want: "403 Forbidden: not by you\nhint: upload = \"web-download\" lets the cloud fetch it"},
		"other bytes arrive": {fault: func(s *stand) func(http.ResponseWriter, *http.Request) bool {
			return times(1, http.MethodPut, "/file", func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				for _, i := range s.images {
					i["status"], i["size"], i["os_hash_algo"], i["os_hash_value"] = "active", 3, "sha512", strings.Repeat("0", 128)
				}
				w.WriteHeader(http.StatusNoContent)
			})
		}, log: "has the sha512 hash 0000000000000000…"},
		"an import that works on": {fault: func(s *stand) func(http.ResponseWriter, *http.Request) bool {
			looks := 0
			return func(w http.ResponseWriter, r *http.Request) bool {
				for id, i := range s.images {
					switch {
					case i["status"] != "active":
					case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, id):
						i["os_glance_import_task"] = "t"
						if looks++; looks == 4 {
							delete(i, "os_glance_import_task")
						}
					case r.Method == http.MethodPatch && i["os_glance_import_task"] != nil:
						answer(w, i) // and nothing of it stays
						return true
					}
				}
				return false
			}
		}},
		"it stays queued": {fault: func(s *stand) func(http.ResponseWriter, *http.Request) bool {
			return times(-1, http.MethodPut, "/file", status(http.StatusNoContent, ""))
		}, want: "the cloud has not taken it: its status is queued"},
		"the answer to making it is lost": {fault: func(s *stand) func(http.ResponseWriter, *http.Request) bool {
			return times(1, http.MethodPost, "/v2/images", func(w http.ResponseWriter, r *http.Request) {
				s.glance(httptest.NewRecorder(), r)
				hangUp(w, r)
			})
		}, want: "make the image web-"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStand(t)
			h := newHost(t)
			d := openAt(t, h, s.URL+"/v3")
			d.pause = 1
			d.clients.pause = 1
			s.mu.Lock()
			s.fault = c.fault(s)
			s.mu.Unlock()
			out := &platformtest.Log{}
			_, err := d.Publish(t.Context(), publication("abc", Publication{ImageFormat: "raw"}), platforms.ImageSource{Disk: disk}, out)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if !strings.Contains(out.String(), c.log) {
				t.Errorf("the log lacks %q:\n%s", c.log, out.String())
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := map[bool]int{true: 1}[c.want == ""]; len(s.images) != n {
				t.Errorf("%d images are there, want %d: %v", len(s.images), n, s.images)
			}
			if left := h.Left(); len(left) > 0 {
				t.Errorf("left in the ledger: %v", left)
			}
		})
	}
}

// TestStagedQuota refuses a disk that the project's quota has no room for before it is sent,
// where Glance counts it before the import.
func TestStagedQuota(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 3<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStand(t)
	d := openAt(t, newHost(t), s.URL+"/v3")
	sent := 0
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/v2/images":
			w.Header().Set("OpenStack-image-import-methods", "glance-direct")
		case strings.HasSuffix(r.URL.Path, "/info/usage"):
			answer(w, map[string]any{"usage": map[string]any{"image_size_total": map[string]any{"limit": 10, "usage": 8}, "image_count_total": map[string]any{"limit": -1, "usage": 5}}})
			return true
		case r.Method == http.MethodPut:
			sent++
		}
		return false
	}
	_, err := d.Publish(t.Context(), publication("abc", Publication{ImageFormat: "raw"}), platforms.ImageSource{Disk: disk}, &platformtest.Log{})
	if err == nil || !strings.Contains(err.Error(), "the project's quota image_size_total is 10 MiB, 8 are used, and the disk has 3") || sent > 0 {
		t.Errorf("%v; %d were sent", err, sent)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.images) > 0 {
		t.Errorf("left: %v", s.images)
	}
}

// TestInterrupted leaves nothing of an upload that the user breaks off.
func TestInterrupted(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := newStand(t)
	h := newHost(t)
	d := openAt(t, h, s.URL+"/v3")
	ctx, cancel := context.WithCancel(t.Context())
	s.fault = times(1, http.MethodPut, "/file", func(w http.ResponseWriter, r *http.Request) {
		cancel()
		status(http.StatusBadGateway, "")(w, r)
	})
	if _, err := d.Publish(ctx, publication("abc", Publication{ImageFormat: "raw"}), platforms.ImageSource{Disk: disk}, &platformtest.Log{}); err == nil {
		t.Error("it goes well")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.images) > 0 || len(h.Left()) > 0 {
		t.Errorf("left: %v, %v", s.images, h.Left())
	}
}

// TestVolumeNeverDetaches gives up on a volume that Cinder does not let go, and says how it
// is. The record stays, for gc.
func TestVolumeNeverDetaches(t *testing.T) {
	s := newStand(t)
	h := newHost(t)
	d := openAt(t, h, s.URL+"/v3")
	d.pause = time.Millisecond
	s.fault = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/volumes/") {
			return false
		}
		if r.Method == http.MethodDelete {
			status(http.StatusBadRequest, `{"badRequest": {"message": "Volume status must be available or error"}}`)(w, r)
		} else {
			answer(w, map[string]any{"volume": map[string]any{"id": "v1", "status": "detaching"}})
		}
		return true
	}
	record, err := d.Begin(t.Context(), kindVolume, "RegionOne", "bake-v")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = record.Remove(ctx, func(ctx context.Context) error { return d.deleteVolume(ctx, "RegionOne", "v1") })
	if err == nil || !strings.Contains(err.Error(), "the end of the volume v1") || !strings.Contains(err.Error(), "its status is detaching") || len(h.Left()) != 1 {
		t.Errorf("%v, and left in the ledger: %v", err, h.Left())
	}
}

// TestOldNova wants what an old cloud lacks to be told by the option that needs it.
func TestOldNova(t *testing.T) {
	for has, want := range map[string]string{"2.53": "the cloud has 2.53", "": "none but 2.1", "2.67": ""} {
		s := newStand(t)
		d := openAt(t, newHost(t), s.URL+"/v3")
		s.fault = func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/v2.1") {
				answer(w, map[string]any{"version": map[string]any{"id": "v2.1", "status": "CURRENT", "version": has, "min_version": "2.1", "links": []any{map[string]any{"rel": "self", "href": s.URL + "/v2.1/"}}}})
				return true
			}
			return false
		}
		c, err := d.clients.compute(t.Context(), "RegionOne")
		if err != nil {
			t.Fatal(err)
		}
		speaks, err := withVersion(t.Context(), c, volumeTypeVersion)
		if want == "" && (err != nil || speaks.Microversion != "2.67" || c.Microversion != "") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", has, err, want)
		}
	}
}

// TestStreams breaks the first transfer of each format that is made while it is uploaded, and
// has qemu-img compare what the second one brought. Then it pulls the image, again at the
// second time.
func TestStreams(t *testing.T) {
	need.Tool(t, "qemu-img")
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.raw")
	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise) // never fails
	for at, text := range map[int64]string{0: strings.Repeat("some words\n", 1<<16), 3 << 20: string(noise)} {
		if _, err := f.WriteAt([]byte(text), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(9 << 20); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"raw", "qcow2", "vmdk"} {
		t.Run(format, func(t *testing.T) {
			s := newStand(t)
			d := openAt(t, newHost(t), s.URL+"/v3")
			d.pause = 1
			known := int64(0)
			s.fault = times(1, http.MethodPut, "/file", func(w http.ResponseWriter, r *http.Request) {
				known = r.ContentLength
				hangUp(w, r)
			})
			if got, err := d.TakesFormat(json.RawMessage(`{"image_format":"` + format + `"}`)); err != nil || got != "raw" {
				t.Errorf("the disk is taken as %s, %v", got, err)
			}
			out := &platformtest.Log{}
			found, err := d.Publish(t.Context(), publication("abc", Publication{ImageFormat: format}), platforms.ImageSource{Disk: disk}, out)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(out.String(), "the upload begins again") {
				t.Errorf("the log: %s", out)
			}
			s.mu.Lock()
			data := s.data[found[0].ID]
			s.fault = times(1, http.MethodGet, "/file", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data[:1000]) })
			s.mu.Unlock()
			if want := map[bool]int64{true: -1, false: int64(len(data))}[format == "vmdk"]; known != want {
				t.Errorf("the server was told of %d bytes, want %d", known, want)
			}
			image := filepath.Join(dir, "image."+format)
			if err := os.WriteFile(image, data, 0o600); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", format, disk, image).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, said)
			}
			pulled := filepath.Join(dir, "pulled."+format)
			if err := d.Pull(t.Context(), found[0].ID, pulled, out); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.Command("qemu-img", "compare", "-f", "raw", "-F", "raw", disk, pulled).CombinedOutput(); err != nil {
				t.Errorf("pulled: %v: %s", err, said)
			}
			if !strings.Contains(out.String(), "the download begins again") {
				t.Errorf("the log: %s", out)
			}
		})
	}
}
