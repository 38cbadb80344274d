// Package vmdk writes VMware's virtual disks as streams of compressed grains, and says
// what tells a disk from others. It follows VMware's Virtual Disk Format 5.0.
package vmdk

import (
	"encoding/hex"
	"fmt"
)

// An Identity is what tells a VMDK from others. Readers of VMware compare content
// identifiers; VirtualBox refuses to open a disk without a UUID of the image.
type Identity struct {
	CID  string // eight digits: the end of the long one
	Long string
	UUID string
}

// IdentityOf derives an identity from a digest. The content identifiers 0xffffffff and
// 0xfffffffe have meanings of their own.
func IdentityOf(d [32]byte) Identity {
	d[12] &= 0x7f
	long := hex.EncodeToString(d[:16])
	u := d[16:]
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // a random UUID
	return Identity{CID: long[24:], Long: long, UUID: fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:16])}
}

// Database returns the lines of the disk data base that hold the identity.
func (id Identity) Database() string {
	const none = "00000000-0000-0000-0000-000000000000"
	return fmt.Sprintf(`ddb.longContentID = "%s"
ddb.uuid.image = "%s"
ddb.uuid.modification = "%s"
ddb.uuid.parent = "%s"
ddb.uuid.parentmodification = "%s"
`, id.Long, id.UUID, none, none, none)
}
