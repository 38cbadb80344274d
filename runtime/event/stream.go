package event

import (
	"sync"
	"time"
)

// A Stream hands each event to its readers, in order and one at a time. It is
// safe for concurrent use.
type Stream struct {
	mu      sync.Mutex
	readers []Reader
}

// NewStream returns a stream to readers.
func NewStream(readers ...Reader) *Stream { return &Stream{readers: readers} }

// Send sets the time of e and hands it to every reader.
func (s *Stream) Send(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Time = time.Now()
	for _, r := range s.readers {
		r.Event(e)
	}
}
