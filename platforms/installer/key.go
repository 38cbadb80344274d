package installer

import (
	"slices"
	"time"
)

// A Key is one key of a US keyboard, as the interfaces of hypervisors name it.
type Key struct {
	QEMU string // QKeyCode in QEMU's QMP
	Scan uint16 // make code in set 1 of PC keyboards; 0xe0 comes first where it is more than a byte
	USB  uint8  // usage on the page "Keyboard" of USB's HID Usage Tables
}

// keyTable lists the keys that have a letter, in the order in which USB counts
// them, by what they type alone and with the shift key.
var keyTable = []struct {
	Key
	plain, shifted rune
}{
	{Key{"a", 0x1e, 0x04}, 'a', 'A'}, {Key{"b", 0x30, 0x05}, 'b', 'B'}, {Key{"c", 0x2e, 0x06}, 'c', 'C'}, {Key{"d", 0x20, 0x07}, 'd', 'D'},
	{Key{"e", 0x12, 0x08}, 'e', 'E'}, {Key{"f", 0x21, 0x09}, 'f', 'F'}, {Key{"g", 0x22, 0x0a}, 'g', 'G'}, {Key{"h", 0x23, 0x0b}, 'h', 'H'},
	{Key{"i", 0x17, 0x0c}, 'i', 'I'}, {Key{"j", 0x24, 0x0d}, 'j', 'J'}, {Key{"k", 0x25, 0x0e}, 'k', 'K'}, {Key{"l", 0x26, 0x0f}, 'l', 'L'},
	{Key{"m", 0x32, 0x10}, 'm', 'M'}, {Key{"n", 0x31, 0x11}, 'n', 'N'}, {Key{"o", 0x18, 0x12}, 'o', 'O'}, {Key{"p", 0x19, 0x13}, 'p', 'P'},
	{Key{"q", 0x10, 0x14}, 'q', 'Q'}, {Key{"r", 0x13, 0x15}, 'r', 'R'}, {Key{"s", 0x1f, 0x16}, 's', 'S'}, {Key{"t", 0x14, 0x17}, 't', 'T'},
	{Key{"u", 0x16, 0x18}, 'u', 'U'}, {Key{"v", 0x2f, 0x19}, 'v', 'V'}, {Key{"w", 0x11, 0x1a}, 'w', 'W'}, {Key{"x", 0x2d, 0x1b}, 'x', 'X'},
	{Key{"y", 0x15, 0x1c}, 'y', 'Y'}, {Key{"z", 0x2c, 0x1d}, 'z', 'Z'},
	{Key{"1", 0x02, 0x1e}, '1', '!'}, {Key{"2", 0x03, 0x1f}, '2', '@'}, {Key{"3", 0x04, 0x20}, '3', '#'}, {Key{"4", 0x05, 0x21}, '4', '$'},
	{Key{"5", 0x06, 0x22}, '5', '%'}, {Key{"6", 0x07, 0x23}, '6', '^'}, {Key{"7", 0x08, 0x24}, '7', '&'}, {Key{"8", 0x09, 0x25}, '8', '*'},
	{Key{"9", 0x0a, 0x26}, '9', '('}, {Key{"0", 0x0b, 0x27}, '0', ')'},
	{Key{"ret", 0x1c, 0x28}, '\n', 0}, {Key{"tab", 0x0f, 0x2b}, '\t', 0}, {Key{"spc", 0x39, 0x2c}, ' ', 0},
	{Key{"minus", 0x0c, 0x2d}, '-', '_'}, {Key{"equal", 0x0d, 0x2e}, '=', '+'}, {Key{"bracket_left", 0x1a, 0x2f}, '[', '{'},
	{Key{"bracket_right", 0x1b, 0x30}, ']', '}'}, {Key{"backslash", 0x2b, 0x31}, '\\', '|'}, {Key{"semicolon", 0x27, 0x33}, ';', ':'},
	{Key{"apostrophe", 0x28, 0x34}, '\'', '"'}, {Key{"grave_accent", 0x29, 0x35}, '`', '~'}, {Key{"comma", 0x33, 0x36}, ',', '<'},
	{Key{"dot", 0x34, 0x37}, '.', '>'}, {Key{"slash", 0x35, 0x38}, '/', '?'},
}

