package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"bake.build/bake/runtime/plan"
)

// format is the version of a layer's directory.
const format = 1

// A record is the content of meta.json, without the sum that guards it.
type record struct {
	Format int    `json:"format"`
	Key    string `json:"key"`
	Boot   string `json:"boot"` // the boot of the machine that wrote the layer
	Meta
}

// A stored is a record as it was read.
type stored struct {
	record
	dir  string // the layer's directory
	sum  string // identifies this filling of the key
	used time.Time
}

type envelope struct {
	Sum    string          `json:"sum"` // SHA-256 of Record, hex
	Record json.RawMessage `json:"record"`
}

func encodeRecord(r record) ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	b, err = json.Marshal(envelope{hex.EncodeToString(sum[:]), b})
	return append(b, '\n'), err
}

// decodeRecord reads the content of the meta.json of the layer k. All its
// errors are ErrDamaged.
func decodeRecord(b []byte, k plan.Key) (r record, sum string, err error) {
	var env envelope
	if err := json.Unmarshal(b, &env); err != nil {
		return r, "", fmt.Errorf("%w: %s: %w", ErrDamaged, metaName, err)
	}
	got := sha256.Sum256(env.Record)
	if hex.EncodeToString(got[:]) != env.Sum {
		return r, "", fmt.Errorf("%w: %s: checksum differs", ErrDamaged, metaName)
	}
	if err := json.Unmarshal(env.Record, &r); err != nil {
		return r, "", fmt.Errorf("%w: %s: %w", ErrDamaged, metaName, err)
	}
	if r.Format != format || r.Key != k.String() {
		return r, "", fmt.Errorf("%w: %s: it is of format %d and layer %s", ErrDamaged, metaName, r.Format, r.Key)
	}
	r.Meta.Key = k
	return r, env.Sum, nil
}

// readRecord reads the record of the layer k in dir. The error is ErrMissing
// when there is no such layer and ErrDamaged when its record is unreadable.
func readRecord(dir string, k plan.Key) (*stored, error) {
	st, err := readMeta(dir, k)
	if isUnreadable(err) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return st, err
}

func readMeta(dir string, k plan.Key) (*stored, error) {
	path := filepath.Join(dir, metaName)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("layer %s: %w", k.Short(), ErrMissing)
		}
		// The layer may have been put between the two looks.
		b, err = os.ReadFile(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s is missing", ErrDamaged, metaName)
	} else if err != nil {
		return nil, err
	}
	r, sum, err := decodeRecord(b, k)
	if err != nil {
		return nil, err
	}
	st := &stored{record: r, dir: dir, sum: sum}
	fi, err := os.Stat(path)
	if err == nil {
		st.used = fi.ModTime()
	}
	return st, err
}

// entry returns what callers see of the layer.
func (st *stored) entry() *Entry {
	return &Entry{Meta: st.Meta, Dir: filepath.Join(st.dir, dataName), Used: st.used}
}

// touch makes now the time of the layer's last use, which is the modification
// time of its meta.json.
func (st *stored) touch() error {
	st.used = time.Now()
	return os.Chtimes(filepath.Join(st.dir, metaName), time.Time{}, st.used)
}

// durable reports whether the layer is known to be on the disk.
func (st *stored) durable() bool {
	_, err := os.Stat(filepath.Join(st.dir, durableName))
	return err == nil
}
