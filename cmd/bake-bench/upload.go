package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	xssh "golang.org/x/crypto/ssh"

	"bake.build/bake/internal/tool"
	"bake.build/bake/platforms/ssh"
)

// The size of what is uploaded: one file, and a tree of small ones.
const (
	uploadSize  = 20 << 20
	uploadFiles = 10_000
	uploadEach  = 1 << 10
)

// measureUpload compares how files get into a machine: bake's way, scp and
// Packer's file provisioner, all to the same SSH server of this host.
func measureUpload(ctx context.Context, b *bench) ([]row, error) {
	if err := lookTools("sshd", "scp", "ssh-keygen"); err != nil {
		return nil, err
	}
	dir, err := b.subdir("upload")
	if err != nil {
		return nil, err
	}
	s, err := startSSHD(dir)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	if err := stageJob(dir); err != nil {
		return nil, err
	}
	if err := stageUploads(dir); err != nil {
		return nil, err
	}
	if _, err := b.subdir("packer.tmp"); err != nil {
		return nil, err
	}
	var rows []row
	for _, what := range []struct{ name, source string }{
		{"upload of 20 MiB", "one"}, {"upload of 10,000 files", "many"},
	} {
		b.logf("%s", what.name)
		var bake, scp []usage
		for i := range 3 { // in turns
			took, err := s.byBake(ctx, what.source, fmt.Sprintf("bake-%d", i))
			if err != nil {
				return rows, err
			}
			bake = append(bake, usage{wall: took})
			u, err := s.scp(what.source, fmt.Sprintf("scp-%d", i)).run(ctx)
			if err != nil {
				return rows, err
			}
			scp = append(scp, u)
		}
		got := medianSeconds(bake)
		rows = append(rows, row{Name: what.name, Got: got, Unit: "s", Runs: len(bake), Than: "scp -r", Base: medianSeconds(scp), Limit: 1}.finish())
		if b.skipPeers {
			continue
		}
		if err := lookTools("packer"); err != nil {
			return rows, err
		}
		u, err := s.packer(b, what.source).run(ctx)
		if err != nil {
			return rows, err
		}
		rows = append(rows, row{Name: "  against a file provisioner", Got: got, Unit: "s", Runs: len(bake), Than: "Packer", Base: seconds(u.wall), Limit: 0.5}.finish())
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

// An sshd is an SSH server of this host, on the loopback, for one key.
type sshd struct {
	dir   string
	port  int
	cmd   *exec.Cmd
	ended <-chan error
}

func startSSHD(dir string) (*sshd, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sshd{dir: dir, port: l.Addr().(*net.TCPAddr).Port}
	if err := l.Close(); err != nil {
		return nil, err
	}
	for _, name := range []string{"host", "key"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name)).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("ssh-keygen: %w: %s", err, out)
		}
	}
	path, err := exec.LookPath("sshd")
	if err != nil {
		path = "/usr/sbin/sshd"
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(path, "-D", "-f", "/dev/null", "-h", filepath.Join(dir, "host"), "-p", strconv.Itoa(s.port),
		"-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "StrictModes=no",
		"-o", "Subsystem=sftp internal-sftp", "-o", "AuthorizedKeysFile="+filepath.Join(dir, "key.pub"))
	if s.ended, err = tool.Start(s.cmd); err != nil {
		return nil, err
	}
	for range 100 {
		c, err := net.Dial("tcp", s.address())
		if err == nil {
			return s, c.Close()
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.stop()
	return nil, errors.New("sshd does not answer")
}

func (s *sshd) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *sshd) stop() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.ended
}

// byBake uploads as a copy step does, from connecting to the end.
func (s *sshd) byBake(ctx context.Context, source, dst string) (time.Duration, error) {
	data, err := os.ReadFile(filepath.Join(s.dir, "key"))
	if err != nil {
		return 0, err
	}
	signer, err := xssh.ParsePrivateKey(data)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	m, err := ssh.Connect(ctx, ssh.Config{Address: s.address(), Signers: []xssh.Signer{signer}}, nobody{})
	if err != nil {
		return 0, err
	}
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		w.CloseWithError(errors.Join(tw.AddFS(os.DirFS(filepath.Join(s.dir, source))), tw.Close()))
	}()
	err = m.Write(ctx, filepath.Join(s.dir, dst+"-"+source), r)
	took := time.Since(begin)
	return took, errors.Join(err, r.Close(), m.Close())
}

// nobody is told of progress.
type nobody struct{}

func (nobody) Write(p []byte) (int, error)   { return len(p), nil }
func (nobody) Progress(string, int64, int64) {}

func (s *sshd) scp(source, dst string) *child {
	return &child{
		args: []string{"scp", "-q", "-r", "-P", strconv.Itoa(s.port), "-i", "key", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			source, "root@127.0.0.1:" + filepath.Join(s.dir, dst+"-"+source)},
		dir: s.dir, log: s.dir + ".scp.log",
	}
}

func (s *sshd) packer(b *bench, source string) *child {
	return &child{
		args: []string{"packer", "build", "-color=false", "-var", "port=" + strconv.Itoa(s.port), "-var", "source=" + source + "/",
			"-var", "destination=" + filepath.Join(s.dir, "packer-"+source), filepath.Join(b.path("upload"), "upload-packer.json")},
		dir: s.dir, env: packerEnv(b.path("packer.tmp")), log: s.dir + ".packer.log",
	}
}
