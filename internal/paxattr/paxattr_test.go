package paxattr

import (
	"errors"
	"fmt"
	"testing"
)

var errNoUser = errors.New("no such user")

func ids(name string, group bool) (uint32, error) {
	switch {
	case name == "ann" && !group:
		return 1000, nil
	case name == "web" && group:
		return 33, nil
	}
	return 0, errNoUser
}

func TestTextACL(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"GNU tar", "user::rw-\nuser:1000:rw-\ngroup::---\nmask::rw-\nother::---\n", "user::rw-\nuser:1000:rw-\ngroup::---\nmask::rw-\nother::---\n"},
		{"bsdtar", "user::rw-,group::---,other::---,user:app:rw-:1000,mask::rw-", "user::rw-\nuser:1000:rw-\ngroup::---\nmask::rw-\nother::---\n"},
		{"names", "u::rwx\nu:ann:r-x\t#effective:r--\ng::r\ng:web:w\nm::r\no::-", "user::rwx\nuser:1000:r-x\ngroup::r--\ngroup:33:-w-\nmask::r--\nother::---\n"},
		{"two fields", "user::rw-,user:ann:r--,group::r--,mask:r--,other:---", "user::rw-\nuser:1000:r--\ngroup::r--\nmask::r--\nother::---\n"},
		{"no mask", "user::rw-,user:7:r--,user:3:-w-,group::--x,other::---", "user::rw-\nuser:3:-w-\nuser:7:r--\ngroup::--x\nmask::rwx\nother::---\n"},
		{"default", "default:user::rwx\nd:group::r-x\ndefault:other::---", "user::rwx\ngroup::r-x\nother::---\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := parseACL(c.text, ids)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := aclText(v); err != nil || got != c.want {
				t.Errorf("%q, %v, want %q", got, err, c.want)
			}
		})
	}
	for _, bad := range []string{"user", "user::q", "nobody::rwx", "user:eve:r--", ":::"} {
		if _, err := parseACL(bad, ids); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestAttrs(t *testing.T) {
	records := map[string]string{
		"SCHILY.xattr.user.a":                  "schily",
		"LIBARCHIVE.xattr.user.a":              "bm90IHRoaXM",
		"LIBARCHIVE.xattr.user.b%3dc":          "AAE=",
		"SCHILY.xattr.system.posix_acl_access": "binary",
		"SCHILY.acl.access":                    "not read",
		"SCHILY.acl.default":                   "u::rwx,g::r-x,o::---",
		"SCHILY.acl.ace":                       "owner@:rwx",
		"RHT.security.selinux":                 "label",
		"path":                                 "x",
	}
	list, others, err := Attrs(records, ids)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, a := range list {
		got += fmt.Sprintf("%s=%q ", a.Name, a.Value)
	}
	want := `system.posix_acl_access="binary" ` +
		`system.posix_acl_default="\x02\x00\x00\x00\x01\x00\a\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff \x00\x00\x00\xff\xff\xff\xff" ` +
		`user.a="schily" user.b=c="\x00\x01" `
	if got != want {
		t.Errorf("attributes %s\nwant %s", got, want)
	}
	if len(others) != 2 {
		t.Errorf("others %q", others)
	}
	if _, _, err := Attrs(map[string]string{"SCHILY.acl.access": "user:eve:r--"}, ids); !errors.Is(err, errNoUser) {
		t.Errorf("unknown user: %v", err)
	}
}

func TestModeWithout(t *testing.T) {
	acl, err := parseACL("user::rw-,user:1000:rw-,group::r--,mask::rw-,other::---", ids)
	if err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[uint32]uint32{0o2660: 0o2640, 0o600: 0o600} {
		if got, err := ModeWithout(mode, acl); err != nil || got != want {
			t.Errorf("%o: %o, %v, want %o", mode, got, err, want)
		}
	}
}

func FuzzTextACL(f *testing.F) {
	f.Add("user::rw-,user:app:rw-:1000,mask::rw-")
	f.Add("default:user::rwx\nother:r--")
	f.Fuzz(func(t *testing.T, text string) {
		v, err := parseACL(text, ids)
		if err != nil || v == nil {
			return
		}
		if _, err := aclText(v); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
