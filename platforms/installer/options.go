package installer

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/iso"
)

// Options are the options of source() that say how an installer is driven. A
// hypervisor embeds them in its own.
type Options struct {
	BootCommand    []string        `bake:"boot_command" json:"boot_command,omitempty" help:"Keys typed at the installer's boot menu. Names in angle brackets are keys, such as <enter>, <esc>, <tab>, <f2> or <leftCtrl+x>; <leftCtrlOn> holds a key down until <leftCtrlOff>; <wait>, <wait5> or <wait1m30s> pauses; <http> is the address of the folder http. iso only."`
	BootWait       string          `bake:"boot_wait,duration" json:"boot_wait,omitempty" help:"Delay between the start of the machine and the typing. iso only." default:"10s"`
	HTTP           platforms.Files `bake:"http" json:"http,omitempty" help:"Files served to the installer, and to nobody else, over HTTP: a folder, a file, the content of files by their names ({\"preseed.cfg\": text}), or a list of these. iso only."`
	CDFiles        platforms.Files `bake:"cd_files" json:"cd_files,omitempty" help:"Files on a second CD: a file, the content of a folder, the content of files by their names ({\"user-data\": text, \"meta-data\": \"\"}), or a list of these. iso only."`
	CDLabel        string          `bake:"cd_label" json:"cd_label,omitempty" help:"The label of the second CD. iso only." default:"cidata"`
	FloppyFiles    string          `bake:"floppy_files,path" json:"floppy_files,omitempty" help:"A folder offered to the installer as a floppy disk. iso only."`
	InstallTimeout string          `bake:"install_timeout,duration" json:"install_timeout,omitempty" help:"Time limit of the installation. iso only." default:"1h"`
}

// Check says what is wrong with the options for an origin of the kind, "iso" or
// another; paths are those of the origin.
func (o Options) Check(platform, kind string, paths map[string]string) error {
	for _, c := range []struct {
		name  string
		given bool
	}{
		{"boot_command", len(o.BootCommand) > 0},
		{"boot_wait", o.BootWait != ""},
		{"http", o.HTTP != nil || paths["http"] != ""},
		{"cd_files", o.CDFiles != nil || paths["cd_files"] != ""},
		{"cd_label", o.CDLabel != ""},
		{"floppy_files", o.FloppyFiles != "" || paths["floppy_files"] != ""},
		{"install_timeout", o.InstallTimeout != ""},
	} {
		if c.given && kind != "iso" && strings.HasPrefix(c.name, "boot_") {
			return fmt.Errorf("origin %s: the option %s is for installers: give it to %s(…), which types it at each start of a machine", kind, c.name, platform)
		}
		if c.given && kind != "iso" {
			return fmt.Errorf("origin %s: the option %s means nothing here", kind, c.name)
		}
	}
	if o.FloppyFiles != "" && paths["floppy_files"] == "" {
		return fmt.Errorf("option floppy_files: want a local path, not %q", o.FloppyFiles)
	}
	_, err := ParseKeys(o.BootCommand, "http://10.0.2.2/")
	return err
}

// Timeout returns how long the installation may take.
func (o Options) Timeout() (time.Duration, error) {
	d, err := durationOr(o.InstallTimeout, time.Hour)
	if err != nil {
		return 0, fmt.Errorf("option install_timeout: %w", err)
	}
	return d, nil
}

// CD makes the second CD as an ISO image in dir and returns its path, or "" where
// none is asked for. from is the origin that the options are of.
func (o Options) CD(from platforms.Origin, dir string) (path string, err error) {
	paths := from.PathsOf("cd_files")
	if len(paths)+len(o.CDFiles) == 0 {
		return "", nil
	}
	path = filepath.Join(dir, "files.iso")
	if err := o.writeCD(path, paths); err != nil {
		return "", fmt.Errorf("option cd_files: %w", err)
	}
	return path, nil
}

func (o Options) writeCD(path string, paths []string) error {
	files, err := filesOf(paths, o.CDFiles)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(iso.Write(f, cmp.Or(o.CDLabel, "cidata"), files), f.Close())
}

// BootWait reads the option boot_wait: how long after a start of a machine the
// typing begins.
func BootWait(text string) (time.Duration, error) {
	d, err := durationOr(text, 10*time.Second)
	if err != nil {
		return 0, fmt.Errorf("option boot_wait: %w", err)
	}
	return d, nil
}

func durationOr(text string, d time.Duration) (time.Duration, error) {
	if text == "" {
		return d, nil
	}
	return platforms.ParseDuration(text)
}
