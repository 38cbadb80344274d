package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// The size of what is uploaded: one file, and a tree of small ones.
const (
	uploadSize  = 20 << 20
	uploadFiles = 10_000
	uploadEach  = 1 << 10
)

// measureUpload compares how files get into a virtual machine: bake's copy step
// with the commit of its layer, scp, and Packer's file provisioner. The machines
// are alike, and have started before.
func measureUpload(ctx context.Context, b *bench) ([]row, error) {
	if err := lookTools("scp", "ssh"); err != nil {
		return nil, err
	}
	dir, err := b.machineJob(ctx)
	if err != nil {
		return nil, err
	}
	if err := stageUploads(dir); err != nil {
		return nil, err
	}
	b.logf("bake uploads")
	p := project{bake: b.bake, dir: dir, store: dir + ".uploads"}
	took, err := stepTimes(ctx, p, "uploads.star")
	if err != nil {
		return nil, err
	}
	vm, err := startTarget(ctx, b, dir)
	if err != nil {
		return nil, err
	}
	defer vm.stop()
	var rows []row
	for _, what := range []struct{ name, source string }{
		{"upload of 20 MiB, with its layer", "one"}, {"upload of 10,000 files, with their layer", "many"},
	} {
		got := medianOf(took(what.source + " "))
		b.logf("%s by scp", what.name)
		scp, err := vm.scp(what.source).run(ctx)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{Name: what.name, Got: got, Unit: "s", Runs: 3, Than: "scp -r", Base: seconds(scp.wall), Limit: 1}.finish())
		if b.skipPeers {
			continue
		}
		if err := lookTools("packer"); err != nil {
			return rows, err
		}
		b.logf("%s by Packer", what.name)
		tmp, err := b.subdir("packer.tmp")
		if err != nil {
			return rows, err
		}
		u, err := vm.packer(tmp, what.source).run(ctx)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{Name: "  against a file provisioner", Got: got, Unit: "s", Runs: 3, Than: "Packer", Base: seconds(u.wall), Limit: 0.5}.finish())
	}
	return rows, nil
}

// stageUploads makes what is uploaded.
func stageUploads(dir string) error {
	if err := writeNoise(filepath.Join(dir, "one", "file"), uploadSize); err != nil {
		return err
	}
	for i := range uploadFiles {
		path := filepath.Join(dir, "many", strconv.Itoa(i/100), fmt.Sprintf("file-%d", i))
		if i%100 == 0 {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return err
			}
		}
		if err := os.WriteFile(path, make([]byte, uploadEach), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// A target is a machine that other tools upload to, by its forwarded SSH port.
type target struct {
	dir  string
	port int
	stop func()
}

// startTarget boots the disk that machines start from and waits for its SSH
// server.
func startTarget(ctx context.Context, b *bench, dir string) (*target, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &target{dir: dir, port: l.Addr().(*net.TCPAddr).Port}
	if err := l.Close(); err != nil {
		return nil, err
	}
	running, cancel := context.WithCancel(ctx)
	c := project{bake: b.bake, dir: dir, store: dir + ".target"}.command("run", filepath.Join("out", "base", "base.qcow2"),
		"--memory=1G", "--cpus=2", fmt.Sprintf("--forward=%d:22", t.port))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.run(running) // it runs until it is stopped
	}()
	t.stop = func() { cancel(); <-ended }
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		if _, err := (&child{args: t.ssh("ssh", "-p", "root@127.0.0.1", "true"), dir: dir}).run(ctx); err == nil {
			return t, nil
		} else if ctx.Err() != nil {
			break
		}
	}
	t.stop()
	return nil, errors.Join(ctx.Err(), errors.New("the machine to upload to does not answer"))
}

// ssh returns the command line of a program of OpenSSH.
func (t *target) ssh(program, portFlag string, args ...string) []string {
	return append([]string{program, "-q", portFlag, strconv.Itoa(t.port), "-i", "key", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}, args...)
}

func (t *target) scp(source string) *child {
	return &child{args: t.ssh("scp", "-P", "-r", source, "root@127.0.0.1:/srv/scp-"+source), dir: t.dir, log: t.dir + ".scp.log"}
}

func (t *target) packer(tmp, source string) *child {
	return &child{
		args: []string{"packer", "build", "-color=false", "-var", "port=" + strconv.Itoa(t.port), "-var", "source=" + source + "/",
			"-var", "destination=/srv/packer-" + source, filepath.Join(t.dir, "upload-packer.json")},
		dir: t.dir, env: packerEnv(tmp), log: t.dir + ".packer.log",
	}
}
