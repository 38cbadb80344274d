package openstack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"

	"bake.build/bake/platforms"
)

// pinHash is the detail of a pin that has the hash of the image's data.
const pinHash = "hash"

// Pin implements platforms.Driver: an image by its id and its hash, a volume or a snapshot
// by its id.
func (d *driver) Pin(ctx context.Context, o platforms.Origin) (platforms.Origin, error) {
	var or Origin
	if err := o.Decode(&or); err != nil {
		return o, err
	}
	region, err := d.clients.home(ctx)
	if err != nil {
		return o, err
	}
	if or.ofCinder() {
		return d.pinVolume(ctx, region, or, o)
	}
	if o.Pin != nil {
		i, err := d.image(ctx, region, o.Pin.ID)
		if err != nil {
			return o, err
		}
		if i != nil && i.Status == images.ImageStatusActive && hashText(*i) == o.Pin.Detail[pinHash] {
			return o, nil
		}
	}
	i, err := d.named(ctx, region, or)
	if err != nil {
		return o, err
	}
	o.Pin = &platforms.Pin{ID: i.ID, Date: i.CreatedAt.UTC().Format(time.RFC3339), Detail: map[string]string{"name": i.Name, "region": region}}
	if text := hashText(*i); text != "" {
		o.Pin.Detail[pinHash] = text
	}
	return o, nil
}

// hashText is the hash of an image as "sha512:…", or "".
func hashText(i image) string {
	algorithm, value := i.hash()
	if value == "" {
		return ""
	}
	return algorithm + ":" + value
}

// named returns the newest image that the options choose: of the project where it has one.
func (d *driver) named(ctx context.Context, region string, o Origin) (*image, error) {
	if isID.MatchString(o.Image) {
		i, err := d.image(ctx, region, o.Image)
		if err != nil {
			return nil, err
		} else if i == nil {
			return nil, &platforms.OptionError{Err: fmt.Errorf("image: %s has no image %s, or the project may not use it", region, o.Image)}
		}
		return i, nil
	}
	project, err := d.clients.project(ctx)
	if err != nil {
		return nil, err
	}
	want := images.ListOpts{Name: o.Image, Owner: o.ImageOwner, Visibility: images.ImageVisibility(o.Visibility), Tags: o.ImageLabels, Status: images.ImageStatusActive}
	list, err := d.find(ctx, region, want, o.ImageProperties)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, d.unseen(ctx, region, o, want)
	}
	i := slices.MaxFunc(list, func(a, b image) int {
		own := func(i image) int { return map[bool]int{true: 1}[o.Image != "" && i.Owner == project] }
		return cmp.Or(cmp.Compare(own(a), own(b)), older(a, b))
	})
	return &i, nil
}

// unseen says that no image is there, or that one is which the project has not accepted.
func (d *driver) unseen(ctx context.Context, region string, o Origin, want images.ListOpts) error {
	hint := ""
	want.Visibility, want.MemberStatus = images.ImageVisibilityShared, images.ImageMemberStatusAll
	if list, err := d.find(ctx, region, want, o.ImageProperties); err == nil && len(list) > 0 {
		i := list[len(list)-1]
		hint = fmt.Sprintf("\n%s (%s) is shared with the project, which has not accepted it: give its id, or openstack image set --accept %s", i.Name, i.ID, i.ID)
	}
	return &platforms.OptionError{Err: fmt.Errorf("%s: %s has no active image %s that the project may use%s", o.option(), region, o.text(), hint)}
}

func (o Origin) option() string {
	switch {
	case o.Volume != "":
		return "volume"
	case o.VolumeSnapshot != "":
		return "volume_snapshot"
	case o.Image != "":
		return "image"
	case len(o.ImageProperties) > 0:
		return "image_properties"
	}
	return "image_labels"
}

