// Package identity is the one list of what a machine must not share with those that
// are made of its image, as shell code for the machine itself. What the list holds
// follows systemd's "Building Images Safely" (systemd.io/BUILDING_IMAGES), with
// what cloud-init, DHCP clients and NetworkManager remember.
//
// Who changes the list looks at the macro clean of stdlib/clean.star, too, which is
// a script of the definition's own: a test there has it remove all of the list.
package identity
