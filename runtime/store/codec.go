package store

import (
	"encoding/binary"
	"fmt"
	"math"
)

// An encoder appends values in the one form that decoder accepts.
type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)   { e.b = binary.AppendVarint(e.b, v) }

func (e *encoder) str(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// A decoder takes values from b. After the first error all values are zero.
type decoder struct {
	b    []byte // what is left
	text string // all of it: the strings that are taken share its memory
	err  error
}

func newDecoder(b []byte) *decoder { return &decoder{b: b, text: string(b)} }

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
	d.b = nil
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail("cut short or a number out of range")
		return 0
	}
	// A last byte of zero adds nothing: the number has a shorter form.
	if n > 1 && d.b[n-1] == 0 {
		d.fail("a number is not in its shortest form")
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	u := d.uint()
	return int64(u>>1) ^ -int64(u&1)
}

func (d *decoder) uint32() uint32 {
	v := d.uint()
	if v > math.MaxUint32 {
		d.fail("number %d is out of range", v)
		return 0
	}
	return uint32(v)
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) take(n int) []byte {
	if n > len(d.b) {
		d.fail("cut short")
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) str() string {
	n := d.uint()
	if n > uint64(len(d.b)) {
		d.fail("cut short")
		return ""
	}
	begin := len(d.text) - len(d.b)
	d.b = d.b[n:]
	return d.text[begin : begin+int(n)]
}

// count takes the number of items that follow, each of least bytes or more,
// so that a wrong number cannot make the caller allocate at will.
func (d *decoder) count(least int) int {
	n := d.uint()
	if n > uint64(len(d.b)/least) {
		d.fail("%d items do not fit in %d bytes", n, len(d.b))
		return 0
	}
	return int(n)
}
