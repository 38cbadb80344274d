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
)

// A blob is the content of a file under records/.
type blob struct {
	Name  string          `json:"name"` // as given: the file's name is its hash
	Sum   string          `json:"sum"`  // SHA-256 of Value, hex
	Value json.RawMessage `json:"value"`
}

// PutRecord keeps the JSON value v under a name, which may be any string, in
// place of what was kept there. kind is a plain file name. The last of several
// concurrent writers wins; a reader sees one value or the other, whole.
func (s *Store) PutRecord(kind, name string, v []byte) error {
	path, err := s.recordPath(kind, name)
	if err != nil {
		return fmt.Errorf("put record: %w", err)
	}
	b, err := encodeBlob(name, v)
	if err != nil {
		return fmt.Errorf("put record %s %q: %w", kind, name, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("put record %s %q: %w", kind, name, err)
	}
	if err := s.writeFile(path, b); err != nil {
		return fmt.Errorf("put record %s %q: %w", kind, name, err)
	}
	return nil
}

// GetRecord returns the value that PutRecord kept. The error is ErrMissing if
// there is none; a record that is damaged, as by a loss of power, is missing.
func (s *Store) GetRecord(kind, name string) ([]byte, error) {
	path, err := s.recordPath(kind, name)
	if err != nil {
		return nil, fmt.Errorf("get record: %w", err)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("record %s %q: %w", kind, name, ErrMissing)
	} else if err != nil {
		return nil, fmt.Errorf("get record %s %q: %w", kind, name, err)
	}
	v, err := decodeBlob(b)
	if err != nil {
		s.warn(fmt.Sprintf("record %s %q is ignored: %v", kind, name, err))
		return nil, fmt.Errorf("record %s %q: %w", kind, name, ErrMissing)
	}
	if err := useRecord(path); err != nil {
		return nil, fmt.Errorf("note the use of record %s %q: %w", kind, name, err)
	}
	return v, nil
}

// recordsKeep is how long a record stays that is not used, unless Prune is told to keep
// less.
const recordsKeep = 90 * 24 * time.Hour

// useRecord makes now the time of a record's last use, once a day.
func useRecord(path string) error {
	fi, err := os.Stat(path)
	if err == nil && time.Since(fi.ModTime()) > 24*time.Hour {
		err = os.Chtimes(path, time.Time{}, time.Now())
	}
	if errors.Is(err, fs.ErrNotExist) || isReadOnly(err) {
		return nil
	}
	return err
}

// pruneRecords removes the records that were not used for as long as the options say,
// and what earlier versions have left there when they were killed.
func (s *Store) pruneRecords(o PruneOptions) error {
	keep := recordsKeep
	if o.MaxAge > 0 {
		keep = min(keep, o.MaxAge)
	}
	kinds, err := os.ReadDir(filepath.Join(s.dir, recordsName))
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		dir := filepath.Join(s.dir, recordsName, kind.Name())
		records, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, r := range records {
			fi, err := r.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			} else if err != nil {
				return err
			}
			if filepath.Ext(r.Name()) == ".json" && time.Since(fi.ModTime()) <= keep {
				continue
			}
			if err := os.Remove(filepath.Join(dir, r.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// DeleteRecord forgets a record. One that is not there is no error.
func (s *Store) DeleteRecord(kind, name string) error {
	path, err := s.recordPath(kind, name)
	if err != nil {
		return fmt.Errorf("delete record: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete record %s %q: %w", kind, name, err)
	}
	return nil
}

func (s *Store) recordPath(kind, name string) (string, error) {
	if kind == "" || kind[0] == '.' || plainName(kind) != kind {
		return "", fmt.Errorf("kind %q is not a plain file name", kind)
	}
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(s.dir, recordsName, kind, hex.EncodeToString(sum[:])+".json"), nil
}

func encodeBlob(name string, v []byte) ([]byte, error) {
	// Marshal writes a value in its compact form, so that is what is summed.
	value, err := json.Marshal(json.RawMessage(v))
	if err != nil {
		return nil, fmt.Errorf("the value is not JSON: %w", err)
	}
	sum := sha256.Sum256(value)
	return json.Marshal(blob{Name: name, Sum: hex.EncodeToString(sum[:]), Value: value})
}

func decodeBlob(b []byte) ([]byte, error) {
	var r blob
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	sum := sha256.Sum256(r.Value)
	if hex.EncodeToString(sum[:]) != r.Sum {
		return nil, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	return r.Value, nil
}
