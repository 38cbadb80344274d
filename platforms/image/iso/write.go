package iso

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A writer counts what it writes and keeps the first error.
type writer struct {
	w   *bufio.Writer
	n   int64
	err error
}

func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	var n int
	n, w.err = w.w.Write(p)
	w.n += int64(n)
	return n, w.err
}

func (w *writer) bytes(p []byte) { _, _ = w.Write(p) } // w.err has the error

// pad fills the sector.
func (w *writer) pad() {
	if rest := w.n % sector; rest != 0 {
		w.bytes(make([]byte, sector-rest))
	}
}

func (l *layout) write(w *writer, label string) {
	w.bytes(make([]byte, systemArea*sector))
	for t := range 2 {
		w.bytes(l.descriptor(t, label))
	}
	w.bytes([]byte("\xffCD001\x01"))
	w.pad()
	for t := range 2 {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			for _, d := range l.dirs[t] {
				w.bytes(pathRecord(d, t, order))
			}
			w.pad()
		}
	}
	for t := range 2 {
		for _, d := range l.dirs[t] {
			writeDir(w, d, t)
		}
	}
	for _, e := range l.files {
		if w.err == nil {
			w.err = copyFile(w, e.file)
		}
		w.pad()
	}
}

// copyFile writes the content of a file.
func copyFile(w *writer, f *File) (err error) {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	n, err := io.Copy(struct{ io.Writer }{w}, io.LimitReader(r, f.Size+1))
	if err == nil && n != f.Size {
		err = errors.New("its size changed while it was read")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	return nil
}

// descriptor is a volume descriptor (ECMA-119, 8.4 and 8.5).
func (l *layout) descriptor(t int, label string) []byte {
	var b bytes.Buffer
	text := func(s string, length int) {
		p := bytes.Repeat([]byte(" "), length)
		if t == jolietTree {
			for i := 0; i+1 < length; i += 2 {
				p[i], p[i+1] = 0, ' '
			}
		}
		copy(p, identifier(s, t))
		b.Write(p)
	}
	kind := byte(1)
	if t == jolietTree {
		kind = 2
	} else {
		label = strings.ToUpper(label)
	}
	b.Write([]byte{kind})
	b.WriteString("CD001\x01\x00")
	text("", 32)
	if t == plainTree && label == "CIDATA" {
		label = "cidata" // what looks for a seed of cloud-init looks for this
	}
	text(label, 32)
	b.Write(make([]byte, 8))
	b.Write(both32(l.total))
	escape := make([]byte, 32)
	if t == jolietTree {
		copy(escape, "%/E") // UCS-2, level 3
	}
	b.Write(escape)
	b.Write(both16(1))
	b.Write(both16(1))
	b.Write(both16(sector))
	b.Write(both32(l.tables[t][0].size))
	b.Write(binary.LittleEndian.AppendUint32(nil, l.tables[t][0].start))
	b.Write(make([]byte, 4))
	b.Write(binary.BigEndian.AppendUint32(nil, l.tables[t][1].start))
	b.Write(make([]byte, 4))
	b.Write(record([]byte{0}, l.dirs[t][0].dirs[t], true))
	for range 4 { // set, publisher, preparer, application
		text("", 128)
	}
	for range 3 { // copyright, abstract, bibliography
		text("", 37)
	}
	for range 4 { // no times
		b.WriteString("0000000000000000\x00")
	}
	b.Write([]byte{1, 0})
	return append(b.Bytes(), make([]byte, sector-b.Len())...)
}

// both32 is a number in both orders of bytes (ECMA-119, 7.3.3).
func both32(n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, n), n)
}

func both16(n uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, n), n)
}

// record is a directory record (ECMA-119, 9.1).
func record(identifier []byte, at extent, dir bool) []byte {
	b := []byte{byte(recordLength(len(identifier))), 0}
	b = append(b, both32(at.start)...)
	b = append(b, both32(at.size)...)
	b = append(b, 70, 1, 1, 0, 0, 0, 0) // 1970-01-01
	flags := byte(0)
	if dir {
		flags = 2
	}
	b = append(b, flags, 0, 0)
	b = append(b, both16(1)...)
	b = append(b, byte(len(identifier)))
	b = append(b, identifier...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// pathRecord is a record of a path table (ECMA-119, 9.4).
func pathRecord(d *entry, t int, order binary.AppendByteOrder) []byte {
	id, parent := []byte{0}, 1
	if d.parent != nil {
		id, parent = identifier(d.names[t], t), d.parent.number
	}
	b := []byte{byte(len(id)), 0}
	b = order.AppendUint32(b, d.dirs[t].start)
	b = order.AppendUint16(b, uint16(parent))
	b = append(b, id...)
	if len(id)%2 == 1 {
		b = append(b, 0)
	}
	return b
}

// writeDir writes the records of a directory.
func writeDir(w *writer, d *entry, t int) {
	up := d
	if d.parent != nil {
		up = d.parent
	}
	w.bytes(record([]byte{0}, d.dirs[t], true))
	w.bytes(record([]byte{1}, up.dirs[t], true))
	for _, e := range sorted(d, t) {
		at := e.dirs[t]
		if e.file != nil {
			at = extent{e.start, uint32(e.file.Size)}
		}
		r := record(identifier(e.names[t], t), at, e.file == nil)
		if used := w.n % sector; used+int64(len(r)) > sector {
			w.pad()
		}
		w.bytes(r)
	}
	w.pad()
}