// text says which image it is, for users.
func (o Origin) text() string {
	switch {
	case o.Image != "":
		return fmt.Sprintf("of the name %q", o.Image)
	case len(o.ImageProperties) > 0:
		var all []string
		for _, name := range slices.Sorted(maps.Keys(o.ImageProperties)) {
			all = append(all, name+" "+o.ImageProperties[name])
		}
		return "with " + strings.Join(all, ", ")
	}
	return "with the tags " + strings.Join(o.ImageLabels, ", ")
}

// PinName implements platforms.PinNamer.
func (d *driver) PinName(o platforms.Origin) string {
	var or Origin
	if o.Decode(&or) != nil {
		return ""
	}
	name := []string{"openstack", cmp.Or(d.options.Cloud, d.options.AuthURL), d.options.Region, or.option(), cmp.Or(or.Volume, or.VolumeSnapshot, or.Image)}
	if or.Image == "" && !or.ofCinder() {
		name = append(name, or.text())
	}
	for _, s := range []string{or.ImageOwner, or.Visibility} {
		if s != "" {
			name = append(name, s)
		}
	}
	return strings.Join(slices.DeleteFunc(name, func(s string) bool { return s == "" }), " ")
}

// origin returns the image that o is pinned to.
func (d *driver) origin(ctx context.Context, o platforms.Origin) (*image, error) {
	if o.Pin == nil {
		return nil, errors.New("the origin has no pin")
	}
	var or Origin
	if err := o.Decode(&or); err != nil {
		return nil, err
	}
	region, err := d.clients.home(ctx)
	if err != nil {
		return nil, err
	}
	if or.ofCinder() {
		return d.driveLayer(ctx, region, or.ref(o.Pin.ID))
	}
	i, err := d.image(ctx, region, o.Pin.ID)
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, fmt.Errorf("%s: there is no image %s any more, or the project may not use it: bake update finds another one", region, o.Pin.ID)
	}
	if want := o.Pin.Detail[pinHash]; want != "" && want != hashText(*i) {
		return nil, fmt.Errorf("%s: the image %s has the hash %s, and bake.lock says %s: bake update takes it as it is", region, i.ID, hashText(*i), want)
	}
	return i, nil
}

// Describe implements platforms.Describer.
func (d *driver) Describe(ctx context.Context, o platforms.Origin) (platforms.Traits, error) {
	i, err := d.origin(ctx, o)
	if err != nil {
		return platforms.Traits{}, err
	}
	return i.traits(), nil
}

// Import implements platforms.Driver: the first layer of a chain is the image,
// the volume or the snapshot.
func (d *driver) Import(ctx context.Context, o platforms.Origin, _ string, _ platforms.Logger) (platforms.Made, error) {
	i, err := d.origin(ctx, o)
	if err != nil {
		return platforms.Made{}, err
	}
	return platforms.Made{Ref: i.ID, Traits: i.traits()}, nil
}

// traits are what layers on the image are.
func (i image) traits() platforms.Traits {
	arch := cmp.Or(i.property("hw_architecture"), i.property("architecture"))
	t := platforms.Traits{Arch: arch, Boot: "bios"}
	switch arch {
	case "", "x86_64":
		t.Arch = "amd64"
	case "aarch64":
		t.Arch, t.Boot = "arm64", "uefi"
	}
	if i.property("hw_firmware_type") == "uefi" {
		t.Boot = "uefi"
	}
	return t
}

// users are the users of distributions' images, by their os_distro.
var users = map[string]string{
	"debian": "debian", "ubuntu": "ubuntu", "fedora": "fedora", "rocky": "rocky", "almalinux": "almalinux", "centos": "centos", "arch": "arch", "alpine": "alpine",
	"opensuse": "opensuse", "rhel": "cloud-user", "sles": "sles", "freebsd": "freebsd", "flatcar": "core",
}

// user returns who logs in to servers of an image.
func (i image) user() string {
	return cmp.Or(i.property(markUser), i.property("os_admin_user"), users[i.property("os_distro")], "root")
}
