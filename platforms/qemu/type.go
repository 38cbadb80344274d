package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"

	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/wait"
)

var _ installer.Keyboard = (*vm)(nil)

// A qcode is a key as QMP names it.
type qcode struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

// Send implements installer.Keyboard. Keys that stay down are sent as single
// events, since send-key releases what it presses.
func (v *vm) Send(ctx context.Context, s installer.Stroke) error {
	command, args := "send-key", map[string]any{}
	if s.Hold == installer.Press {
		keys := make([]qcode, len(s.Keys))
		for i, k := range s.Keys {
			keys[i] = qcode{"qcode", k.QEMU}
		}
		args["keys"], args["hold-time"] = keys, installer.KeyDown.Milliseconds()
	} else {
		events := make([]map[string]any, len(s.Keys))
		for i, k := range s.Keys {
			events[i] = map[string]any{"type": "key", "data": map[string]any{"down": s.Hold == installer.Down, "key": qcode{"qcode", k.QEMU}}}
		}
		command, args["events"] = "input-send-event", events
	}
	if err := v.qmp.Run(ctx, command, args, nil); err != nil {
		return errors.Join(err, v.Alive())
	}
	return nil
}

// Rest implements installer.Keyboard.
func (v *vm) Rest(ctx context.Context, d time.Duration) error {
	if err := wait.PauseOr(ctx, d, v.ended); err != nil {
		return err
	}
	return v.Alive()
}

// typeBoot types what each start of the machine waits for. A start that comes before
// it was all typed begins it anew: QEMU may tell of one reset several times.
func (v *vm) typeBoot() {
	if len(v.hw.bootKeys) == 0 || v.hw.install != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	v.mu.Lock()
	if v.stopTyping != nil {
		v.stopTyping()
	}
	v.stopTyping = cancel
	v.mu.Unlock()
	go func() {
		defer cancel()
		err := v.Rest(ctx, v.hw.bootWait)
		if err == nil {
			err = installer.Type(ctx, v, v.hw.bootKeys)
		}
		if err != nil && ctx.Err() == nil && v.Alive() == nil {
			v.Fail(fmt.Errorf("boot_command: %w", err))
		}
	}()
}
