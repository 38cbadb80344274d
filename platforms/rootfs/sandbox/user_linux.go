package sandbox

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// An account is who a command runs as.
type account struct {
	uid, gid uint32
	groups   []uint32
	home     string
	name     string
}

// maxDatabase bounds what is read of /etc/passwd and /etc/group, which are the
// image's.
const maxDatabase = 16 << 20

// lookupUser resolves "name", "name:group", "uid" or "uid:gid" with the image's
// own databases. "" is root, which needs none.
func lookupUser(spec string) (account, error) {
	passwd, err := readDatabase("/etc/passwd")
	if err != nil {
		return account{}, err
	}
	group, err := readDatabase("/etc/group")
	if err != nil {
		return account{}, err
	}
	return resolveUser(spec, passwd, group)
}

func resolveUser(spec string, passwd, group string) (account, error) {
	if spec == "" {
		spec = "0"
	}
	user, groupSpec, hasGroup := strings.Cut(spec, ":")
	a, err := findAccount(user, passwd)
	if err != nil {
		return account{}, err
	}
	if hasGroup {
		gid, err := findGroup(groupSpec, group)
		if err != nil {
			return account{}, err
		}
		a.gid = gid
		a.groups = []uint32{gid}
		return a, nil
	}
	a.groups = append([]uint32{a.gid}, memberships(a.name, a.gid, group)...)
	return a, nil
}

func findAccount(user, passwd string) (account, error) {
	number, numErr := strconv.ParseUint(user, 10, 32)
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 6 || f[0] != user && (numErr != nil || f[2] != user) {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		return account{uid: uint32(uid), gid: uint32(gid), home: f[5], name: f[0]}, nil
	}
	if numErr != nil {
		return account{}, fmt.Errorf("find user %q: not in the image's /etc/passwd", user)
	}
	a := account{uid: uint32(number), home: "/"}
	if number == 0 {
		a.home, a.name = "/root", "root"
	}
	return a, nil
}

func findGroup(group, database string) (uint32, error) {
	for line := range strings.Lines(database) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 3 || f[0] != group {
			continue
		}
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil {
			return uint32(gid), nil
		}
	}
	gid, err := strconv.ParseUint(group, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("find group %q: not in the image's /etc/group", group)
	}
	return uint32(gid), nil
}

// memberships returns the groups beside gid that name the user as a member.
func memberships(name string, gid uint32, database string) []uint32 {
	var gids []uint32
	for line := range strings.Lines(database) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 4 || name == "" {
			continue
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || uint32(id) == gid {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			if member == name {
				gids = append(gids, uint32(id))
				break
			}
		}
	}
	return gids
}

// readDatabase reads a file of the image, which may be anything. A missing one
// is empty.
func readDatabase(name string) (string, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if os.IsNotExist(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return "", fmt.Errorf("read %s: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDatabase))
	return string(b), err
}
