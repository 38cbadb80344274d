package grub

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Kernel is one in a file tree. Its paths are absolute.
type Kernel struct {
	Image   string
	Initrd  string // the initial file system, or ""
	Version string // as the names of its files have it, or ""
}

// Links are where distributions keep links to the kernel that they boot: Debian,
// Ubuntu, SUSE.
var Links = []Kernel{
	{Image: "/vmlinuz", Initrd: "/initrd.img"},
	{Image: "/boot/vmlinuz", Initrd: "/boot/initrd.img"},
	{Image: "/boot/vmlinuz", Initrd: "/boot/initrd"},
}

// Prefixes are what the names of kernels in /boot begin with, before the version.
var Prefixes = []string{"vmlinuz-", "vmlinux-", "Image-", "kernel-"}

// Initrds returns the names that the initial file system of a kernel has, for a
// kernel of a version in a directory: those of Debian, Fedora, SUSE and Alpine, and
// what may lie beside it.
func Initrds(version, dir string) []string {
	dir = "/" + strings.Trim(dir, "/")
	return []string{
		"/boot/initrd.img-" + version, "/boot/initramfs-" + version + ".img", "/boot/initrd-" + version,
		"/boot/initramfs-" + version, dir + "/initrd", dir + "/initramfs.img",
	}
}

// rankNumbers is how many numbers of a version count.
const rankNumbers = 8

// beforeFlavour matches a version, with what comes before the names of a flavour and
// an architecture at its end: their numbers do not count.
const beforeFlavour = `^(.*[0-9])[-._][a-z].*$`

var (
	flavour = regexp.MustCompile(beforeFlavour)
	digits  = regexp.MustCompile(`[0-9]+`)
)

// CompareVersions compares versions of kernels by their numbers, as the
// configuration does it at boot.
func CompareVersions(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }

func numbers(version string) []uint64 {
	if m := flavour.FindStringSubmatch(version); m != nil {
		version = m[1]
	}
	var list []uint64
	for _, d := range digits.FindAllString(version, rankNumbers) {
		n, _ := strconv.ParseUint(d, 10, 64) // the largest one, where it is larger
		list = append(list, n)
	}
	return list
}

// A Config is what the configuration of a disk says.
type Config struct {
	Root    string   // the kernel's name of the root file system, "PARTUUID=…"
	Args    []string // of the kernel
	Kernel  Kernel   // the one that boots first
	Headers []string // lines of comment
}

