package vsphere

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"bake.build/bake/platforms/installer"
	"bake.build/bake/platforms/wait"
)

// A keyboard is that of a machine. vSphere presses and releases each key that it is sent,
// with the modifiers that are down meanwhile; what stays down is kept here.
type keyboard struct {
	d    *driver
	ref  types.ManagedObjectReference
	held [modifiers]bool // by their bits
}

// modifiers is how many modifiers a USB keyboard has.
const modifiers = 8

// keyboardPage is the page of HID's usages that keys are on.
const keyboardPage = 0x07

// hidCode is how vSphere names a key.
func hidCode(k installer.Key) int32 { return int32(k.USB)<<16 | keyboardPage }

// events are what a stroke is to vSphere. A modifier that is pressed alone is a key.
func (k *keyboard) events(s installer.Stroke) []types.UsbScanCodeSpecKeyEvent {
	down := k.held
	var keys, alone []installer.Key
	for _, key := range s.Keys {
		bit, ok := key.Modifier()
		if !ok {
			keys = append(keys, key)
			continue
		}
		alone = append(alone, key)
		switch s.Hold {
		case installer.Down:
			k.held[bit] = true
		case installer.Up:
			k.held[bit] = false
		default:
			down[bit] = true
		}
	}
	if s.Hold != installer.Press {
		down = k.held
	}
	if s.Hold == installer.Up {
		keys = nil // it was released when it was pressed
	}
	if s.Hold == installer.Press && len(keys) == 0 {
		keys, down = alone, k.held
	}
	var events []types.UsbScanCodeSpecKeyEvent
	for _, key := range keys {
		events = append(events, types.UsbScanCodeSpecKeyEvent{UsbHidCode: hidCode(key), Modifiers: modifierType(down)})
	}
	return events
}

// modifierType is how vSphere names modifiers, or nil for none.
func modifierType(down [modifiers]bool) *types.UsbScanCodeSpecModifierType {
	if down == [modifiers]bool{} {
		return nil
	}
	m := &types.UsbScanCodeSpecModifierType{}
	for bit, field := range []**bool{
		&m.LeftControl, &m.LeftShift, &m.LeftAlt, &m.LeftGui, &m.RightControl, &m.RightShift, &m.RightAlt, &m.RightGui,
	} {
		if down[bit] {
			*field = types.NewBool(true)
		}
	}
	return m
}

// Send implements installer.Keyboard.
func (k *keyboard) Send(ctx context.Context, s installer.Stroke) error {
	events := k.events(s)
	if len(events) == 0 {
		return nil
	}
	c, err := k.d.vim(ctx)
	if err != nil {
		return err
	}
	n, err := object.NewVirtualMachine(c, k.ref).PutUsbScanCodes(ctx, types.UsbScanCodeSpec{KeyEvents: events})
	if err == nil && int(n) != len(events) {
		err = fmt.Errorf("the machine took %d keys of %d", n, len(events))
	}
	return explain(err)
}

// restLook is from which length on a rest ends with a look at the machine.
const restLook = time.Second

// Rest implements installer.Keyboard.
func (k *keyboard) Rest(ctx context.Context, d time.Duration) error {
	if err := wait.Pause(ctx, d); err != nil || d < restLook {
		return err
	}
	v, err := k.d.vm(ctx, k.ref)
	if err == nil && !v.on {
		err = errors.New("the machine has turned off before all was typed")
	}
	return err
}
