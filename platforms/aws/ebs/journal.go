package ebs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"

	"bake.build/bake/internal/durable"
)

// A Journal is the file that knows how far an upload has come. It is safe for
// concurrent use.
type Journal struct {
	path string

	mu   sync.Mutex
	f    *os.File
	head journalHead
	seed Sum // of the checksums of entries
	done map[int]Sum
}

// journalMagic begins the file, with the version of its format. A line of JSON follows,
// a journalHead, and a line with its SHA-256 in hex; then entries. The head is on the
// disk, whole, before anything is asked for with it. Entries are not waited for: one
// that a loss of power has taken, or damaged, costs sending its block again.
const journalMagic = "bake upload journal 2\n"

// A journalHead says what the journal is of.
type journalHead struct {
	Subject  string `json:"subject"`            // what is uploaded
	Token    string `json:"token"`              // of the snapshot: a request with it is never carried out twice
	Snapshot string `json:"snapshot,omitempty"` // "" as long as it may not exist
}

// entrySize is that of a block in the file: its number, its digest, and the CRC-32C of
// both together with the digest of the head.
const entrySize = 4 + len(Sum{}) + 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenJournal opens the journal of an upload. That of another subject, a damaged
// one, or one that knows no snapshot yet, is begun anew: its token may name a
// snapshot that was deleted since.
func OpenJournal(path, subject string) (*Journal, error) {
	j := &Journal{path: path, done: map[int]Sum{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	head, rest, ok := parseHead(b)
	if !ok || head.Subject != subject || head.Token == "" || head.Snapshot == "" {
		j.head = journalHead{Subject: subject, Token: rand.Text()}
		if err := j.create(); err != nil {
			return nil, errors.Join(err, j.Close())
		}
		return j, nil
	}
	j.head = head
	if j.seed, err = head.sum(); err != nil {
		return nil, err
	}
	for len(rest) >= entrySize && binary.LittleEndian.Uint32(rest[entrySize-4:]) == j.check(rest[:entrySize-4]) {
		j.done[int(binary.LittleEndian.Uint32(rest))] = Sum(rest[4 : entrySize-4])
		rest = rest[entrySize:]
	}
	// What a crash has left of an entry, and all behind it, is written over.
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

// parseHead reads the head of a journal.
func parseHead(b []byte) (head journalHead, rest []byte, ok bool) {
	if b, ok = bytes.CutPrefix(b, []byte(journalMagic)); !ok {
		return head, nil, false
	}
	line, rest, _ := bytes.Cut(b, []byte("\n"))
	sum, rest, ok := bytes.Cut(rest, []byte("\n"))
	if !ok || string(sum) != fmt.Sprintf("%x", sha256.Sum256(line)) || json.Unmarshal(line, &head) != nil {
		return journalHead{}, nil, false
	}
	return head, rest, true
}

// sum is the digest of the head, which each entry knows: entries of an earlier journal
// in the same place of the disk are not this one's.
func (h journalHead) sum() (Sum, error) {
	line, err := json.Marshal(h)
	return Sum(sha256.Sum256(line)), err
}

// check is the checksum of an entry.
func (j *Journal) check(entry []byte) uint32 {
	return crc32.Update(crc32.Checksum(j.seed[:], castagnoli), castagnoli, entry)
}

// create writes a journal without blocks. It is on the disk when create returns.
func (j *Journal) create() error {
	line, err := json.Marshal(j.head)
	if err != nil {
		return err
	}
	j.seed = sha256.Sum256(line)
	if err := durable.WriteFile(j.path, fmt.Appendf(nil, "%s%s\n%x\n", journalMagic, line, j.seed[:])); err != nil {
		return err
	}
	j.f, err = os.OpenFile(j.path, os.O_WRONLY|os.O_APPEND, 0o600)
	return err
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
	entry := append(binary.LittleEndian.AppendUint32(nil, uint32(i)), sum[:]...)
	_, err := j.f.Write(binary.LittleEndian.AppendUint32(entry, j.check(entry)))
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
