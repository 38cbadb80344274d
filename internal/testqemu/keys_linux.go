package testqemu

import (
	"fmt"
	"time"
)

// keyPause is what QEMU's keyboard, which holds 16 bytes, needs between two bytes.
const keyPause = 8 * time.Millisecond

// Scan types scan codes of set 1, as a keyboard sends them.
func (m Machine) Scan(codes []byte) error {
	extended := byte(0)
	for _, b := range codes {
		if b == 0xe0 {
			extended = 0x80
			continue
		}
		event := map[string]any{"type": "key", "data": map[string]any{
			"down": b&0x80 == 0, "key": map[string]any{"type": "number", "data": int(b&0x7f | extended)},
		}}
		extended = 0
		if err := m.Run("input-send-event", map[string]any{"events": []any{event}}, nil); err != nil {
			return fmt.Errorf("type: %w", err)
		}
		time.Sleep(keyPause)
	}
	return nil
}

// rows are the keys of a US keyboard by their scan codes, and what they are with shift.
var rows = []struct {
	from          byte
	plain, shifts string
}{
	{0x02, "1234567890-=", "!@#$%^&*()_+"},
	{0x10, "qwertyuiop[]", "QWERTYUIOP{}"},
	{0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"},
	{0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"},
	{0x39, " ", " "},
	{0x1c, "\n", "\n"},
	{0x0f, "\t", "\t"},
}

// Text types what a US keyboard has, and passes over the rest.
func (m Machine) Text(text string) error {
	for _, c := range text {
		for _, row := range rows {
			for i := range row.plain {
				code := row.from + byte(i)
				switch c {
				case rune(row.plain[i]):
					if err := m.Scan([]byte{code, code | 0x80}); err != nil {
						return err
					}
				case rune(row.shifts[i]):
					if err := m.Scan([]byte{0x2a, code, code | 0x80, 0xaa}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
