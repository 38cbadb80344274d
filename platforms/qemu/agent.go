package qemu

import (
	"context"
)

// portOpen reports whether a program in the guest has opened the virtio port
// that is QEMU's character device id.
func (v *vm) portOpen(ctx context.Context, id string) (bool, error) {
	var devices []struct {
		Label string `json:"label"`
		Open  bool   `json:"frontend-open"`
	}
	if err := v.qmp.Run(ctx, "query-chardev", nil, &devices); err != nil {
		return false, err
	}
	for _, d := range devices {
		if d.Label == id {
			return d.Open, nil
		}
	}
	return false, nil
}

// freeze lets the guest agent bring the guest's file systems to rest, until thaw
// is called. frozen is false when there is no agent, or it cannot.
func (v *vm) freeze(ctx context.Context) (frozen bool, thaw func() error, err error) {
	open, err := v.portOpen(ctx, "agent")
	if err != nil || !open {
		return false, nil, err
	}
	frozen, err = v.agent.Freeze()
	return frozen, v.agent.Thaw, err
}
