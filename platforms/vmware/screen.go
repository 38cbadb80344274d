package vmware

import (
	"bytes"
	"context"
	"crypto/des"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/wait"
)

// A screen is a machine's, by the server of VNC that VMware has for it. Keys are typed
// there, as vmrun types only for a guest with VMware Tools. See RFC 6143.
type screen struct {
	port     int // of this host's loopback
	password string
}

// passwordMost is how long a password of VNC is.
const passwordMost = 8

// choose takes a port that nobody has, and a password.
func (s *screen) choose() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return errors.Join(errors.New("a listener without a port"), l.Close())
	}
	s.port, s.password = address.Port, rand.Text()[:passwordMost]
	return l.Close()
}

// Times of the screen.
const (
	screenLimit = 30 * time.Second // until the server answers
	screenPause = 200 * time.Millisecond
)

// typeKeys types a stroke.
func (s *screen) typeKeys(ctx context.Context, stroke installer.Stroke) error {
	ctx, cancel := context.WithTimeoutCause(ctx, screenLimit, errors.New("the machine's VNC server does not answer"))
	defer cancel()
	var conn net.Conn
	for {
		var err error
		if conn, err = s.connect(ctx); err == nil {
			break
		}
		if pause := wait.Pause(ctx, screenPause); pause != nil {
			return errors.Join(pause, err)
		}
	}
	return errors.Join(send(ctx, conn, stroke), conn.Close())
}

// connect opens a session that shows nothing.
func (s *screen) connect(ctx context.Context) (_ net.Conn, err error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)))
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err = conn.SetDeadline(deadline); err == nil {
		err = s.login(conn)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("log in to VNC: %w", err), conn.Close())
	}
	return conn, nil
}

// Security types of RFB.
const (
	securityNone = 1
	securityVNC  = 2
)

func (s *screen) login(conn net.Conn) error {
	hello := make([]byte, 12)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return err
	}
	if string(hello[:4]) != "RFB " {
		return errors.New("it is no VNC server")
	}
	if _, err := io.WriteString(conn, "RFB 003.008\n"); err != nil {
		return err
	}
	kinds, err := lengthed(conn, 1)
	if err != nil {
		return err
	}
	switch {
	case bytes.IndexByte(kinds, securityVNC) >= 0:
		if err := s.answer(conn); err != nil {
			return err
		}
	case bytes.IndexByte(kinds, securityNone) >= 0:
		if _, err := conn.Write([]byte{securityNone}); err != nil {
			return err
		}
	default:
		return fmt.Errorf("it offers the security types %v", kinds)
	}
	result := make([]byte, 4)
	if _, err := io.ReadFull(conn, result); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(result) != 0 {
		return errors.New("it refuses the password")
	}
	if _, err := conn.Write([]byte{1}); err != nil { // others may be connected
		return err
	}
	const format = 20 // size of the screen and form of its pixels
	if _, err := io.ReadFull(conn, make([]byte, format)); err != nil {
		return err
	}
	_, err = lengthed(conn, 4)
	return err
}

// lengthed reads what comes after its length, a number of so many bytes.
func lengthed(r io.Reader, size int) ([]byte, error) {
	const most = 1 << 16
	b := make([]byte, 4)
	if _, err := io.ReadFull(r, b[4-size:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(b)
	if n > most {
		return nil, fmt.Errorf("%d bytes are to follow", n)
	}
	text := make([]byte, n)
	_, err := io.ReadFull(r, text)
	return text, err
}

// answer answers the challenge: the password is a key of DES, each byte of it in
// reverse.
func (s *screen) answer(conn net.Conn) error {
	challenge := make([]byte, 16)
	if _, err := conn.Write([]byte{securityVNC}); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, challenge); err != nil {
		return err
	}
	key := make([]byte, passwordMost)
	for i, c := range []byte(s.password) {
		key[i] = bits.Reverse8(c)
	}
	block, err := des.NewCipher(key)
	if err != nil {
		return err
	}
	block.Encrypt(challenge[:8], challenge[:8])
	block.Encrypt(challenge[8:], challenge[8:])
	_, err = conn.Write(challenge)
	return err
}

// send presses and releases the keys of a stroke.
func send(ctx context.Context, conn net.Conn, s installer.Stroke) error {
	shifted := slices.ContainsFunc(s.Keys, func(k installer.Key) bool { return strings.HasPrefix(k.QEMU, "shift") })
	event := func(k installer.Key, down byte) error {
		sign := keysyms[k.QEMU]
		if r := k.Rune(shifted); r >= ' ' {
			sign = uint32(r) // of Latin 1, they are their characters
		}
		if sign == 0 {
			return fmt.Errorf("VNC has no key %s", k.QEMU)
		}
		const keyEvent = 4
		_, err := conn.Write(binary.BigEndian.AppendUint32([]byte{keyEvent, down, 0, 0}, sign))
		return err
	}
	if s.Hold != installer.Up {
		for _, k := range s.Keys {
			if err := event(k, 1); err != nil {
				return err
			}
		}
	}
	if s.Hold == installer.Press {
		if err := wait.Pause(ctx, installer.KeyDown); err != nil {
			return err
		}
	}
	if s.Hold != installer.Down {
		for i := len(s.Keys) - 1; i >= 0; i-- {
			if err := event(s.Keys[i], 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// keysyms are the numbers that X11 has for keys that type no character, by QEMU's names.
var keysyms = map[string]uint32{
	"ret": 0xff0d, "tab": 0xff09, "backspace": 0xff08, "esc": 0xff1b, "delete": 0xffff, "insert": 0xff63,
	"home": 0xff50, "left": 0xff51, "up": 0xff52, "right": 0xff53, "down": 0xff54, "pgup": 0xff55, "pgdn": 0xff56, "end": 0xff57, "menu": 0xff67,
	"f1": 0xffbe, "f2": 0xffbf, "f3": 0xffc0, "f4": 0xffc1, "f5": 0xffc2, "f6": 0xffc3, "f7": 0xffc4, "f8": 0xffc5, "f9": 0xffc6,
	"f10": 0xffc7, "f11": 0xffc8, "f12": 0xffc9,
	"shift": 0xffe1, "shift_r": 0xffe2, "ctrl": 0xffe3, "ctrl_r": 0xffe4, "alt": 0xffe9, "alt_r": 0xffea, "meta_l": 0xffeb, "meta_r": 0xffec,
}
