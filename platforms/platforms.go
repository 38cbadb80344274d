package platforms

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"time"
)

// A Driver makes machines on one platform and knows where their disks live.
// A Driver is safe for concurrent use.
type Driver interface {
	// Fingerprint names what of the platform's version and configuration can
	// change the bytes of a layer. It is part of the key of every layer that
	// the driver makes, so it must be cheap, stable and free of secrets.
	Fingerprint() string

	// Pin turns a loose origin into an immutable one by setting o.Pin. A pin
	// that is already set is kept as long as what it names can still be had;
	// otherwise the current one is returned. An origin that needs no pin (its
	// content is an input of the plan) is returned as it is.
	Pin(ctx context.Context, o Origin) (Origin, error)

	// Import fills the empty directory dir with the first layer of a chain and says
	// what it has made, which is never dropped. It fails rather than import anything
	// else than what o.Pin names.
	Import(ctx context.Context, o Origin, dir string, out Logger) (Made, error)

	// Boot opens a machine whose disk is the last layer of chain. The chain
	// runs from the oldest layer to the newest and is never empty.
	Boot(ctx context.Context, chain []Layer, out Logger) (Machine, error)
}

// A Machine is a running instance that steps act on. Its methods are called
// by one goroutine at a time, except Close, which may come at any moment.
type Machine interface {
	// Run runs one command to its end. A command that ran and did not succeed
	// gives an *ExitError. Processes that outlive the command do not outlive Run
	// where the platform can prevent it.
	Run(ctx context.Context, c Cmd) error

	// Write unpacks a tar stream below the directory dst, which is made when
	// missing. No entry leaves dst, through ".." or through a link. A file, or a
	// link, never replaces a directory: that is a *DirError, and the directory
	// stays with all in it.
	Write(ctx context.Context, dst string, tar io.Reader) error

	// Read writes src, a file or a directory, to a tar stream. Names in the
	// stream are relative to the directory that holds src.
	Read(ctx context.Context, src string, tar io.Writer) error

	// Commit freezes the state so far as the layer that s names, in its directory or
	// on the platform, and says what it has made. The machine goes on from there.
	Commit(ctx context.Context, s State) (Made, error)

	// Close ends the machine and drops what was not committed.
	Close() error
}

// A Cmd is one command for a Machine.
type Cmd struct {
	Args   []string // the command and its arguments, looked up in the machine's PATH
	Env    []string // "NAME=value", added to the machine's own environment
	Dir    string   // working directory; "" means "/"
	User   string   // "name", "name:group" or "uid:gid"; "" means root
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	// Files appear in the machine for the time of the command, in memory. They
	// are never part of a layer.
	Files []File

	// Caches are directories kept between commands outside of the layer.
	Caches []Cache

	// Waiting, if not nil, is called once when the command has to wait for a
	// cache that another one uses, with what it waits for, and over when the
	// wait has ended, in whatever way.
	Waiting func(what string) (over func())

	// NoNetwork cuts the command off from every network but its own loopback.
	NoNetwork bool

	// ExpectDisconnect says that the command may end the connection to the
	// machine, as a reboot does. Run then returns without an error once the
	// machine can be used again.
	ExpectDisconnect bool

	// Secret says that Env, Files or Stdin hold a secret. A machine that ran
	// such a command keeps nothing of its memory.
	Secret bool
}

// OneStream reports whether both outputs go to one writer. Such a command has one
// stream in the machine, too: on two, what is written would lose its order. Writers
// that cannot be compared are not known to be one.
func (c Cmd) OneStream() bool {
	return c.Stdout != nil && c.Stderr != nil &&
		reflect.ValueOf(c.Stdout).Comparable() && reflect.ValueOf(c.Stderr).Comparable() && c.Stdout == c.Stderr
}

// A File is a file that exists in memory while a command runs.
type File struct {
	Path string // absolute, below /run
	Data []byte
	Mode uint32 // permission bits
	User string // owner, as Cmd.User
}

// A Cache is a directory that is kept between builds and shared by all
// machines of a platform. Commands that use the same cache take turns.
type Cache struct {
	ID  string // names the cache; the same ID is the same directory
	Dir string // where it appears in the machine, absolute
}

// An ExitError says how a command ended that did not succeed.
type ExitError struct {
	Code   int    // exit status, or -1 when a signal ended the command
	Signal string // such as "killed"; "" when the command exited by itself
	Reason string // what the platform knows of the cause, such as "out of memory"; may be ""
}

func (e *ExitError) Error() string {
	s := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != "" {
		s = "ended by signal: " + e.Signal
	}
	if e.Reason != "" {
		s += " (" + e.Reason + ")"
	}
	return s
}

