package ledger

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"bake.build/bake/platforms"
)

// childEnv makes this test program a build that records resources in the named
// directory until it is killed.
const childEnv = "BAKE_LEDGER_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// child tells each resource on its output once Begin has returned, and that
// every third is gone.
func child(dir string) error {
	l, err := Open(dir, "build/1", "")
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		done, err := l.Begin(resource(i))
		if err != nil {
			return err
		}
		if i%3 == 0 {
			if err := done(); err != nil {
				return err
			}
			continue
		}
		fmt.Println(resource(i).ID)
	}
}

func resource(i int) platforms.Resource {
	return platforms.Resource{Platform: "fake", Kind: "instance", ID: fmt.Sprintf("i-%d", i), Place: "r", Options: json.RawMessage(`{"a":1}`)}
}

func begin(t *testing.T, l *Ledger, i int) func() error {
	t.Helper()
	done, err := l.Begin(resource(i))
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// dead returns the dead builds, to be closed at the end of the test.
func dead(t *testing.T, dir string) []*Build {
	t.Helper()
	builds, err := Dead(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, b := range builds {
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return builds
}

func TestKilledBuildLeavesItsResources(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var told []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		told = append(told, lines.Text())
		if len(told) == 10 {
			if b := dead(t, dir); len(b) != 0 {
				t.Errorf("a live build is reported as dead: %+v", b[0])
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	builds := dead(t, dir)
	if len(builds) != 1 || builds[0].ID != "build/1" || len(builds[0].Damaged) != 0 {
		t.Fatalf("dead builds: %+v", builds)
	}
	found := map[string]bool{}
	for _, r := range builds[0].Records {
		found[r.ID] = true
		var i int
		_, err := fmt.Sscanf(r.ID, "i-%d", &i)
		want := resource(i)
		want.Build = "build/1"
		if err != nil || !reflect.DeepEqual(r.Resource, want) {
			t.Errorf("record is %+v", r)
		}
	}
	for _, id := range told {
		if !found[id] {
			t.Errorf("resource %s was begun and is not in the ledger", id)
		}
	}
	// One more may have been written when the kill came, or be on its way out.
	if len(found) > len(told)+1 {
		t.Errorf("%d records for %d resources", len(found), len(told))
	}
	if again := dead(t, dir); len(again) != 0 {
		t.Errorf("a build that is being cleaned up is found by another: %+v", again[0])
	}
	for _, r := range builds[0].Records {
		if err := builds[0].Forget(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := builds[0].Close(); err != nil {
		t.Fatal(err)
	}
	empty(t, dir)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(dir, folder))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	if len(left) != 0 {
		t.Errorf("left in the ledger: %v", left)
	}
}

func TestDoneForgets(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, "b", "")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			done, err := l.Begin(resource(i))
			if err != nil {
				t.Error(err)
				return
			}
			for range 2 {
				if err := done(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	empty(t, dir)
	if _, err := l.Begin(resource(1)); err == nil {
		t.Error("a closed ledger takes a resource")
	}
}

func TestCloseLeavesWhatIsNotDone(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, "b", "")
	if err != nil {
		t.Fatal(err)
	}
	begin(t, l, 1)
	late := begin(t, l, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := late(); err != nil {
		t.Error(err)
	}
	builds := dead(t, dir)
	if len(builds) != 1 || len(builds[0].Records) != 1 || builds[0].Records[0].ID != "i-1" {
		t.Fatalf("dead builds: %+v", builds)
	}
}

func TestDeadReportsDamage(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, "b", "")
	if err != nil {
		t.Fatal(err)
	}
	begin(t, l, 1)
	for name, text := range map[string]string{"x.json": "{", "y.json": `{"format":7}`, "z.new": "half"} {
		if err := os.WriteFile(filepath.Join(l.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b := dead(t, dir)[0]
	if len(b.Records) != 1 || len(b.Damaged) != 2 {
		t.Fatalf("build is %+v", b)
	}
	if err := b.Forget(b.Records[0]); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b := dead(t, dir); len(b) != 1 || len(b[0].Damaged) != 2 {
		t.Errorf("damaged records did not stay: %+v", b)
	}
}

func TestRefused(t *testing.T) {
	for _, id := range []string{"", ".", ".."} {
		if _, err := Open(t.TempDir(), id, ""); err == nil {
			t.Errorf("build id %q is taken", id)
		}
	}
	dir := t.TempDir()
	l, err := Open(dir, "../../escape", "")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	begin(t, l, 1)
	if !strings.HasPrefix(l.dir, filepath.Join(dir, folder)+string(filepath.Separator)) {
		t.Errorf("the build's directory is %s", l.dir)
	}
	if _, err := l.Begin(platforms.Resource{ID: "x"}); err == nil {
		t.Error("a resource without a platform is taken")
	}
	if _, err := os.Stat(filepath.Join(dir, folder, "..%2F..%2Fescape", ownerName)); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode(Record{Resource: resource(1)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format":1,"platform":"p","kind":"k","data":{"options":"{}"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Skip() // a year that JSON cannot hold
		}
		if same, err := decode(again); err != nil || !same.Time.Equal(r.Time) || !reflect.DeepEqual(same.Resource, r.Resource) {
			t.Fatalf("%q decodes to %+v and that to %+v, %v", b, r, same, err)
		}
	})
}

// TestFirstRecords reads a file of the format's first writers, which had the place
// and the options among other data.
func TestFirstRecords(t *testing.T) {
	r, err := decode([]byte(`{"format":1,"build":"b","time":"2026-01-02T03:04:05Z","platform":"aws","account":"1","kind":"snapshot","id":"token","data":{"region":"eu-west-1","build":"b","options":"{\"region\": \"eu-west-1\"}"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if r.Place != "eu-west-1" || string(r.Options) != `{"region":"eu-west-1"}` || r.Build != "b" {
		t.Errorf("read as %+v", r)
	}
}