// namedKeys are the keys that boot commands call by name.
var namedKeys = map[string]Key{
	"enter": {"ret", 0x1c, 0x28}, "return": {"ret", 0x1c, 0x28}, "esc": {"esc", 0x01, 0x29}, "tab": {"tab", 0x0f, 0x2b},
	"spacebar": {"spc", 0x39, 0x2c}, "space": {"spc", 0x39, 0x2c}, "bs": {"backspace", 0x0e, 0x2a}, "backspace": {"backspace", 0x0e, 0x2a},
	"del": {"delete", 0xe053, 0x4c}, "insert": {"insert", 0xe052, 0x49}, "home": {"home", 0xe047, 0x4a}, "end": {"end", 0xe04f, 0x4d},
	"pageup": {"pgup", 0xe049, 0x4b}, "pagedown": {"pgdn", 0xe051, 0x4e}, "up": {"up", 0xe048, 0x52}, "down": {"down", 0xe050, 0x51},
	"left": {"left", 0xe04b, 0x50}, "right": {"right", 0xe04d, 0x4f}, "menu": {"menu", 0xe05d, 0x65},
	"f1": {"f1", 0x3b, 0x3a}, "f2": {"f2", 0x3c, 0x3b}, "f3": {"f3", 0x3d, 0x3c}, "f4": {"f4", 0x3e, 0x3d}, "f5": {"f5", 0x3f, 0x3e},
	"f6": {"f6", 0x40, 0x3f}, "f7": {"f7", 0x41, 0x40}, "f8": {"f8", 0x42, 0x41}, "f9": {"f9", 0x43, 0x42}, "f10": {"f10", 0x44, 0x43},
	"f11": {"f11", 0x57, 0x44}, "f12": {"f12", 0x58, 0x45},
	"leftctrl": {"ctrl", 0x1d, 0xe0}, "rightctrl": {"ctrl_r", 0xe01d, 0xe4}, "leftalt": {"alt", 0x38, 0xe2}, "rightalt": {"alt_r", 0xe038, 0xe6},
	"leftshift": {"shift", 0x2a, 0xe1}, "rightshift": {"shift_r", 0x36, 0xe5}, "leftsuper": {"meta_l", 0xe05b, 0xe3}, "rightsuper": {"meta_r", 0xe05c, 0xe7},
}

// shift is the key that is pressed with others.
func shift() Key { return namedKeys["leftshift"] }

// Rune returns what the key types, alone or with the shift key, or 0 where that is
// nothing.
func (k Key) Rune(shifted bool) rune {
	for _, t := range keyTable {
		if t.Key == k && shifted {
			return t.shifted
		} else if t.Key == k {
			return t.plain
		}
	}
	return 0
}

// A Stroke is what is typed at once, or a pause.
type Stroke struct {
	Keys  []Key         // in the order in which they go down
	Hold  Hold          // what becomes of them
	Pause time.Duration // instead of keys
}

// A Hold says what becomes of keys: they are pressed and released, or stay down
// until they are let go.
type Hold int

// What becomes of keys.
const (
	Press Hold = iota
	Down
	Up
)

// Scan returns the bytes that a PC keyboard sends for the stroke: the make codes of
// its keys, and their break codes in reverse.
func (s Stroke) Scan() []byte {
	const released = 0x80
	var codes []byte
	send := func(k Key, bit uint16) {
		if k.Scan > 0xff {
			codes = append(codes, byte(k.Scan>>8))
		}
		codes = append(codes, byte(k.Scan|bit))
	}
	if s.Hold != Up {
		for _, k := range s.Keys {
			send(k, 0)
		}
	}
	if s.Hold != Down {
		for _, k := range slices.Backward(s.Keys) {
			send(k, released)
		}
	}
	return codes
}

// Modifier reports whether the key is one of those that change what others type, by its
// bit in the first byte of a USB keyboard's reports.
func (k Key) Modifier() (bit int, ok bool) {
	const first, last = 0xe0, 0xe7
	return int(k.USB) - first, k.USB >= first && k.USB <= last
}
