package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zlib"

	"bake.build/bake/internal/blocks"
	"bake.build/bake/runtime/export"
	"bake.build/bake/runtime/plan"
)

// The disk whose OVA is measured, in bytes.
const (
	ovaDisk = 2 << 30
	ovaData = 1 << 30
)

// measureOVA writes a disk as an OVA, against deflating its data on all CPUs and against
// qemu-img, tar and sha256sum.
func measureOVA(ctx context.Context, b *bench) ([]row, error) {
	const n = 3
	dir, err := b.subdir("ova")
	if err != nil {
		return nil, err
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := writeOVADisk(disk); err != nil {
		return nil, err
	}
	var ova, deflate, peer []float64
	var memory int64
	for i := range n {
		b.logf("an OVA, deflate alone, and qemu-img with tar and sha256sum: run %d", i+1)
		for _, m := range []struct {
			times *[]float64
			run   func() error
		}{
			{&deflate, func() error { return deflateDisk(ctx, disk) }},
			{&ova, func() error {
				r := export.Request{Op: &export.Op{Name: "web"}, Key: plan.Key{1}, Formats: export.Formats(), Disk: disk}
				return export.WriteFormat(ctx, r, "ova", filepath.Join(dir, "web.ova"))
			}},
			{&peer, func() error { return peerOVA(ctx, dir) }},
		} {
			forgetPeak()
			begin := time.Now()
			if err := m.run(); err != nil {
				return nil, err
			}
			if m.times == &ova {
				memory = max(memory, ownPeak())
			}
			*m.times = append(*m.times, time.Since(begin).Seconds())
			for _, name := range []string{"web.ova", "peer.vmdk", "peer.ova"} {
				if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
					return nil, err
				}
			}
		}
	}
	got := median(ova)
	return []row{
		row{Name: "OVA of 2 GiB with 1 GiB of data", Got: got, Unit: "s", Runs: n, Than: "deflate on all CPUs alone", Base: median(deflate), Limit: 1.25}.finish(),
		row{Name: "  the same", Got: got, Unit: "s", Runs: n, Than: "qemu-img, tar and sha256sum", Base: median(peer), Limit: 1}.finish(),
		row{Name: "  peak memory", Got: mib(memory), Unit: "MiB", Limit: 128}.finish(),
	}, nil
}

// writeOVADisk writes a disk whose data compress about as a system's do.
func writeOVADisk(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{})
	block := make([]byte, 1<<20)
	for range ovaData / len(block) {
		for page := range len(block) / 4096 {
			b := block[4096*page:][:4096]
			r.Read(b[:1500]) // which never fails
			copy(b[1500:], bytes.Repeat(b[:100], 26))
		}
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	return f.Truncate(ovaDisk)
}

func deflateDisk(ctx context.Context, disk string) error {
	const grain, level = 64 << 10, 2 // as in the format
	compressor := func() (blocks.Compressor, error) {
		z, err := zlib.NewWriterLevel(io.Discard, level)
		return func(dst *bytes.Buffer, src []byte) error {
			z.Reset(dst)
			if _, err := z.Write(src); err != nil {
				return err
			}
			return z.Close()
		}, err
	}
	return blocks.Each(ctx, disk, ovaDisk, grain, compressor, func(int64, []byte) error { return nil })
}

func peerOVA(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "sh", "-ec", `qemu-img convert -f raw -O vmdk -o subformat=streamOptimized disk.raw peer.vmdk
sha256sum peer.vmdk >peer.mf
tar -cf peer.ova peer.mf peer.vmdk`)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("qemu-img: %w: %s", err, out)
	}
	return nil
}
