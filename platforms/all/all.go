// Package all is the table of the platforms that bake is built with. A platform
// is added by its folder and one line here.
package all

import (
	"bake.build/bake/platforms"
	"bake.build/bake/platforms/aws"
	"bake.build/bake/platforms/openstack"
	"bake.build/bake/platforms/qemu"
	"bake.build/bake/platforms/rootfs"
	"bake.build/bake/platforms/virtualbox"
	"bake.build/bake/platforms/vmware"
	"bake.build/bake/platforms/vsphere"
)

// Table returns the platforms, in the order of the reference.
func Table() []platforms.Spec {
	return []platforms.Spec{
		rootfs.Spec(),
		qemu.Spec(),
		virtualbox.Spec(),
		vmware.Spec(),
		aws.Spec(),
		vsphere.Spec(),
		openstack.Spec(),
	}
}
