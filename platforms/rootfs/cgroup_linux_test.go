package rootfs

import (
	"fmt"
	"os"
	"slices"
	"testing"
)

func TestHierarchies(t *testing.T) {
	const mounts = `25 1 0:22 / /sys/fs/cgroup ro shared:9 - tmpfs tmpfs ro,mode=755
30 25 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
32 25 0:28 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
garbage
33 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
`
	const own = "4:memory:/user.slice\n3:pids:/docker/abc/def\n2:cpu,cpuacct:/\n1:name=systemd:/\nbad\n0::/init.scope\n"
	var got []string
	for _, h := range hierarchies(mounts, own) {
		got = append(got, fmt.Sprintf("%s %t", h.own, h.v2))
	}
	want := []string{
		"/sys/fs/cgroup/unified/init.scope true",
		"/sys/fs/cgroup/memory/user.slice false",
		"/sys/fs/cgroup/pids/def false",
		"/sys/fs/cgroup/cpu,cpuacct false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRemoveStale(t *testing.T) {
	dir := t.TempDir()
	mine := fmt.Sprintf("bake-%d-%s-1", os.Getpid(), startTime(os.Getpid()))
	for _, name := range []string{mine, "bake-1-999999999999-1", fmt.Sprintf("bake-%d-1-7", os.Getpid()), "bake-x", "other"} {
		if err := os.Mkdir(dir+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	removeStale(dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{mine, "bake-x", "other"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
}

func TestFindSubIDs(t *testing.T) {
	const database = "ann:100000:65536\n# bob:1:1\nbob:200000:1000\n1001:300000:65536\nbad:x:65536\n"
	for _, tt := range []struct {
		name, uid string
		want      idRange
		ok        bool
	}{
		{"ann", "1000", idRange{100000, 65536}, true},
		{"carol", "1001", idRange{300000, 65536}, true},
		{"bob", "1002", idRange{200000, 1000}, false},
		{"bad", "1003", idRange{}, false},
		{"dora", "1004", idRange{}, false},
	} {
		if got, ok := findSubIDs(database, tt.name, tt.uid); got != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v %t, want %+v %t", tt.name, got, ok, tt.want, tt.ok)
		}
	}
}

func TestPlain(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []string{"a", "var-cache-apt", "A", "a/b", "a-b", "", "..", "a b", "é"} {
		name := plain(id)
		if other, ok := seen[name]; ok {
			t.Errorf("%q and %q share %q", id, other, name)
		}
		seen[name] = id
	}
}
