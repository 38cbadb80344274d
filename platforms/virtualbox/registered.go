package virtualbox

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/resource"
)

// kindClone is the kind of the one resource in the user's registry: the copy of a disk of
// the user's, whose ID is its path, as long as VirtualBox writes it.
const kindClone = "clone"

// A registered machine is one of the user's, which is read and never changed.
type registered struct {
	info
	uuid  string
	disks []string // UUIDs of its media, in the order of their attachment
}

// find looks for the machine of an origin in the user's registry.
func (d *driver) find(ctx context.Context, o Origin) (*registered, error) {
	said, err := manager().Call(ctx, "showvminfo", o.VM, "--machinereadable")
	if err != nil {
		return nil, err
	}
	r := &registered{info: parseInfo(said)}
	if r.uuid = r.info["UUID"]; r.uuid == "" {
		return nil, errors.New("its files are gone, or cannot be read")
	}
	if o.Snapshot != "" {
		return r, r.goTo(ctx, o.Snapshot)
	}
	if r.running() || r.info["VMState"] == "saved" {
		return nil, fmt.Errorf("is %s: shut it down, or name a snapshot", r.info["VMState"])
	}
	r.disks = r.info.disks()
	if len(r.disks) == 0 {
		return nil, errors.New("has no disk")
	}
	return r, nil
}

// slot is what showvminfo calls the UUID of a medium.
var slot = regexp.MustCompile(`^(.*)-ImageUUID-(\d+)-(\d+)$`)

// disks returns the UUIDs of the attached hard disks, in their order: by controller, port
// and device.
func (i info) disks() []string {
	type at struct {
		controller, port, device string
		uuid                     string
	}
	var all []at
	for key, uuid := range i {
		m := slot.FindStringSubmatch(key)
		// What can be ejected is no hard disk.
		if m == nil || i[fmt.Sprintf("%s-IsEjected-%s-%s", m[1], m[2], m[3])] != "" {
			continue
		}
		all = append(all, at{m[1], fmt.Sprintf("%4s", m[2]), m[3], uuid})
	}
	slices.SortFunc(all, func(a, b at) int {
		return cmp.Or(cmp.Compare(i.controller(a.controller), i.controller(b.controller)), cmp.Compare(a.port, b.port), cmp.Compare(a.device, b.device))
	})
	var uuids []string
	for _, a := range all {
		uuids = append(uuids, a.uuid)
	}
	return uuids
}

// controller returns the number of a controller, as text that sorts.
func (i info) controller(name string) string {
	for key, value := range i {
		if n, ok := strings.CutPrefix(key, "storagecontrollername"); ok && value == name {
			return fmt.Sprintf("%4s", n)
		}
	}
	return ""
}

// goTo takes the disk of a snapshot in place of the present one. Lists of media alone tell
// it, and not in which order: so the machine has one disk.
func (r *registered) goTo(ctx context.Context, snapshot string) error {
	uuid := ""
	for key, value := range r.info {
		n, ok := strings.CutPrefix(key, "SnapshotUUID")
		if !ok || value != snapshot && r.info["SnapshotName"+n] != snapshot {
			continue
		}
		if uuid != "" && uuid != value {
			return fmt.Errorf("has several snapshots called %q: name one by its UUID", snapshot)
		}
		uuid = value
	}
	if uuid == "" {
		return fmt.Errorf("has no snapshot %q", snapshot)
	}
	said, err := manager().Call(ctx, "list", "--long", "hdds")
	if err != nil {
		return err
	}
	r.disks = usedBy(said, r.uuid, uuid)
	if len(r.disks) != 1 {
		return fmt.Errorf("has %d disks in the snapshot %q: bake takes one", len(r.disks), snapshot)
	}
	r.info["SnapshotUUID of the origin"] = uuid
	return nil
}

// usedBy returns the UUIDs of the media in a list that a snapshot of a machine uses, as of
// "In use by VMs:  base (UUID: …) [first (UUID: …)]".
func usedBy(list, machine, snapshot string) (media []string) {
	medium := ""
	for line := range strings.Lines(list) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "UUID":
			medium = value
		case "In use by VMs":
			_, after, ok := strings.Cut(value, "(UUID: "+machine+")")
			if snapshots, _, _ := strings.Cut(after, "]"); ok && strings.Contains(snapshots, "(UUID: "+snapshot+")") {
				media = append(media, medium)
			}
		}
	}
	return media
}

