package main

import (
	"bufio"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// jobFiles is what all tools make the golden image from.
//
//go:embed job
var jobFiles embed.FS

// payloadSize is the size of the file that is copied into the golden image.
const payloadSize = 20 << 20

// stageJob writes the files of the job to dir: definitions, recipe, template,
// scripts, and the tree of files that is copied into the image.
func stageJob(dir string) error {
	err := fs.WalkDir(jobFiles, "job", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dst := filepath.Join(dir, filepath.FromSlash(path[len("job"):]))
		if e.IsDir() {
			return os.MkdirAll(dst, 0o755)
		}
		data, err := jobFiles.ReadFile(path)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if filepath.Ext(path) == ".sh" {
			mode = 0o755
		}
		return os.WriteFile(dst, data, mode)
	})
	if err != nil {
		return fmt.Errorf("stage the job: %w", err)
	}
	return writeNoise(filepath.Join(dir, "tree", "opt", "payload.bin"), payloadSize)
}

// writeNoise writes a file of size bytes that no compression makes smaller,
// and that are the same each time.
func writeNoise(path string, size int64) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<16)
	seed := [32]byte([]byte("the same bytes for every tool..."))
	if _, err := io.CopyN(w, rand.NewChaCha8(seed), size); err != nil {
		return err
	}
	return w.Flush()
}

// appendTo adds text to the end of a file.
func appendTo(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = f.WriteString(text)
	return err
}

// filesBelow lists the regular files below paths, which may be files.
func filesBelow(paths ...string) ([]string, error) {
	var files []string
	for _, p := range paths {
		err := filepath.WalkDir(p, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
