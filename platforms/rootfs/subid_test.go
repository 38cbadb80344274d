package rootfs

import (
	"math"
	"testing"
)

// FuzzSubIDs has no line of the table give a user more than one of its ranges says,
// or one that is too small for an image.
func FuzzSubIDs(f *testing.F) {
	f.Add("root:100000:65536\n1000:200000:65535\nme:4294967295:4294967295\nme:1:x\n:::\n")
	f.Fuzz(func(t *testing.T, database string) {
		r, ok := findSubIDs(database, "me", "1000")
		if ok && (r.count < minSubIDs || r.first+r.count > math.MaxUint32) {
			t.Errorf("%q gives %+v", database, r)
		}
	})
}
