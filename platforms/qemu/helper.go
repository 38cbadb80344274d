package qemu

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"bake.build/bake/platforms"
	"bake.build/bake/platforms/hypervisor"
)

// helperPort is the virtio port by which a resumed machine learns what a boot
// would have told it.
const helperPort = "build.bake.0"

// dataPort is the virtio port by which files come into the machine.
const dataPort = "build.bake.1"

// helperScript leaves a shell in the guest that executes the lines which come
// by the port and sends back what they print. It does nothing in a guest that
// has no such port.
const helperScript = `port=/dev/virtio-ports/` + helperPort + `
[ -c "$port" ] && command -v setsid >/dev/null || exit 0
setsid sh -c 'exec 3<>"$0"
while :; do
	if IFS= read -r line <&3; then eval "$line" >&3 2>&1 3>&-; else sleep 1; fi
done' "$port" </dev/null >/dev/null 2>&1 &
`

// helperTimeout is how long the shell may take to answer.
const helperTimeout = 20 * time.Second

// startHelper starts the shell unless it runs. A guest in which it cannot run is
// one whose memory is not kept.
func (m *machine) startHelper(ctx context.Context) error {
	if !m.vm.hw.resume || m.vm.hw.ram == nil {
		return nil
	}
	if open, err := m.vm.portOpen(ctx, "helper"); err != nil || open {
		return err
	}
	return m.ssh.Run(ctx, platforms.Cmd{Args: []string{"sh"}, Stdin: strings.NewReader(helperScript)})
}

// adopt tells a machine that was resumed the key of this process and the time,
// and gives it new randomness. See random(4): what is written there is mixed
// in; that the machine is another one now it learns from its generation ID.
func (v *vm) adopt(ctx context.Context, authorized string) error {
	seed := make([]byte, 64)
	if _, err := rand.Read(seed); err != nil {
		return err
	}
	token := rand.Text()
	now := time.Now()
	line := fmt.Sprintf(`mkdir -p /run/bake && printf '%%s\n' '%s' >/run/bake/authorized_keys && date -u -s @%d.%09d >/dev/null && printf %%s '%s' >/dev/urandom && echo %s`,
		authorized, now.Unix(), now.Nanosecond(), hex.EncodeToString(seed), token)
	return v.tell(ctx, line, token)
}

// tell sends a line to the shell in the guest and waits for the word that it
// prints at its end.
func (v *vm) tell(ctx context.Context, line, token string) error {
	deadline := time.Now().Add(helperTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	stop := context.AfterFunc(ctx, func() { _ = v.helper.SetDeadline(time.Unix(1, 0)) }) // wakes the reader
	defer stop()
	if err := v.helper.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := v.helper.Write([]byte(line + "\n")); err != nil {
		return fmt.Errorf("tell the guest: %w", err)
	}
	var said bytes.Buffer
	lines := bufio.NewScanner(io.LimitReader(v.helper, hypervisor.MaxAnswer))
	for lines.Scan() {
		if strings.TrimSpace(lines.Text()) == token {
			return nil
		}
		said.WriteString(lines.Text() + " ")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := lines.Err()
	if err == nil {
		err = errors.New("the port was closed")
	}
	return fmt.Errorf("the guest does not answer: %w %s", err, strings.TrimSpace(said.String()))
}
