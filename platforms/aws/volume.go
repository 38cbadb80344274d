package aws

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"bake.build/bake/internal/lazyregexp"
	"bake.build/bake/platforms"
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

var deviceName = lazyregexp.New(`^(/dev/)?(sd|xvd|hd)[a-z]{1,2}$`)

// parseVolumes reads the option volumes: an empty volume for each device.
func parseVolumes(volumes map[string]string) (list []types.BlockDeviceMapping, err error) {
	for _, device := range slices.Sorted(maps.Keys(volumes)) {
		fail := func(why string) ([]types.BlockDeviceMapping, error) {
			return nil, fmt.Errorf("volumes: %s: %q: %s", device, volumes[device], why)
		}
		words := strings.Fields(volumes[device])
		if !deviceName.MatchString(device) {
			return fail("the device has no name such as /dev/sdf")
		}
		if len(words) == 0 || len(words) > 2 {
			return fail(`want a size and, if wanted, a type, such as "100G gp3"`)
		}
		size, err := platforms.ParseSize(words[0])
		if err != nil {
			return fail(err.Error())
		}
		if size%(1<<30) != 0 {
			return fail("want whole GiB")
		}
		kind := types.VolumeTypeGp3
		if len(words) == 2 {
			kind = types.VolumeType(words[1])
		}
		if err := checkVolume(kind, size>>30, 0, 0); err != nil {
			return fail(err.Error())
		}
		list = append(list, types.BlockDeviceMapping{DeviceName: aws.String(device), Ebs: &types.EbsBlockDevice{
			VolumeSize: aws.Int32(int32(size >> 30)), VolumeType: kind, DeleteOnTermination: aws.Bool(true),
		}})
	}
	return list, nil
}
