package origin

// Options are the options of source() on the rootfs platform.
type Options struct {
	Debian  string `bake:"debian,origin" json:"debian,omitempty" help:"The Debian suite to install, such as bookworm, stable or sid."`
	Ubuntu  string `bake:"ubuntu,origin" json:"ubuntu,omitempty" help:"The Ubuntu release to install, such as noble. Options for debian hold for it too."`
	OCI     string `bake:"oci,ref,origin" json:"oci,omitempty" help:"An OCI image: a reference to a registry, or the path of a layout folder or of an archive that docker save or an OCI tool wrote. A relative path begins with \"./\" or \"../\", or is the name of a layout folder beside the definition; of several images in it, a tag at its end picks one: \"./layout:v2\"."`
	Tar     string `bake:"tar,path,origin" json:"tar,omitempty" help:"A tar archive of a file tree, plain or compressed with gzip, zstd, xz or bzip2: a path or a URL."`
	Disk    string `bake:"disk,path,origin" json:"disk,omitempty" help:"A disk image (raw, qcow2, VMDK, VDI, VHD or VHDX) that is whole in one file, or the first disk of a machine (an OVA, a folder with an OVF or VMX file, a Vagrant box); also compressed with gzip, zstd, xz or bzip2. It is a path, a URL or an artifact. Its root file system is found and copied, with what its fstab and the types of its partitions mount below that."`
	Scratch bool   `bake:"scratch,origin" json:"scratch,omitempty" help:"An empty tree."`
	Layer   string `bake:"layer,layer,origin" json:"layer,omitempty" help:"A layer of any source that is a file tree, copied as one layer."`

	Packages       []string `bake:"packages,set" json:"packages,omitempty" help:"Packages to install beside those of the variant. debian and ubuntu only."`
	Variant        string   `bake:"variant" json:"variant,omitempty" help:"How much of the system to install, as mmdebstrap names it. debian and ubuntu only." default:"minbase" choices:"essential|apt|minbase|required|important|standard"`
	Components     []string `bake:"components" json:"components,omitempty" help:"Components of the archive. debian and ubuntu only." default:"main; of ubuntu main and universe"`
	Mirror         string   `bake:"mirror" json:"mirror,omitempty" help:"URL of the distribution's archive. debian and ubuntu only." default:"that of the host's own apt sources if the host is one of it, else the distribution's own"`
	SecurityMirror string   `bake:"security_mirror" json:"security_mirror,omitempty" help:"URL of the archive of security updates, or none. debian and ubuntu only." default:"as for mirror"`
	Snapshot       string   `bake:"snapshot" json:"snapshot,omitempty" help:"Take the archive as it was at this time, such as 20260701T000000Z or 2026-07-01, from snapshot.debian.org or snapshot.ubuntu.com. debian and ubuntu only."`
	Keyring        string   `bake:"keyring,path" json:"keyring,omitempty" help:"The keyring that the archive's release files are signed with. debian and ubuntu only." default:"that of debian-archive-keyring or of ubuntu-keyring, in /usr/share/keyrings"`
	Docs           bool     `bake:"docs" json:"docs,omitempty" help:"Keep documentation, manual pages and translations. Without it they are not unpacked, now or by later steps; copyright files always are. debian and ubuntu only." default:"False"`
	Initramfs      string   `bake:"initramfs" json:"initramfs,omitempty" help:"The drivers in the initramfs: vm for those of virtual machines, most for those of physical ones too, which takes longer and is larger. debian and ubuntu only." default:"vm" choices:"vm|most"`

	Arch   string `bake:"arch" json:"arch,omitempty" help:"The machine's architecture, as Debian names it. debian, ubuntu and oci only." default:"the host's" choices:"amd64|arm64|armhf|i386|ppc64el|riscv64|s390x"`
	SHA256 string `bake:"sha256" json:"sha256,omitempty" help:"The SHA-256 that the file must have, in hex. tar and disk only."`
	SHA512 string `bake:"sha512" json:"sha512,omitempty" help:"The SHA-512 that the file must have, in hex. tar and disk only."`

	Checksums string `bake:"checksums,path" json:"checksums,omitempty" help:"A list of checksums that has the file's, as sha256sum and sha512sum write it: a path, or a URL, whose digest of the file is pinned. tar and disk only."`
}
