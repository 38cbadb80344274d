package grub

import (
	"errors"
	"fmt"
	"strings"
)

// A Config is what the configuration of a disk says.
type Config struct {
	Root    string   // the kernel's name of the root file system, "PARTUUID=…"
	Args    []string // of the kernel
	Kernel  string   // the newest kernel in the tree, such as "/boot/vmlinuz-6.1"
	Initrd  string   // that kernel's initrd, or ""
	Headers []string // lines of comment
}

// Script returns the text of grub.cfg. It looks for the kernel at every boot:
// first the links that the maintainer scripts of Debian's and Ubuntu's kernels
// keep pointing to the newest one, then the newest that was there when the
// disk was made, then any in /boot. So it goes on working when kernels come
// and go.
func (c Config) Script() string {
	var b strings.Builder
	for _, h := range c.Headers {
		fmt.Fprintf(&b, "# %s\n", h)
	}
	words := append([]string{"root=" + c.Root}, c.Args...)
	for i, w := range words {
		words[i] = quote(w)
	}
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

function find_initrd {
  set found=
  for name in "/boot/initrd.img-$1" "/boot/initramfs-$1.img" "/boot/initrd-$1"; do
    if [ -s "$name" ]; then
      set found="$name"
    fi
  done
}

set kernel=
set initrd=
for pair in "/vmlinuz:/initrd.img" "/boot/vmlinuz:/boot/initrd.img" ` + quote(c.Kernel+":"+c.Initrd) + `; do
  if [ -z "$kernel" ]; then
    regexp --set=1:k --set=2:i '^([^:]*):(.*)$' "$pair"
    if [ -s "$k" ]; then
      set kernel="$k"
      if [ -n "$i" -a -s "$i" ]; then
        set initrd="$i"
      fi
    fi
  fi
done
if [ -z "$kernel" ]; then
  for k in /boot/vmlinuz-*; do
    if [ -s "$k" ]; then
      set kernel="$k"
      regexp --set=1:version 'vmlinuz-(.*)$' "$k"
      find_initrd "$version"
      set initrd="$found"
    fi
  done
fi
export kernel initrd

menuentry "Linux" {
  boot_linux "$kernel" "$initrd"
}
menuentry "Linux, single user" {
  boot_linux "$kernel" "$initrd" single
}
for k in /boot/vmlinuz-*; do
  regexp --set=1:version 'vmlinuz-(.*)$' "$k"
  menuentry "Linux $version" "$k" "$version" {
    find_initrd "$3"
    boot_linux "$2" "$found"
  }
done
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
