package sandbox

import "bake.build/bake/platforms/rootfs/overlay"

// The descriptors that the init is started with beside standard input, output
// and error.
const (
	// JobFD is the read end of a pipe with one Job in JSON and then one byte
	// for each Signal. Its end tells the init to die.
	JobFD = 3
	// ResultFD is a unix socket that takes one Result in JSON. With
	// Job.Terminal one byte precedes it, which carries the terminal's
	// descriptor.
	ResultFD = 4
)

// Arg0 is the name that bake is started with to become an init.
const Arg0 = "bake-init"

// Terminate in the pipe of jobs asks the init to end the command: with
// SIGTERM, and after Job.Grace with SIGKILL.
const Terminate = 't'

// A Job is one command to run.
type Job struct {
	Layers  overlay.Mount `json:"layers"`
	Base    string        `json:"base"`    // existing directory on the host to mount over
	UserNS  bool          `json:"user_ns"` // in a user namespace, where devices cannot be made
	Network bool          `json:"network"` // in the host's network
	GraceMS int           `json:"grace_ms"`

	Args     []string `json:"args"`
	Env      []string `json:"env"`
	Dir      string   `json:"dir"`
	User     string   `json:"user"`
	Files    []File   `json:"files"`
	Caches   []Cache  `json:"caches"`
	Terminal bool     `json:"terminal"` // run on a new pseudo terminal
}

// A File is made in memory before the command starts.
type File struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
	Mode uint32 `json:"mode"`
	User string `json:"user"`
}

// A Cache is a directory of the host that appears in the machine.
type Cache struct {
	Source string `json:"source"`
	Dir    string `json:"dir"`
}

// A Result says how a command ended.
type Result struct {
	Err    string `json:"err"`    // why it was not started; the rest means nothing then
	Code   int    `json:"code"`   // as in platforms.ExitError
	Signal string `json:"signal"` // as in platforms.ExitError
	Reason string `json:"reason"` // as in platforms.ExitError
}