// FileTime is the modification time of what has none of its own: of files that a
// step writes, and of directories that are made on the way to them. The times of
// the project's files and of the build are no part of keys, so they must not
// reach a layer.
var FileTime = time.Unix(946684800, 0).UTC() // 2000-01-01

// ImageConfigName is the name of a file that Import leaves in a layer's directory
// where the origin is a container image: how its containers run, as JSON of the
// object "config" of the OCI image specification's image configuration.
const ImageConfigName = "image.json"

// A DirError says that an entry written to a machine would have replaced a
// directory.
type DirError struct{ Name string } // relative to where it was written

func (e *DirError) Error() string {
	return e.Name + " is a directory: a file or a link does not replace it"
}

// A Treer shows the file tree of a chain.
type Treer interface {
	// Tree calls use with the absolute path of a read-only directory that holds
	// the merged tree. The path is valid only until use returns, only on the
	// goroutine that runs use and in processes that this goroutine starts.
	Tree(ctx context.Context, chain []Layer, use func(dir string) error) error
}

// A Disker makes disks of chains.
type Disker interface {
	// Disk writes the disk of the chain to the new file dst, as a raw image with
	// holes: shut down in order, and without anything that was put there for the
	// build.
	Disk(ctx context.Context, chain []Layer, dst string, out Logger) error
}

// A FurtherDisker is a Disker whose machines may have more disks than the one that
// Disk writes.
type FurtherDisker interface {
	// FurtherDisks returns how many the machine of a chain has.
	FurtherDisks(ctx context.Context, chain []Layer) (int, error)

	// FurtherDisk is Disk for one of them, n counted from 1.
	FurtherDisk(ctx context.Context, chain []Layer, n int, dst string, out Logger) error
}

// A VariableStorer is a Disker whose machines have UEFI variables, which are on none of
// their disks.
type VariableStorer interface {
	// Variables returns the path of a file with the variables of the chain's machine, as
	// QEMU's firmware keeps them. It is "" where the machine has set none.
	Variables(chain []Layer) (path string, err error)

	// MissingLoader returns where a raw disk lacks a boot loader for machines that have
	// no such variables. It is "" for a disk that has one, and for one of BIOS alone.
	MissingLoader(disk string) (path string, err error)
}

// VariablesFormat is the format of an artifact's file with UEFI variables. No definition
// asks for it: it is there where a VariableStorer has some.
const VariablesFormat = "uefi-variables"

// A DiskTreer is a Disker that shows the files of a disk that it wrote.
type DiskTreer interface {
	// DiskTree calls use with the absolute path of a read-only directory that
	// holds the files of the disk's root file system. See Treer.
	DiskTree(ctx context.Context, disk string, use func(dir string) error) error

	// CheckDiskTree returns what this host lacks for that.
	CheckDiskTree() []Problem
}

// A Launcher starts finished images.
type Launcher interface {
	// Launch opens a throw-away machine on an image. The image's files do not
	// change.
	Launch(ctx context.Context, i Image, out Logger) (Machine, error)
}

// An Image is one file of a finished artifact that a machine can start from.
type Image struct {
	Path   string // absolute
	Format string // the Name of one of DiskFormats
	Arch   string // as Go names it; "" means the host's
	UEFI   bool   // it boots by UEFI only

	// Variables, if not "", is the file with the UEFI variables of the machine that the
	// image was made in; see VariableStorer.
	Variables string

	// NoLogin says that nothing will run in the machine: it is started and
	// watched. Launch does not wait until it can be reached, and Run fails.
	NoLogin bool

	// User is a user of the image, as whom commands run; "" means root, by way of
	// whoever the platform logs in as.
	User string

	// Forward are ports of this host's loopback that lead into the machine.
	Forward []Forward

	// Changes, if not "", is a new file that takes what the machine writes, as a
	// qcow2 image on top of Path. It stays when the machine is closed.
	Changes string

	// ConsoleLog, if not "", is a new file that takes what the machine writes to
	// its console.
	ConsoleLog string
}

// A Forward leads a TCP port of this host's loopback to one of a machine.
type Forward struct {
	Host  int // 0 means a free one
	Guest int
}

// A Forwarder is a Machine some of whose ports this host leads to; see
// Image.Forward.
type Forwarder interface {
	// Forwarded returns the address of this host, "host:port", that leads to the
	// machine's TCP port.
	Forwarded(ctx context.Context, port int) (address string, err error)
}

// A Rebooter is a Machine that can be restarted.
type Rebooter interface {
	// Reboot restarts the machine and returns when it can be used again.
	Reboot(ctx context.Context) error
}

