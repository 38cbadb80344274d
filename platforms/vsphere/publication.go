package vsphere

import (
	"errors"
	"fmt"
	"strings"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/publish"
)

// Publication are the options of export() for images that are registered here.
type Publication struct {
	ImageName   string            `bake:"image_name" json:"image_name,omitempty" help:"The name of the template or virtual machine." default:"the artifact's, with the beginning of its key"`
	ImageFolder string            `bake:"image_folder" json:"image_folder,omitempty" help:"The folder of the image below the datacenter's folder of virtual machines. It is created where it is missing." default:"that of the datacenter"`
	ImageType   string            `bake:"image_type" json:"image_type,omitempty" help:"What the image is: a template, or a virtual machine that is off, with a snapshot for linked clones." default:"template" choices:"template|vm"`
	Library     string            `bake:"library" json:"library,omitempty" help:"A content library, by its name: the image is an item of it, and each later one a new version of that item."`
	LibraryItem string            `bake:"library_item" json:"library_item,omitempty" help:"The name of the item." default:"the artifact's"`
	LibraryType string            `bake:"library_type" json:"library_type,omitempty" help:"What the item is: an OVF, or a VM template, which is deployed faster and lies in image_folder." default:"ovf" choices:"ovf|vm-template"`
	Description string            `bake:"description" json:"description,omitempty" help:"The image's notes."`
	Hardware    *hardware.Options `bake:"hardware" json:"hardware,omitempty" help:"What the image's machine is made of. Of a layer of vsphere only its cpus and memory can be changed." default:"2 CPUs, 2G, scsi disks by pvscsi and a vmxnet3 card; that of the layer for one of vsphere"`

	publish.Retention
}

var _ platforms.OptionChecker = (*Publication)(nil)

// imageVM is the choice of image_type that is no template.
const imageVM = "vm"

// nameMost is how long the name of a virtual machine may be.
const nameMost = 80

// Check implements platforms.OptionChecker.
func (p *Publication) Check() error {
	switch {
	case len(p.ImageName) > nameMost:
		return fmt.Errorf("image_name: it has %d characters, and vSphere takes %d", len(p.ImageName), nameMost)
	case strings.ContainsAny(p.ImageName, `/\%`):
		return fmt.Errorf("image_name: %q: a name has no /, \\ and %%", p.ImageName)
	}
	if p.Library == "" && (p.LibraryItem != "" || p.LibraryType != "") {
		return errors.New("library_item and library_type: belong to a library")
	}
	if p.Library != "" && (p.ImageName != "" || p.ImageType != "" || p.Keep != 0) {
		return errors.New("library: image_name, image_type and keep are for templates and virtual machines: an item has versions")
	}
	var err error
	if p.Hardware != nil {
		if err = p.Hardware.Check(); err != nil {
			err = fmt.Errorf("hardware: %w", err)
		}
	}
	return errors.Join(err, p.Retention.Check())
}

// identity returns what names the image.
func (p *Publication) identity(of platforms.Publication, project string) (string, error) {
	return publish.Identify("vsphere 1", project, of, struct {
		Name     string            `json:"name,omitempty"`
		Folder   string            `json:"folder,omitempty"`
		Type     string            `json:"type,omitempty"`
		Hardware *hardware.Options `json:"hardware,omitempty"`
	}{p.ImageName, p.ImageFolder, p.ImageType, p.Hardware})
}

// uploaded is the hardware of an image that is made of a disk.
func (p *Publication) uploaded(uefi bool) hardware.Options {
	return ofVMware(p.Hardware).Described(uefi)
}

// kept returns which parts of a layer's own machine an image of it has otherwise.
func (p *Publication) kept() (cpus int32, memory int64, err error) {
	if p.Hardware == nil {
		return 0, 0, nil
	}
	rest := *p.Hardware
	rest.CPUs, rest.Memory = 0, ""
	if rest != (hardware.Options{}) {
		return 0, 0, &platforms.OptionError{Err: errors.New("hardware: an image of a layer of vsphere has the hardware of its machine, but for cpus and memory")}
	}
	size, err := p.Hardware.MemorySize()
	return int32(p.Hardware.CPUs), size >> 20, err
}
