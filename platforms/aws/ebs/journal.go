package ebs

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
)

// A Journal is the file that knows how far an upload has come. It is safe for
// concurrent use.
type Journal struct {
	path string

	mu   sync.Mutex
	f    *os.File
	head journalHead
	done map[int]Sum
}

// A journalHead is the first line of the file.
type journalHead struct {
	Subject  string `json:"subject"`            // what is uploaded
	Token    string `json:"token"`              // of the snapshot: a request with it is never carried out twice
	Snapshot string `json:"snapshot,omitempty"` // "" as long as it may not exist
}

// entrySize is that of a block in the file: its number, and its digest.
const entrySize = 4 + len(Sum{})

// OpenJournal opens the journal of an upload. That of another subject, a damaged
// one, or one that knows no snapshot yet, is begun anew: its token may name a
// snapshot that was deleted since.
func OpenJournal(path, subject string) (*Journal, error) {
	j := &Journal{path: path, done: map[int]Sum{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	line, rest, ok := cutLine(b)
	if !ok || json.Unmarshal(line, &j.head) != nil || j.head.Subject != subject || j.head.Token == "" || j.head.Snapshot == "" {
		j.head = journalHead{Subject: subject, Token: rand.Text()}
		if err := j.create(); err != nil {
			return nil, errors.Join(err, j.Close())
		}
		return j, nil
	}
	for len(rest) >= entrySize {
		j.done[int(binary.LittleEndian.Uint32(rest))] = Sum(rest[4:entrySize])
		rest = rest[entrySize:]
	}
	// What a crash has left of an entry is written over.
	if j.f, err = os.OpenFile(path, os.O_WRONLY, 0o600); err != nil {
		return nil, err
	}
	if err = j.f.Truncate(int64(len(b) - len(rest))); err == nil {
		_, err = j.f.Seek(0, io.SeekEnd)
	}
	if err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// create writes a journal without blocks. It is on the disk when create returns.
func (j *Journal) create() error {
	line, err := json.Marshal(j.head)
	if err != nil {
		return err
	}
	if j.f, err = os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return err
	}
	if _, err = j.f.Write(append(line, '\n')); err != nil {
		return err
	}
	return j.f.Sync()
}

func cutLine(b []byte) (line, rest []byte, ok bool) {
	n, line, err := bufio.ScanLines(b, false)
	if err != nil || line == nil {
		return nil, nil, false
	}
	return line, b[n:], true
}

// Token returns the token of the snapshot, which is unique.
func (j *Journal) Token() string { return j.head.Token }

// Snapshot returns the snapshot that was begun, or "".
func (j *Journal) Snapshot() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.head.Snapshot
}

// begin notes the snapshot, which holds nothing yet.
func (j *Journal) begin(snapshot string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.f.Close()
	j.f = nil
	if err != nil {
		return err
	}
	j.head.Snapshot, j.done = snapshot, map[int]Sum{}
	return j.create()
}

// has reports whether block i was sent with this digest.
func (j *Journal) has(i int, sum Sum) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	got, ok := j.done[i]
	return ok && got == sum
}

// knows reports whether block i was sent, whatever it held then.
func (j *Journal) knows(i int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.done[i]
	return ok
}

// sent notes a block. A crash of the host may lose it, which costs sending it
// again.
func (j *Journal) sent(i int, sum Sum) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.done[i] = sum
	_, err := j.f.Write(append(binary.LittleEndian.AppendUint32(nil, uint32(i)), sum[:]...))
	return err
}

// blocks returns the blocks that were sent.
func (j *Journal) blocks() map[int]Sum {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done
}

// Close keeps the journal for a later upload.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return nil
	}
	err := j.f.Close()
	j.f = nil
	return err
}

// Remove ends the journal of an upload that is done, or given up.
func (j *Journal) Remove() error {
	err := j.Close()
	if removeErr := os.Remove(j.path); removeErr != nil && !errors.Is(removeErr, fs.ErrNotExist) {
		err = errors.Join(err, removeErr)
	}
	return err
}
