package hardware

import (
	"slices"
	"strings"
)

// A Guest is an operating system as each reader of descriptors names it.
type Guest struct {
	Name string // in definitions; that of osinfo where it has one of the same meaning

	// OVF is the number of CIM_OperatingSystem.OsType of DMTF's CIM schema. Where it has
	// none of the system's own, the number is of the family.
	OVF int

	VMware     string // VirtualMachineGuestOsIdentifier of vSphere, with "Guest" at its end
	VirtualBox string // the ID of IGuestOSType, one that every release since 5 has where there is one
	OSInfo     string // the short ID of libosinfo; "" for none
}

// Numbers of CIM_OperatingSystem.OsType.
const (
	cimOther64   = 102
	cimLinux64   = 101
	cimRHEL64    = 80
	cimSUSE64    = 83
	cimSLES64    = 85
	cimUbuntu64  = 94
	cimDebian64  = 96
	cimCentOS64  = 107
	cimOracle64  = 109
	cimFreeBSD64 = 78
	cimWin2016   = 118
	cimWin10x64  = 120
)

// Guests is the table of guests: the one place where a name is mapped.
func Guests() []Guest {
	return []Guest{
		{"linux", cimLinux64, "other5xLinux64Guest", "Linux26_64", "linux2022"},
		{"alma8", cimLinux64, "almalinux_64Guest", "RedHat_64", "almalinux8"},
		{"alma9", cimLinux64, "almalinux_64Guest", "RedHat_64", "almalinux9"},
		{"alpine", cimLinux64, "other5xLinux64Guest", "Linux26_64", "alpinelinux3.17"},
		{"amazonlinux2", cimLinux64, "amazonlinux2_64Guest", "Linux26_64", ""},
		{"amazonlinux2023", cimLinux64, "amazonlinux3_64Guest", "Linux26_64", ""},
		{"arch", cimLinux64, "other5xLinux64Guest", "ArchLinux_64", "archlinux"},
		{"centos7", cimCentOS64, "centos7_64Guest", "RedHat_64", "centos7.0"},
		{"centos8", cimCentOS64, "centos8_64Guest", "RedHat_64", "centos8"},
		{"centos9", cimCentOS64, "centos9_64Guest", "RedHat_64", "centos-stream9"},
		{"debian10", cimDebian64, "debian10_64Guest", "Debian_64", "debian10"},
		{"debian11", cimDebian64, "debian11_64Guest", "Debian_64", "debian11"},
		{"debian12", cimDebian64, "debian12_64Guest", "Debian_64", "debian12"},
		{"debian13", cimDebian64, "debian12_64Guest", "Debian_64", "debian13"},
		{"fedora", cimLinux64, "fedora64Guest", "Fedora_64", "fedora-unknown"},
		{"flatcar", cimLinux64, "coreos64Guest", "Linux26_64", "flatcar"},
		{"opensuse15", cimSUSE64, "opensuse64Guest", "OpenSUSE_64", "opensuse15.4"},
		{"oraclelinux8", cimOracle64, "oracleLinux8_64Guest", "Oracle_64", "ol8.0"},
		{"oraclelinux9", cimOracle64, "oracleLinux9_64Guest", "Oracle_64", "ol9.0"},
		{"photon", cimLinux64, "vmwarePhoton64Guest", "Linux26_64", ""},
		{"rhel7", cimRHEL64, "rhel7_64Guest", "RedHat_64", "rhel7.0"},
		{"rhel8", cimRHEL64, "rhel8_64Guest", "RedHat_64", "rhel8.0"},
		{"rhel9", cimRHEL64, "rhel9_64Guest", "RedHat_64", "rhel9.0"},
		{"rocky8", cimLinux64, "rockylinux_64Guest", "RedHat_64", "rocky8"},
		{"rocky9", cimLinux64, "rockylinux_64Guest", "RedHat_64", "rocky9"},
		{"sles12", cimSLES64, "sles12_64Guest", "OpenSUSE_64", "sles12"},
		{"sles15", cimSLES64, "sles15_64Guest", "OpenSUSE_64", "sle15"},
		{"ubuntu20.04", cimUbuntu64, "ubuntu64Guest", "Ubuntu_64", "ubuntu20.04"},
		{"ubuntu22.04", cimUbuntu64, "ubuntu64Guest", "Ubuntu_64", "ubuntu22.04"},
		{"ubuntu24.04", cimUbuntu64, "ubuntu64Guest", "Ubuntu_64", "ubuntu24.04"},
		{"freebsd13", cimFreeBSD64, "freebsd13_64Guest", "FreeBSD_64", "freebsd13.0"},
		{"freebsd14", cimFreeBSD64, "freebsd14_64Guest", "FreeBSD_64", "freebsd14.0"},
		{"windows10", cimWin10x64, "windows9_64Guest", "Windows10_64", "win10"},
		{"windows11", cimWin10x64, "windows11_64Guest", "Windows11_64", "win11"},
		{"windows2016", cimWin2016, "windows9Server64Guest", "Windows2016_64", "win2k16"},
		{"windows2019", cimWin2016, "windows2019srv_64Guest", "Windows2019_64", "win2k19"},
		{"windows2022", cimWin2016, "windows2019srvNext_64Guest", "Windows2022_64", "win2k22"},
		{"windows2025", cimWin2016, "windows2022srvNext_64Guest", "Windows2022_64", "win2k25"},
		{"other", cimOther64, "otherGuest64", "Other_64", ""},
	}
}

// GuestNames lists the names of the guests.
func GuestNames() []string {
	var names []string
	for _, g := range Guests() {
		names = append(names, g.Name)
	}
	return names
}

// GuestNamed returns the guest of a name.
func GuestNamed(name string) (Guest, bool) {
	return findGuest(func(g Guest) bool { return g.Name == name })
}

// VMX is the guest as a VMX file and VMware's desktop programs name it.
func (g Guest) VMX() string {
	id := strings.ToLower(strings.Replace(g.VMware, "_64Guest", "-64", 1))
	id = strings.Replace(id, "64guest", "-64", 1)
	return strings.Replace(id, "otherguest64", "other-64", 1)
}

// GuestOf returns the guest that a descriptor names: by VMware's identifier or
// VirtualBox's, or else by OVF's number. Of several that are called the same, the
// first of the table counts. What is not known is "other".
func GuestOf(vmware, virtualBox string, ovf int) Guest {
	tries := []func(g Guest) bool{
		func(g Guest) bool {
			return vmware != "" && (strings.EqualFold(g.VMware, vmware) || g.VMX() == strings.ToLower(vmware))
		},
		func(g Guest) bool { return virtualBox != "" && strings.EqualFold(g.VirtualBox, virtualBox) },
		func(g Guest) bool { return g.OVF == ovf },
	}
	for _, is := range tries {
		if g, ok := findGuest(is); ok {
			return g
		}
	}
	other, _ := GuestNamed("other")
	return other
}

func findGuest(is func(Guest) bool) (Guest, bool) {
	all := Guests()
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], true
	}
	return Guest{}, false
}
