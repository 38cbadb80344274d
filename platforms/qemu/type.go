package qemu

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Times of typing: how long a key is down, and how long until the next, so that
// a guest that is slow neither misses nor repeats one.
const (
	keyDown = 60 * time.Millisecond
	keyGap  = 60 * time.Millisecond
)

// typeKeys types, one key after the other.
func (v *vm) typeKeys(ctx context.Context, strokes []stroke) error {
	for _, s := range strokes {
		if s.pause > 0 {
			if err := v.rest(ctx, s.pause); err != nil {
				return err
			}
			continue
		}
		if err := v.typeStroke(ctx, s); err != nil {
			return fmt.Errorf("type: %w", errors.Join(err, v.alive()))
		}
		if err := v.rest(ctx, keyDown+keyGap); err != nil {
			return err
		}
	}
	return nil
}

// A qcode is a key as QMP names it.
type qcode struct {
	Type string `json:"type"`
	Data string `json:"data"`
}

// typeStroke sends what a stroke is to the guest. Keys that stay down are sent as
// single events, since send-key releases what it presses.
func (v *vm) typeStroke(ctx context.Context, s stroke) error {
	if s.hold == press {
		keys := make([]qcode, len(s.keys))
		for i, k := range s.keys {
			keys[i] = qcode{"qcode", k}
		}
		return v.qmp.Run(ctx, "send-key", map[string]any{"keys": keys, "hold-time": keyDown.Milliseconds()}, nil)
	}
	events := make([]map[string]any, len(s.keys))
	for i, k := range s.keys {
		events[i] = map[string]any{"type": "key", "data": map[string]any{"down": s.hold == down, "key": qcode{"qcode", k}}}
	}
	return v.qmp.Run(ctx, "input-send-event", map[string]any{"events": events}, nil)
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
		err := v.rest(ctx, v.hw.bootWait)
		if err == nil {
			err = v.typeKeys(ctx, v.hw.bootKeys)
		}
		if err != nil && ctx.Err() == nil && v.alive() == nil {
			v.fail(fmt.Errorf("boot_command: %w", err))
		}
	}()
}
