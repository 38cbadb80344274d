package aws

import (
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// A volumeKind is what AWS says of a type of volume: see "Amazon EBS volume types" of
// its documentation.
type volumeKind struct {
	least, most int64 // GiB
	iops        [2]int
	perGiB      int // operations a second for each GiB, at most
	needsIOPS   bool
	throughput  [2]int // MiB a second
}

var volumeKinds = map[types.VolumeType]volumeKind{
	types.VolumeTypeGp2:      {least: 1, most: 16384},
	types.VolumeTypeGp3:      {least: 1, most: 65536, iops: [2]int{3000, 80000}, perGiB: 500, throughput: [2]int{125, 2000}},
	types.VolumeTypeIo1:      {least: 4, most: 16384, iops: [2]int{100, 64000}, perGiB: 50, needsIOPS: true},
	types.VolumeTypeIo2:      {least: 4, most: 65536, iops: [2]int{100, 256000}, perGiB: 1000, needsIOPS: true},
	types.VolumeTypeStandard: {least: 1, most: 1024},
	types.VolumeTypeSt1:      {least: 125, most: 16384}, // not for root volumes
	types.VolumeTypeSc1:      {least: 125, most: 16384},
}

// gp3IOPS is what a gp3 volume has when nothing is said.
const gp3IOPS = 3000

// checkVolume says what AWS will not take of a volume. gib is 0 where the size is not
// known.
func checkVolume(kind types.VolumeType, gib int64, iops, throughput int) error {
	k, ok := volumeKinds[kind]
	switch {
	case !ok:
		return fmt.Errorf("volume_type: there are no volumes of the type %s", kind)
	case gib > 0 && (gib < k.least || gib > k.most):
		return fmt.Errorf("volume_size: %s volumes have %d to %d GiB", kind, k.least, k.most)
	case iops == 0 && k.needsIOPS:
		return fmt.Errorf("iops: %s volumes need them", kind)
	case iops != 0 && k.iops[1] == 0:
		return fmt.Errorf("iops: cannot be chosen for %s volumes: they are for gp3, io1 and io2", kind)
	case iops != 0 && (iops < k.iops[0] || iops > k.iops[1]):
		return fmt.Errorf("iops: %s volumes have %d to %d", kind, k.iops[0], k.iops[1])
	case iops > gp3IOPS && gib > 0 && int64(iops) > gib*int64(k.perGiB):
		return fmt.Errorf("iops: %s volumes have at most %d for each GiB, and this one has %d GiB", kind, k.perGiB, gib)
	case throughput != 0 && k.throughput[1] == 0:
		return fmt.Errorf("throughput: cannot be chosen for %s volumes: it is for gp3", kind)
	case throughput != 0 && (throughput < k.throughput[0] || throughput > k.throughput[1]):
		return fmt.Errorf("throughput: %s volumes have %d to %d", kind, k.throughput[0], k.throughput[1])
	case throughput > max(iops, gp3IOPS)/4:
		return errors.New("throughput: is at most a quarter of iops")
	}
	return nil
}