// pin is the identity of the machine's disks as they are: a snapshot does not change, and
// the time of the last change of state is another whenever the machine has run.
func (r *registered) pin() *platforms.Pin {
	state := cmp.Or(r.info["SnapshotUUID of the origin"], r.info["VMStateChangeTime"])
	sum := sha256.Sum256([]byte(strings.Join(append([]string{r.uuid, state}, r.disks...), "\n")))
	return &platforms.Pin{ID: "sha256:" + hex.EncodeToString(sum[:]), Date: time.Now().UTC().Format(time.RFC3339), Detail: map[string]string{"uuid": r.uuid}}
}

// hardware is what the machine is made of, as far as options name it.
func (r *registered) hardware() hardware.Options {
	i := r.info
	h := hardware.Options{Firmware: "bios"}
	if strings.HasPrefix(i["firmware"], "EFI") {
		h.Firmware = "uefi"
	}
	if _, err := fmt.Sscan(i["cpus"], &h.CPUs); err != nil {
		h.CPUs = 0 // the platform's default
	}
	if i["memory"] != "" {
		h.Memory = i["memory"] + "M"
	}
	for name, adapter := range adapters {
		if strings.EqualFold(adapter, i["nictype1"]) {
			h.NIC = name
		}
	}
	kinds := map[string]string{"IntelAhci": "sata", "PIIX3": "ide", "PIIX4": "ide", "ICH6": "ide", "LsiLogic": "lsilogic", "LsiLogicSas": "lsisas", "NVMe": "nvme", "VirtioSCSI": "virtio"}
	for n := range 8 {
		name := i[fmt.Sprintf("storagecontrollername%d", n)]
		if name != "" && i[name+"-ImageUUID-0-0"] != "" && i[name+"-IsEjected-0-0"] == "" {
			h.DiskBus = kinds[i[fmt.Sprintf("storagecontrollertype%d", n)]]
			break
		}
	}
	return h
}

// importMachine makes a first layer of copies of the machine's disks.
func (d *driver) importMachine(ctx context.Context, o platforms.Origin, opts Origin, dir string, out platforms.Logger) (made platforms.Made, err error) {
	r, err := d.find(ctx, opts)
	if err != nil {
		return made, err
	}
	if p := r.pin(); o.Pin == nil || p.ID != o.Pin.ID {
		return made, errors.New("it has changed since it was pinned: bake update takes its present state")
	}
	scratch, remove, err := d.host.TempDir("clone")
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	var media []string
	for i, uuid := range r.disks {
		out.Progress(fmt.Sprintf("copy the disk %d", i+1), 0, 0)
		path := filepath.Join(scratch, fmt.Sprintf("disk%d.vdi", i))
		if err := d.clone(ctx, uuid, path); err != nil {
			return made, err
		}
		media = append(media, path)
	}
	h, nvram := r.hardware(), ""
	if path := r.info["BIOS NVRAM File"]; h.UEFI() && path != "" {
		if _, err := os.Stat(path); err == nil {
			nvram = path
		}
	}
	return d.Adopt(ctx, media, h, nvram, dir)
}

// clone copies a medium of the user's registry to a file, and has the registry forget the
// copy.
func (d *driver) clone(ctx context.Context, uuid, path string) error {
	_, record, err := resource.Make(ctx, d.Manager, kindClone, "", path, func(ctx context.Context) (string, error) {
		said, err := manager().Within(longLimit).Call(ctx, "clonemedium", "disk", uuid, path, "--format", "VDI")
		return said, resource.Unclear(err) // VBoxSVC may go on
	})
	if err != nil {
		return err
	}
	return record.Remove(ctx, func(ctx context.Context) error {
		_, err := manager().Call(ctx, "closemedium", "disk", path)
		return err
	})
}

// collectClone has the user's registry forget a copy, and removes it.
func (d *driver) collectClone(ctx context.Context, r platforms.Resource) (platforms.Collected, error) {
	said, err := manager().Call(ctx, "list", "hdds")
	if err != nil {
		return platforms.Collected{}, err
	}
	for line := range strings.Lines(said) {
		if key, value, _ := strings.Cut(line, ":"); key == "Location" && strings.TrimSpace(value) == r.ID {
			// Some versions keep what they cannot read: it is forgotten then.
			if _, err := manager().Call(ctx, "closemedium", "disk", r.ID); err != nil {
				return platforms.Collected{}, err
			}
			return platforms.Collected{Removed: true}, os.RemoveAll(r.ID)
		}
	}
	if _, err := os.Lstat(r.ID); err != nil {
		return platforms.Collected{}, nil
	}
	return platforms.Collected{Removed: true}, os.RemoveAll(r.ID)
}
