package paxattr

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The attributes that hold ACLs.
const (
	AccessACL  = "system.posix_acl_access"
	DefaultACL = "system.posix_acl_default"
)

// Tags of entries, and the id of those that have none.
const (
	tagUserObj  = 0x01
	tagUser     = 0x02
	tagGroupObj = 0x04
	tagGroup    = 0x08
	tagMask     = 0x10
	tagOther    = 0x20

	noID       = 0xffffffff
	aclVersion = 2
)

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// An IDs finds the number of a user or of a group.
type IDs func(name string, group bool) (uint32, error)

// parseACL reads an ACL in its text form: entries such as "user:ann:rw-",
// "g:100:r", "mask::rwx", "other:r--" or, as bsdtar writes them,
// "user:ann:rw-:1000". The result is nil for a text without entries.
func parseACL(text string, ids IDs) ([]byte, error) {
	var list []aclEntry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == ',' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		e, err := parseEntry(line, ids)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", line, err)
		}
		list = append(list, e)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return encodeACL(withMask(list)), nil
}

func parseEntry(line string, ids IDs) (e aclEntry, err error) {
	fields := strings.Split(line, ":")
	if fields[0] == "default" || fields[0] == "d" {
		fields = fields[1:]
	}
	if len(fields) == 2 && fields[0] != "" {
		fields = []string{fields[0], "", fields[1]} // "other:r--", "mask:rwx"
	}
	if len(fields) < 3 {
		return e, errors.New("want a tag, a name and permissions")
	}
	name, group := strings.TrimSpace(fields[1]), false
	switch e.id = noID; fields[0] {
	case "user", "u":
		e.tag = tagUserObj
		if name != "" {
			e.tag = tagUser
		}
	case "group", "g":
		e.tag, group = tagGroupObj, true
		if name != "" {
			e.tag = tagGroup
		}
	case "mask", "m":
		e.tag, name = tagMask, ""
	case "other", "o":
		e.tag, name = tagOther, ""
	default:
		return e, errors.New("unknown tag")
	}
	for _, c := range strings.TrimSpace(fields[2]) {
		bit, ok := map[rune]uint16{'r': 4, 'w': 2, 'x': 1, '-': 0}[c]
		if !ok {
			return e, fmt.Errorf("unknown permission %q", c)
		}
		e.perm |= bit
	}
	if name == "" {
		return e, nil
	}
	number := name
	if len(fields) > 3 {
		number = strings.TrimSpace(fields[3])
	}
	if n, err := strconv.ParseUint(number, 10, 32); err == nil {
		e.id = uint32(n)
		return e, nil
	}
	e.id, err = ids(name, group)
	return e, err
}

// withMask adds the mask that an ACL with names has to have.
func withMask(list []aclEntry) []aclEntry {
	mask := aclEntry{tag: tagMask, id: noID}
	named := false
	for _, e := range list {
		switch e.tag {
		case tagMask:
			return list
		case tagUser, tagGroup:
			named = true
			mask.perm |= e.perm
		case tagGroupObj:
			mask.perm |= e.perm
		}
	}
	if named {
		list = append(list, mask)
	}
	return list
}

func encodeACL(list []aclEntry) []byte {
	slices.SortFunc(list, func(a, b aclEntry) int { return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id)) })
	b := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

func decodeACL(v []byte) ([]aclEntry, error) {
	if len(v) < 4 || (len(v)-4)%8 != 0 || binary.LittleEndian.Uint32(v) != aclVersion {
		return nil, errors.New("not an access control list of version 2")
	}
	var list []aclEntry
	for v = v[4:]; len(v) > 0; v = v[8:] {
		list = append(list, aclEntry{binary.LittleEndian.Uint16(v), binary.LittleEndian.Uint16(v[2:]), binary.LittleEndian.Uint32(v[4:])})
	}
	return list, nil
}

// aclText writes an ACL in the form that star, GNU tar and bsdtar read, with
// numbers for names.
func aclText(v []byte) (string, error) {
	list, err := decodeACL(v)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range list {
		tag, ok := map[uint16]string{
			tagUserObj: "user", tagUser: "user", tagGroupObj: "group", tagGroup: "group", tagMask: "mask", tagOther: "other",
		}[e.tag]
		if !ok {
			return "", fmt.Errorf("access control list with the unknown tag %#x", e.tag)
		}
		id := ""
		if e.tag == tagUser || e.tag == tagGroup {
			id = strconv.FormatUint(uint64(e.id), 10)
		}
		perm := []byte("---")
		for i, c := range []byte("rwx") {
			if e.perm&(4>>i) != 0 {
				perm[i] = c
			}
		}
		fmt.Fprintf(&b, "%s:%s:%s\n", tag, id, perm)
	}
	return b.String(), nil
}

// ModeWithout returns the permission bits of a file whose access ACL is lost:
// nobody may do more than by the ACL. mode are those with it, in which the
// group's bits are the ACL's mask.
func ModeWithout(mode uint32, acl []byte) (uint32, error) {
	list, err := decodeACL(acl)
	if err != nil {
		return 0, err
	}
	for _, e := range list {
		if e.tag == tagGroupObj {
			mode &^= 0o070 &^ (uint32(e.perm) << 3)
		}
	}
	return mode, nil
}