// Script returns the text of grub.cfg. It looks for the kernel at every boot, so
// that what the machine's own tools install is what boots next: first the links
// that the maintainer scripts of some distributions keep pointing to the newest
// one, otherwise the newest by its version. One without an initial file system is
// taken where no other is there.
func (c Config) Script() string {
	var b strings.Builder
	for _, h := range c.Headers {
		fmt.Fprintf(&b, "# %s\n", h)
	}
	words := append([]string{"root=" + c.Root}, c.Args...)
	for i, w := range words {
		words[i] = quote(w)
	}
	var links []string
	for _, l := range Links {
		links = append(links, quote(l.Image+":"+l.Initrd))
	}
	images := make([]string, len(Prefixes))
	for i, p := range Prefixes {
		images[i] = "/boot/" + p + "*"
	}
	var initrds []string
	for _, name := range Initrds("$1", "$2") {
		initrds = append(initrds, `"`+strings.Replace(name, "/$2", "$2", 1)+`"`)
	}
	turns := strings.TrimSpace(strings.Repeat("x ", rankNumbers))
	b.WriteString(`
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi
set timeout_style=hidden
set timeout=1
set default=0

function boot_linux {
  linux "$1" ` + strings.Join(words, " ") + ` $3
  if [ -n "$2" ]; then
    initrd "$2"
  fi
}

# find_initrd VERSION DIRECTORY sets found.
function find_initrd {
  set found=
  for name in ` + strings.Join(initrds, " ") + `; do
    if [ -z "$found" -a -s "$name" ]; then
      set found="$name"
    fi
  done
}

# each COMMAND runs it for each kernel, with the kernel, its version and its directory.
function each {
  for k in ` + strings.Join(images, " ") + `; do
    if [ -s "$k" ]; then
      regexp --set=1:v '^/boot/[^-]*-(.*)$' "$k"
      $1 "$k" "$v" /boot
    fi
  done
  for k in /usr/lib/modules/*/vmlinuz /boot/*/*/linux; do
    if [ -s "$k" ]; then
      regexp --set=1:d --set=2:v '^(/.*/([^/]*))/[^/]*$' "$k"
      $1 "$k" "$v" "$d"
    fi
  done
}

# rank_of VERSION sets rank, which -pgt compares from the number on with which two
# texts begin to differ. The x is there since what follows may begin with a hyphen,
# the 1 since a number that is missing is no number, and 010 is 8.
function rank_of {
  set v="$1"
  regexp --set=1:v ` + quote(beforeFlavour) + ` "$1"
  set rank=
  for i in ` + turns + `; do
    regexp --set=1:n --set=2:v '^[^0-9]*([0-9]*)(.*)$' "x$v"
    set rank="$rank.1$n"
  done
}

# consider takes a kernel that is newer than the one before.
function consider {
  find_initrd "$2" "$3"
  if [ -n "$found" -o -n "$without" ]; then
    rank_of "$2"
    if [ "$rank" -pgt "$best" ]; then
      set kernel="$1"
      set initrd="$found"
      set best="$rank"
    fi
  fi
}

function entry {
  menuentry "Linux $2" "$1" "$2" "$3" {
    find_initrd "$3" "$4"
    boot_linux "$2" "$found"
  }
}

set kernel=
set initrd=
set best=.0
set without=
for pair in ` + strings.Join(links, " ") + `; do
  regexp --set=1:k --set=2:i '^([^:]*):(.*)$' "$pair"
  if [ -z "$initrd" -a -s "$k" ]; then
    set kernel="$k"
    if [ -s "$i" ]; then
      set initrd="$i"
    fi
  fi
done
if [ -z "$kernel" ]; then
  if [ -s ` + quote(c.Kernel.Image) + ` ]; then
    consider ` + quote(c.Kernel.Image) + " " + quote(c.Kernel.Version) + " " + quote(path.Dir(c.Kernel.Image)) + `
  fi
  each consider
fi
if [ -z "$kernel" ]; then
  set without=1
  each consider
fi
export kernel initrd

menuentry "Linux ($kernel)" {
  boot_linux "$kernel" "$initrd"
}
menuentry "Linux, single user" {
  boot_linux "$kernel" "$initrd" single
}
each entry
`)
	return b.String()
}

// Defaults returns the text of a file for /etc/default/grub.d that makes
// update-grub, where the image has it, write a configuration with the same
// arguments and consoles.
func (c Config) Defaults() string {
	var b strings.Builder
	for _, h := range c.Headers {
		fmt.Fprintf(&b, "# %s\n", h)
	}
	fmt.Fprintf(&b, "GRUB_CMDLINE_LINUX=%s\n", quote(strings.Join(c.Args, " ")))
	b.WriteString("GRUB_TERMINAL=\"console serial\"\n" +
		"GRUB_SERIAL_COMMAND=\"serial --unit=0 --speed=115200\"\n" +
		"GRUB_TIMEOUT=1\nGRUB_DISABLE_OS_PROBER=true\n")
	return b.String()
}

// quote makes one word of s in GRUB's script and in the shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Words splits the kernel's arguments at spaces, except in double quotes, which
// are dropped: GRUB puts them back around a word with spaces.
func Words(args string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, open := false, false
	for _, r := range args {
		switch {
		case r == '"':
			quoted, open = !quoted, true
		case r < ' ' && r != '\t' && r != '\n' || r == 0x7f:
			return nil, fmt.Errorf("kernel arguments: control character %q", r)
		case (r == ' ' || r == '\t' || r == '\n') && !quoted:
			if open {
				words = append(words, word.String())
			}
			word.Reset()
			open = false
		default:
			open = true
			word.WriteRune(r)
		}
	}
	if quoted {
		return nil, errors.New("kernel arguments: a double quote is not closed")
	}
	if open {
		words = append(words, word.String())
	}
	return words, nil
}
