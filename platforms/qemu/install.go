package qemu

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"bake.build/bake/internal/regular"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/image/iso"
)

// installDisk is the size of the disk that an installer gets when none is asked
// for.
const installDisk = 8 << 30

// install lets an installer fill the disk of a first layer.
func (d *driver) install(ctx context.Context, opts Origin, o platforms.Origin, path, dir string, out platforms.Sink) (err error) {
	wait, err := durationOr(opts.BootWait, 10*time.Second)
	if err != nil {
		return fmt.Errorf("option boot_wait: %w", err)
	}
	limit, err := durationOr(opts.InstallTimeout, time.Hour)
	if err != nil {
		return fmt.Errorf("option install_timeout: %w", err)
	}
	s := d.settings
	s.resume = false
	m, err := d.newMachine(ctx, s, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	if err := createImage(ctx, filepath.Join(dir, diskName(0)), cmp.Or(s.diskSize, installDisk)); err != nil {
		return err
	}
	if err := d.addDisks(ctx, dir); err != nil {
		return err
	}
	for i := range 1 + len(s.disks) {
		m.hw.overlays = append(m.hw.overlays, overlay(fmt.Sprintf("disk%d", i), filepath.Join(dir, diskName(i)), nil))
	}
	m.hw.install = &media{cds: []string{path}, floppy: o.Paths["floppy_files"]}
	if files := o.Paths["cd_files"]; files != "" {
		cd := filepath.Join(m.dir, "files.iso")
		if err := writeCD(cd, cmp.Or(opts.CDLabel, "cidata"), files); err != nil {
			return fmt.Errorf("option cd_files: %w", err)
		}
		m.hw.install.cds = append(m.hw.install.cds, cd)
	}
	if m.hw.firmware.uefi {
		if err := m.hw.firmware.copyTo(m.dir, dir); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the installer has not ended within %v", limit))
	defer cancel()
	if err := m.runInstaller(ctx, opts, o.Paths["http"], wait, out); err != nil {
		if m.vm != nil {
			return fmt.Errorf("%w%s", err, tailText(m.vm.console.tail()))
		}
		return err
	}
	if m.hw.firmware.uefi {
		return copyFile(filepath.Join(dir, varsName), filepath.Join(m.dir, varsName))
	}
	return nil
}

func durationOr(text string, d time.Duration) (time.Duration, error) {
	if text == "" {
		return d, nil
	}
	return platforms.ParseDuration(text)
}

// runInstaller starts the machine, types, and waits until it shuts down.
func (m *machine) runInstaller(ctx context.Context, opts Origin, folder string, wait time.Duration, out platforms.Sink) (err error) {
	address := "http://10.0.2.2/"
	if folder != "" {
		server, err := serve(folder)
		if err != nil {
			return fmt.Errorf("option http: %w", err)
		}
		defer func() { err = errors.Join(err, server.close()) }()
		address = server.address
	}
	strokes, err := parseKeys(opts.BootCommand, address)
	if err != nil {
		return err
	}
	if err := m.start(ctx); err != nil {
		return err
	}
	m.vm.console.follow(out)
	if err := m.vm.qmp.Run(ctx, "cont", nil, nil); err != nil {
		return err
	}
	if len(strokes) > 0 {
		out.Progress("wait for the boot menu", 0, 0)
		if err := m.vm.rest(ctx, wait); err != nil {
			return err
		}
		out.Progress("type the boot command", 0, 0)
		if err := m.vm.typeKeys(ctx, strokes); err != nil {
			return err
		}
	}
	out.Progress("install", 0, 0)
	return m.vm.awaitEnd(ctx)
}

// rest waits while the machine goes on.
func (v *vm) rest(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-v.ended:
		return v.alive()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// A fileServer serves a folder to a guest. It listens on the loopback of this
// host, which the guest sees as 10.0.2.2; that nobody else reads the files, their
// path begins with a word that only the guest is told.
type fileServer struct {
	address string // of the folder for the guest, with a slash at the end
	http    *http.Server
	ended   chan error
}

func serve(folder string) (*fileServer, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	token := strings.ToLower(rand.Text()[:12]) // typed by keys
	mux := http.NewServeMux()
	mux.Handle("/"+token+"/", http.StripPrefix("/"+token, http.FileServerFS(root.FS())))
	s := &fileServer{
		address: fmt.Sprintf("http://10.0.2.2:%d/%s/", l.Addr().(*net.TCPAddr).Port, token),
		http:    &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute},
		ended:   make(chan error, 1),
	}
	go func() { s.ended <- errors.Join(ignoreServerClosed(s.http.Serve(l)), root.Close()) }()
	return s, nil
}

func ignoreServerClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (s *fileServer) close() error { return errors.Join(s.http.Close(), <-s.ended) }

// writeCD makes an ISO image of a file or of what a folder holds.
func writeCD(dst, label, src string) (err error) {
	files, err := cdFiles(src)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(dst, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(iso.Write(f, label, files), f.Close())
}

func cdFiles(src string) ([]iso.File, error) {
	fi, err := os.Stat(src)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		if err := regular.Check(fi); err != nil {
			return nil, fmt.Errorf("%s: %w", src, err)
		}
		return []iso.File{onDisk(filepath.Base(src), src, fi.Size())}, nil
	}
	var files []iso.File
	err = filepath.WalkDir(src, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := regular.Check(info); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		name, err := filepath.Rel(src, path)
		files = append(files, onDisk(filepath.ToSlash(name), path, info.Size()))
		return err
	})
	return files, err
}

func onDisk(name, path string, size int64) iso.File {
	return iso.File{Name: name, Size: size, Open: func() (io.ReadCloser, error) { return regular.Open(path) }}
}
