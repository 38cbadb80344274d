package paxattr

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Prefixes of the records.
const (
	schilyXattr     = "SCHILY.xattr."
	libarchiveXattr = "LIBARCHIVE.xattr."
	schilyAccess    = "SCHILY.acl.access"
	schilyDefault   = "SCHILY.acl.default"
	schilyNFS4      = "SCHILY.acl.ace"
	redhatSELinux   = "RHT.security.selinux"
)

// Portable reports whether the extended attribute has a meaning outside of the
// file system and the host that it was read on: file capabilities, ACLs and
// what users set. Those of overlayfs and of security modules have none.
func Portable(name string) bool {
	switch name {
	case "security.capability", AccessACL, DefaultACL:
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// Set adds the records of an attribute; an ACL gets its text form as well,
// which is the one that GNU tar restores. records may be nil; the one with the
// additions is returned.
func Set(records map[string]string, name string, value []byte) (map[string]string, error) {
	if records == nil {
		records = map[string]string{}
	}
	records[schilyXattr+name] = string(value)
	key := map[string]string{AccessACL: schilyAccess, DefaultACL: schilyDefault}[name]
	if key == "" {
		return records, nil
	}
	text, err := aclText(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	records[key] = text
	return records, nil
}

// Remove removes the records of an attribute.
func Remove(records map[string]string, name string) {
	delete(records, schilyXattr+name)
	delete(records, map[string]string{AccessACL: schilyAccess, DefaultACL: schilyDefault}[name])
}

// An Attr is an extended attribute.
type Attr struct {
	Name  string
	Value []byte
}

// Attrs returns the attributes that records hold, sorted by name. What has more
// than one form is taken from the first of: the bytes, libarchive's form, the
// text. others are what has no name among the attributes of Linux, as archives
// of other systems have it.
func Attrs(records map[string]string, ids IDs) (list []Attr, others []string, err error) {
	found := map[string][]byte{}
	for key, value := range records {
		if name, ok := strings.CutPrefix(key, libarchiveXattr); ok {
			if name, err = url.PathUnescape(name); err != nil {
				return nil, nil, fmt.Errorf("attribute %q: %w", key, err)
			}
			v, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, nil, fmt.Errorf("attribute %q: %w", key, err)
			}
			found[name] = v
		}
	}
	for key, value := range records {
		if name, ok := strings.CutPrefix(key, schilyXattr); ok {
			found[name] = []byte(value)
		}
	}
	for key, name := range map[string]string{schilyAccess: AccessACL, schilyDefault: DefaultACL} {
		text, is := records[key]
		if _, known := found[name]; known || !is {
			continue
		}
		acl, err := parseACL(text, ids)
		if err != nil {
			return nil, nil, fmt.Errorf("access control list: %w", err)
		}
		if acl != nil {
			found[name] = acl
		}
	}
	if _, is := records[redhatSELinux]; is {
		others = append(others, "security.selinux")
	}
	if _, is := records[schilyNFS4]; is {
		others = append(others, "NFSv4 access control lists")
	}
	for name, value := range found {
		list = append(list, Attr{name, value})
	}
	slices.SortFunc(list, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	return list, others, nil
}
