package solve

import (
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"bake.build/bake/runtime/event"
)

// progressEvery is the least time between two reports of one transfer.
const progressEvery = 100 * time.Millisecond

// A logger takes the log of one node: it masks it and hands it to the stream, the
// log file and the tail. It is safe for concurrent use; what is written after
// close is dropped.
type logger struct {
	events *event.Stream
	node   *event.Node
	masker *Masker

	mu       sync.Mutex
	closed   bool
	mask     maskWriter
	tail     tail
	logPath  string // "" for no log
	log      *logFile
	reported map[string]time.Time
}

func newLogger(events *event.Stream, node *event.Node, m *Masker, logDir string) *logger {
	s := &logger{events: events, node: node, masker: m, reported: map[string]time.Time{}}
	s.mask = maskWriter{m: m, to: s.pass}
	if logDir != "" {
		s.logPath = filepath.Join(logDir, node.Key+".log")
	}
	return s
}

// Write implements io.Writer. It never fails: a log that cannot be kept must not
// fail the step, so that is told as a warning.
func (s *logger) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	s.mask.write(b, false)
	return len(b), nil
}

// pass takes what was masked. The log file is made with the first of it.
func (s *logger) pass(b []byte) {
	s.tail.Write(b)
	s.events.Send(event.Event{Type: event.Output, Node: s.node, Data: b})
	if s.logPath == "" {
		return
	}
	var err error
	if s.log == nil {
		s.log, err = createLog(s.logPath)
	}
	if err == nil {
		_, err = s.log.Write(b)
	}
	if err != nil {
		s.dropLog(err)
	}
}

func (s *logger) dropLog(err error) {
	s.events.Send(event.Event{Type: event.Warning, Node: s.node, Text: fmt.Sprintf("write the log of %s: %v", s.node.Name, err)})
	if s.log != nil {
		s.log.f.Close() // the error that matters was told
	}
	s.log, s.logPath = nil, ""
}

// Progress implements platforms.Logger.
func (s *logger) Progress(what string, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.closed || (done != total && now.Sub(s.reported[what]) < progressEvery) {
		return
	}
	s.reported[what] = now
	s.events.Send(event.Event{Type: event.Progress, Node: s.node, Text: s.masker.String(what), Done: done, Total: total})
}

// close passes on what is held and closes the log file.
func (s *logger) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.mask.write(nil, true)
	s.closed = true
	if s.log != nil {
		if err := s.log.Close(); err != nil {
			s.dropLog(err)
		}
	}
}

// failure returns err as the error of the node, with the tail of its log.
func (s *logger) failure(err error) *NodeError {
	s.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &NodeError{Err: s.masker.Error(err), Tail: s.tail.last()}
	if s.log != nil {
		e.LogPath = s.logPath
	}
	return e
}
