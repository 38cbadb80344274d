package op

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"bake.build/bake/platforms"
)

// An owner is who files belong to, in the machine's numbers.
type owner struct{ uid, gid int }

// CheckOwner says whether s can name an owner: "user", "user:group", or
// numbers in their place.
func CheckOwner(s string) error {
	user, group, both := strings.Cut(s, ":")
	for _, name := range []string{user, group} {
		if strings.ContainsAny(name, ": \t\n/") || strings.HasPrefix(name, "-") {
			return fmt.Errorf("%q is not \"user\" or \"user:group\"", s)
		}
	}
	if user == "" || both && group == "" {
		return fmt.Errorf("%q is not \"user\" or \"user:group\"", s)
	}
	return nil
}

// resolveOwner finds the numbers of s, which CheckOwner accepted, in the
// machine's own tables. A user without a group belongs to the user's primary
// one. root needs no table.
func resolveOwner(ctx context.Context, m platforms.Machine, s string) (owner, error) {
	if s == "" {
		return owner{}, nil
	}
	user, group, both := strings.Cut(s, ":")
	o := owner{}
	uid, primary, err := lookup(ctx, m, "/etc/passwd", "user", user)
	if err != nil {
		return o, err
	}
	o.uid, o.gid = uid, primary
	if both {
		if o.gid, _, err = lookup(ctx, m, "/etc/group", "group", group); err != nil {
			return o, err
		}
	}
	return o, nil
}

// lookup returns the third and fourth field of name's line in a table such as
// /etc/passwd. A number stands for itself, and for its own group.
func lookup(ctx context.Context, m platforms.Machine, table, what, name string) (id, next int, err error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, n, nil
	}
	if name == "root" {
		return 0, 0, nil
	}
	text, err := readTable(ctx, m, table)
	if err != nil {
		return 0, 0, fmt.Errorf("owner: look up %s %q: %w", what, name, err)
	}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 4 || f[0] != name {
			continue
		}
		id, err = strconv.Atoi(f[2])
		if err != nil {
			return 0, 0, fmt.Errorf("owner: look up %s %q: %w", what, name, err)
		}
		// The fourth field is a number in passwd only.
		next, _ = strconv.Atoi(f[3])
		return id, next, nil
	}
	return 0, 0, fmt.Errorf("owner: the machine has no %s %q", what, name)
}

// readTable is readFile that follows links, as the machine's own programs do.
func readTable(ctx context.Context, m platforms.Machine, table string) (string, error) {
	const most = 10
	name := table
	for range most {
		text, link, err := readFile(ctx, m, name)
		if err != nil || link == "" {
			return text, err
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(name), link)
		}
		name = path.Clean(link)
	}
	return "", fmt.Errorf("%s: too many symbolic links", table)
}

// readFile returns the content of a small file of the machine, or where the
// symbolic link of that name leads.
func readFile(ctx context.Context, m platforms.Machine, path string) (text, link string, err error) {
	const most = 4 << 20
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := m.Read(ctx, path, pw)
		pw.CloseWithError(err)
		done <- err
	}()
	text, link, err = firstFile(tar.NewReader(bufio.NewReader(pr)), path, most)
	if err == nil {
		_, err = io.Copy(io.Discard, pr)
	}
	pr.CloseWithError(err)
	return text, link, errors.Join(err, ignorePipe(<-done, err))
}

// ignorePipe drops the reader's error when it only repeats why reading ended.
func ignorePipe(err, why error) error {
	if errors.Is(err, why) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}

func firstFile(tr *tar.Reader, name string, most int64) (text, link string, err error) {
	h, err := tr.Next()
	switch {
	case errors.Is(err, io.EOF):
		return "", "", fmt.Errorf("%s: not a regular file", name)
	case err != nil:
		return "", "", err
	case h.Typeflag == tar.TypeSymlink:
		return "", h.Linkname, nil
	case h.Typeflag != tar.TypeReg:
		return "", "", fmt.Errorf("%s: not a regular file", name)
	}
	b, err := io.ReadAll(io.LimitReader(tr, most))
	return string(b), "", err
}
