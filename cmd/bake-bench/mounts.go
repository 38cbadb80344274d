package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// A mount is one line of the kernel's table of mounts.
type mount struct {
	point  string
	fsType string
}

// mounts lists what is mounted, oldest first, in the format of proc(5),
// /proc/pid/mountinfo. On a host without that file it lists nothing.
func mounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m, ok := parseMount(lines.Text()); ok {
			all = append(all, m)
		}
	}
	return all, lines.Err()
}

// parseMount reads one line: the fifth field is the mount point, and the type
// follows a lone hyphen that ends the optional fields.
func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 5 || len(rest) < 1 {
		return mount{}, false
	}
	return mount{point: fields[4], fsType: rest[0]}, true
}

// release frees dir of what a killed tool may have left: it unmounts what is
// mounted below it, and detaches the loop devices of files in it.
func release(dir string) error {
	all, err := mounts()
	if err != nil {
		return err
	}
	var errs []error
	for _, m := range slices.Backward(all) {
		if strings.HasPrefix(m.point, dir+string(filepath.Separator)) {
			errs = append(errs, command("umount", m.point))
		}
	}
	devices, err := loopDevices(dir)
	errs = append(errs, err)
	for _, d := range devices {
		errs = append(errs, command("losetup", "--detach", d))
	}
	return errors.Join(errs...)
}

// loopDevices lists the loop devices that are backed by files below dir.
func loopDevices(dir string) ([]string, error) {
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var devices []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue // detached since it was listed
		}
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(string(data), dir+string(filepath.Separator)) {
			devices = append(devices, filepath.Join("/dev", strings.Split(f, "/")[3]))
		}
	}
	return devices, nil
}

// command runs a quick command; its error holds what it said.
func command(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
