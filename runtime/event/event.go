// Package event is the one stream of what happens in a build. The terminal
// display, the plain log, JSON lines and the report are readers of it; nothing
// else prints.
package event

import "time"

// A Type says what an Event tells.
type Type string

// The types of events. Each node of a build has either one Cached, or one
// Started followed by any number of Output and Progress and by one Done,
// Failed or Canceled, or one Skipped. A step whose layer was not kept may have to
// run again: after its Done come another Started and what follows one.
const (
	Planned  Type = "planned"  // the build's nodes are known; Total is their number, those of one key counted once
	Waiting  Type = "waiting"  // Text says what the node waits for
	Started  Type = "started"  // the node runs; Text says why it is not taken from the store
	Output   Type = "output"   // Data is a piece of the node's log
	Progress Type = "progress" // Done of Total bytes of Text
	Retry    Type = "retry"    // a try failed with Err; another follows
	Cached   Type = "cached"   // the result was in the store
	Done     Type = "done"     // the node succeeded
	Failed   Type = "failed"   // the node failed with Err
	Canceled Type = "canceled" // the node was stopped before its end
	Skipped  Type = "skipped"  // the node did not run since Text
	Note     Type = "note"     // Text is for the user to know; Node is nil
	Warning  Type = "warning"  // Text is for the user to heed; Node may be nil
	Artifact Type = "artifact" // a file of the finished artifact: Text is its path, Total its bytes
	Finished Type = "finished" // the last event of a build
)

// A Node names a node in the stream.
type Node struct {
	ID       int    `json:"id"`
	Key      string `json:"key"`                // hex
	Name     string `json:"name"`               // shown to users
	Kind     string `json:"kind"`               // the op's kind
	Target   string `json:"target,omitempty"`   // the artifact or test that it is, or that it is built for
	Platform string `json:"platform,omitempty"` // the name of the platform
	Pos      string `json:"pos,omitempty"`      // file:line:col
}

// An Event is one thing that happened. Its Time is set by the Stream.
type Event struct {
	Time    time.Time
	Type    Type
	Node    *Node // nil for what concerns the whole build
	Text    string
	Data    []byte // of Output; valid only during the call
	Err     error
	Done    int64
	Total   int64
	Elapsed time.Duration // of Done, Failed, Canceled, Artifact, Finished
}

// A Reader takes events, one at a time.
type Reader interface {
	Event(e Event)
}
