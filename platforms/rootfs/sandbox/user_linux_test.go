package sandbox

import (
	"slices"
	"testing"
)

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nbroken line\nbad:x:y:z::/:\nann:x:1000:1000::/home/ann:/bin/sh\n123:x:7:8::/n:\n"
	groups = "root:x:0:\nann:x:1000:\nstaff:x:50:bob,ann\naudio:x:29:ann\nwheel:x:10:annabel\n\n:::"
)

func TestResolveUser(t *testing.T) {
	for _, tt := range []struct {
		spec     string
		uid, gid uint32
		groups   []uint32
		home     string
		fails    bool
	}{
		{spec: "", groups: []uint32{0}, home: "/root"},
		{spec: "ann", uid: 1000, gid: 1000, groups: []uint32{1000, 50, 29}, home: "/home/ann"},
		{spec: "1000", uid: 1000, gid: 1000, groups: []uint32{1000, 50, 29}, home: "/home/ann"},
		{spec: "ann:staff", uid: 1000, gid: 50, groups: []uint32{50}, home: "/home/ann"},
		{spec: "ann:77", uid: 1000, gid: 77, groups: []uint32{77}, home: "/home/ann"},
		{spec: "4000000000", uid: 4000000000, groups: []uint32{0}, home: "/"},
		{spec: "5:6", uid: 5, gid: 6, groups: []uint32{6}, home: "/"},
		{spec: "123", uid: 7, gid: 8, groups: []uint32{8}, home: "/n"},
		{spec: "bob", fails: true}, {spec: "ann:nogroup", fails: true}, {spec: "ann:", fails: true},
		{spec: ":0", fails: true}, {spec: "5000000000", fails: true}, {spec: "-1", fails: true}, {spec: "bad", fails: true},
	} {
		a, err := resolveUser(tt.spec, passwd, groups)
		if tt.fails {
			if err == nil {
				t.Errorf("%q: got %+v, want an error", tt.spec, a)
			}
			continue
		}
		if err != nil || a.uid != tt.uid || a.gid != tt.gid || !slices.Equal(a.groups, tt.groups) || a.home != tt.home {
			t.Errorf("%q: got %+v, %v; want %+v", tt.spec, a, err, tt)
		}
	}
	if a, err := resolveUser("", "", ""); err != nil || a.home != "/root" {
		t.Errorf("an image without users: %+v, %v", a, err)
	}
}

func FuzzResolveUser(f *testing.F) {
	f.Add("ann:staff", passwd, groups)
	f.Add("1000", passwd, groups)
	f.Fuzz(func(t *testing.T, spec, passwd, groups string) {
		a, err := resolveUser(spec, passwd, groups)
		if err == nil && len(a.groups) == 0 {
			t.Errorf("%q has no group", spec)
		}
	})
}
