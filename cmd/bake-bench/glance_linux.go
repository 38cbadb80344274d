package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"bake.build/bake/internal/testopenstack"
)

// glanceContent is the size of the file of noise in the image that is uploaded: with what
// is around it, the disk has 1 GiB.
const glanceContent = 900 << 20

// glanceDefinition uploads a disk, and writes it to a file for curl.
const glanceDefinition = `
layer = source(rootfs(), scratch = True)
for name in ["/boot/vmlinuz", "/boot/initrd.img", "/sbin/init"]:
    layer = write(layer, name, "never started\n", mode = "0755")
layer = copy(layer, "content", "/content")
export(layer, "file", formats = ["raw"], size = "1G")
export(layer, "web", to = [openstack(cloud_password = secret("cloud"))], image_format = "raw", upload = "direct", size = "1G")
`

// measureGlance compares an upload with that of the same bytes by curl.
func measureGlance(ctx context.Context, b *bench) (_ []row, err error) {
	if err := lookTools("curl"); err != nil {
		return nil, err
	}
	root, err := testopenstack.Root()
	if err != nil {
		b.note("NOT MEASURED, an upload to Glance: " + err.Error())
		return nil, nil
	}
	cloud, err := testopenstack.Start(root, true)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, cloud.Close()) }()
	dir, err := b.subdir("glance")
	if err != nil {
		return nil, err
	}
	if err := writeNoise(filepath.Join(dir, "content"), glanceContent); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "images.star"), []byte(glanceDefinition), 0o644); err != nil {
		return nil, err
	}
	p := project{bake: b.bake, dir: dir, store: dir + ".store"}
	env := append(cloud.Env(), "BAKE_SECRET_CLOUD="+testopenstack.Password)
	first := p.command("build", "file", "--progress=plain")
	first.env = append(first.env, env...)
	if _, err := first.run(ctx); err != nil {
		return nil, err
	}
	b.logf("bake uploads 1 GiB to Glance")
	events, err := os.Create(dir + ".json")
	if err != nil {
		return nil, err
	}
	defer events.Close()
	c := p.command("build", "web", "--progress=json")
	c.env, c.stdout, c.watch = append(c.env, env...), events, true
	used, err := c.run(ctx)
	if err != nil {
		return nil, err
	}
	took, err := readTimes(events)
	if err != nil {
		return nil, err
	}
	nodes := took("publish: web")
	if len(nodes) == 0 {
		return nil, errors.New("no step tells what the upload took")
	}
	b.logf("curl -T uploads the same bytes")
	base, err := curlGlance(ctx, dir, cloud)
	if err != nil {
		return nil, err
	}
	return []row{
		row{Name: "Glance upload of 1 GiB", Got: nodes[len(nodes)-1], Unit: "s", Than: "curl -T", Base: base, Limit: 1.15}.finish(),
		row{Name: "  memory of bake", Got: mib(used.own), Unit: "MiB", Limit: 64}.finish(),
	}, nil
}

// curlGlance returns the seconds that curl takes for the data of an image.
func curlGlance(ctx context.Context, dir string, cloud *testopenstack.Cloud) (float64, error) {
	url, token, err := cloud.NewImage(ctx, "by curl")
	if err != nil {
		return 0, err
	}
	c := &child{
		args: []string{"curl", "-sS", "--fail", "-T", filepath.Join(dir, "out", "file", "file.raw"), "-H", "Content-Type: application/octet-stream", "-H", "X-Auth-Token: " + token, "-w", "%{time_total}", url},
		dir:  dir, log: dir + ".curl.log",
	}
	out, err := os.Create(dir + ".curl")
	if err != nil {
		return 0, err
	}
	defer out.Close()
	c.stdout = out
	if _, err := c.run(ctx); err != nil {
		return 0, err
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return 0, err
	}
	took, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return 0, fmt.Errorf("curl says %q: %w", text, err)
	}
	return took, nil
}
