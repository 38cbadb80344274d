package desktop

import (
	"context"
	"os"
	"time"

	"bake.build/bake/internal/hardware"
	"bake.build/bake/platforms/installer"
)

// A Hypervisor makes virtual machines on this host. It is safe for concurrent use.
type Hypervisor interface {
	// Create makes the machine that s describes, without starting it. Where it fails,
	// Remove takes away what there is of it.
	Create(ctx context.Context, s Spec) (VM, error)

	// Remove ends what runs of the machine whose directory is dir, however little of it
	// there is, and takes it out of every registry. It reports whether there was
	// anything; what is in dir is left to the caller. It may be called in another
	// process than Create.
	Remove(ctx context.Context, dir string) (found bool, err error)

	// Media writes and reads the hypervisor's media.
	Media() Media
}

// Media are disks in the format of a hypervisor. It is safe for concurrent use.
type Media interface {
	// Ext is the end of the media's names, such as ".vdi".
	Ext() string

	// Write makes the new file out a medium that holds a raw disk of size bytes.
	Write(ctx context.Context, out, raw *os.File, size int64) error

	// Read writes the disk that a chain of media holds to the new file raw, with
	// holes. progress may be nil.
	Read(ctx context.Context, raw *os.File, chain []string, progress func(done, total int64)) error

	// Size returns the size of the disk in bytes.
	Size(path string) (int64, error)
}

// A Spec describes a machine. Its paths are absolute and in Dir.
type Spec struct {
	Dir      string           // the machine's own; the hypervisor's files go there as well
	Name     string           // of the machine, unique
	Hardware hardware.Options // without what is not said; see hardware.Options.Described
	Disks    []Disk
	CDs      []string // images of CDs; one that does not exist is an empty drive
	Floppy   string   // image of a floppy; "" for no drive
	Boot     []string // the order of devices: "cd", "disk"
	OEM      string   // an OEM string of SMBIOS, at most 255 bytes, where the hypervisor has them
	Console  string   // file that takes what the first serial port sends
	GUI      bool     // show a window
	NVRAM    string   // file with the UEFI variables that the machine begins with; "" for new ones
}

// A Disk is one disk of a machine.
type Disk struct {
	// Media are the chain below what the machine writes, at names that follow from the
	// place in it: it is never written to.
	Media []string

	// Own says that the machine writes to the last of Media itself.
	Own bool
}

// A VM is one machine. Its methods are called by one goroutine at a time, except Running
// and Stop.
type VM interface {
	// Start starts the machine from its disks.
	Start(ctx context.Context) error

	// Stop ends the machine at once. It is no error where it does not run.
	Stop(ctx context.Context) error

	// Running reports whether the machine runs.
	Running(ctx context.Context) (bool, error)

	// Reach returns an address of this host or of its network, "host:port", that leads
	// to the machine's TCP port. It may wait for the guest to have a network, and is
	// called anew where nothing answers.
	Reach(ctx context.Context, port int) (address string, err error)

	// Freeze has the machine write to new media from now on, and returns for each disk
	// a file with the medium up to now, which nothing writes to any more. The guest has
	// written all that it holds. The machine goes on.
	Freeze(ctx context.Context) (media []string, err error)
}

// A Keyboard is a VM that keys can be typed on.
type Keyboard interface {
	// Type has the guest see a stroke that has keys.
	Type(ctx context.Context, s installer.Stroke) error

	// Host is where this host serves files to the guest.
	Host() (installer.Host, error)
}

// A Variables is a VM whose UEFI variables are kept with its layers.
type Variables interface {
	// NVRAM returns the file that has them; "" where the machine has none.
	NVRAM() string
}

// A Checker is a Hypervisor that knows whether it can be used.
type Checker interface {
	// Check returns the version of what is installed.
	Check(ctx context.Context) (version string, err error)
}

// Times of machines.
const (
	shutdownTimeout = 3 * time.Minute
	removeTimeout   = 2 * time.Minute
)
