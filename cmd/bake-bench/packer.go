package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// packer is Packer with its qemu builder.
type packer struct{ b *bench }

// notePacker says below the table how Packer runs.
func (b *bench) notePacker() {
	b.note("Packer runs under software emulation (TCG, 2 virtual CPUs), from a prepared disk that has Debian, the kernel and ssh")
}

func (p *packer) check() error {
	return lookTools("packer", "qemu-system-x86_64", "qemu-img", "ssh-keygen")
}

func (p *packer) build(ctx context.Context, dir string) (usage, error) {
	if err := stageJob(dir); err != nil {
		return usage{}, err
	}
	if err := p.prepare(ctx, dir); err != nil {
		return usage{}, fmt.Errorf("prepare the disk to start from: %w", err)
	}
	p.b.logf("packer builds the golden image: two or three minutes under software emulation")
	return p.run(ctx, dir, dir, "packer.json", filepath.Join("packed", "golden.qcow2"))
}

// run runs Packer with a template of the directory from, which has to make the
// image there.
func (p *packer) run(ctx context.Context, from, dir, template, image string) (usage, error) {
	tmp, err := p.b.subdir("packer.tmp")
	if err != nil {
		return usage{}, err
	}
	c := &child{
		args: []string{"packer", "build", "-color=false", template},
		dir:  from,
		env:  packerEnv(tmp),
		log:  dir + ".log",
	}
	u, err := c.run(ctx)
	if err != nil {
		return usage{}, err
	}
	if _, err := os.Stat(filepath.Join(from, image)); err != nil {
		return usage{}, fmt.Errorf("packer made no image: %w", err)
	}
	return u, nil
}

// packerEnv keeps what Packer writes below tmp.
func packerEnv(tmp string) []string {
	return []string{
		"CHECKPOINT_DISABLE=1", // asks nobody for newer versions
		"PACKER_LOG=",
		"PACKER_CACHE_DIR=" + filepath.Join(tmp, "cache"),
		"PACKER_CONFIG_DIR=" + tmp,
		"TMPDIR=" + tmp,
	}
}

// prepare makes an ssh key and the disk that Packer starts from. bake makes the
// disk, of the layers that the golden image starts from.
func (p *packer) prepare(ctx context.Context, dir string) error {
	g, err := p.b.goldenImage(ctx)
	if err != nil {
		return err
	}
	p.b.logf("bake prepares the disk that packer starts from")
	keygen := &child{args: []string{"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bake-bench", "-f", "key"}, dir: dir, log: dir + ".keygen.log"}
	if _, err := keygen.run(ctx); err != nil {
		return err
	}
	build := project{bake: p.b.bake, dir: dir, store: g.store}.command("build", "base.star", "--progress=plain", "--out", filepath.Join(dir, "out"))
	if _, err := build.run(ctx); err != nil {
		return err
	}
	disk := filepath.Join(dir, "out", "base", "base.qcow2")
	if _, err := os.Stat(disk); err != nil {
		return errors.Join(errors.New("bake wrote no disk"), err)
	}
	return nil
}
