// Package seed lets bake into a machine that boots, for every hypervisor, and takes away
// what is left of that before the machine becomes an image.
//
// The public key comes in two ways, each of which is enough: a credential of
// systemd in the SMBIOS tables, which systemd-tmpfiles follows early in the
// boot (systemd 252 and later; see "tmpfiles.extra" in systemd-tmpfiles(8)), and
// a NoCloud seed, which cloud-init follows wherever it is installed. Both put
// the key below /run, where no disk is, and a link to it into the home of the
// user. What the key opens ends with the machine; the link is removed.
package seed