// A PortWaiter is a Machine whose ports can be looked at from outside of it.
type PortWaiter interface {
	// WaitPort returns when something in the machine accepts connections on the
	// TCP port, or the cause of ctx's end.
	WaitPort(ctx context.Context, port int) error
}

// A Consoler is a Machine with a console.
type Consoler interface {
	// WaitConsole returns when a line or the unfinished last line of what the
	// console has shown since the machine started matches, or the cause of
	// ctx's end.
	WaitConsole(ctx context.Context, match *regexp.Regexp) error

	// ConsoleTail returns the last lines that the console has shown.
	ConsoleTail() []string

	// AttachConsole connects the console to in and out until in ends, ctx ends or
	// the machine stops; the last is no error.
	AttachConsole(ctx context.Context, in io.Reader, out io.Writer) error
}

// A Sheller opens an interactive session in a machine, on the terminal of the
// calling process.
type Sheller interface {
	Shell(ctx context.Context, c Cmd) error
}

// A PinNamer names what the pin of an origin depends on. Origins of the same
// name share one pin and one line of bake.lock.
type PinNamer interface {
	// PinName returns such as "debian bookworm", or "" for an origin that
	// has no name of its own.
	PinName(o Origin) string
}

// A Limiter bounds how many of the platform's machines run at once.
type Limiter interface {
	MaxMachines() int
}

// A Sizer says what one of the driver's machines takes of this host: nothing, where it
// runs elsewhere.
type Sizer interface {
	MachineSize() Resources
}

// Resources are what a machine takes of this host for as long as it is open.
type Resources struct {
	Memory int64 // bytes
	CPUs   int
}

// A Closer is a Driver that holds something, such as idle machines, until no
// more is asked of it.
type Closer interface {
	Close() error
}

// A Checker says what the driver lacks on this host, before anything starts.
type Checker interface {
	// Check returns one Problem for each thing that is missing.
	Check() []Problem
}

// An ArchChecker is a Driver whose machines run programs on this host's own
// processor.
type ArchChecker interface {
	// CheckArch returns what this host lacks to run programs of arch, an
	// architecture as Go names it.
	CheckArch(arch string) []Problem
}

// A Problem is something that the host lacks and how to mend it.
type Problem struct {
	What string // "mmdebstrap is not installed"
	Fix  string // "apt-get install mmdebstrap"
	Need string // what cannot be done without: "debian origins"

	Origin   string // the kind of origin that needs it; "" when every machine does
	Optional bool   // only some uses of it need it: a build goes on and tells when it does
}

// A Logger takes what a long operation has to tell. Text written to it is the
// operation's log.
type Logger interface {
	io.Writer
	// Progress says that done of total bytes of what are finished; a total of zero
	// means that it is not known. With zeros for both it says what is waited for,
	// until anything else is told.
	Progress(what string, done, total int64)
}

// A Host is what the runtime lends to a driver.
type Host interface {
	// TempDir makes a directory on the store's file system. It is removed when
	// the caller calls remove or, if this process dies, by the next one.
	TempDir(prefix string) (dir string, remove func() error, err error)

	// CacheDir returns a directory that outlives the process, for downloads and
	// caches, made when missing. It is a driver's own, by name.
	CacheDir(name string) (dir string, err error)

	// Secret returns the value of a secret that an option of the driver names.
	// It is masked wherever bake shows something.
	Secret(s Secret) ([]byte, error)

	// Ledger records outside resources.
	Ledger() Ledger

	// Ask asks the user for something that only the user can tell at that moment,
	// such as a one-time code. It fails where nobody can answer.
	Ask(ctx context.Context, question string) (answer string, err error)
}

// A Ledger is the crash-safe record of the outside resources of a build.
type Ledger interface {
	// Begin records a resource before it is asked for. The record is on disk
	// when Begin returns. done forgets it once the resource is gone or handed on.
	Begin(r Resource) (done func() error, err error)

	// Build returns the build's id, unique among all builds: what is made outside
	// of this host is tagged with it.
	Build() string

	// Project returns the identity of the project that is built, or "" for one
	// without. What belongs to a project, such as its images, is tagged with it, and
	// a driver neither replaces nor removes for one project what is another's.
	Project() string
}

// A Resource is something outside of this host's store that outlives a crash.
type Resource struct {
	Platform string          // name of the platform whose driver can delete it
	Options  json.RawMessage // canonical JSON of that platform value's options
	Account  string          // the account or project of the cloud that it is in; "" where there is one only
	Place    string          // where it is, such as a region; "" where there is one place only
	Kind     string          // such as "instance"
	ID       string          // the platform's name for it, or the tag to find it by
	Build    string          // the id of the build that made it, or ""
}
