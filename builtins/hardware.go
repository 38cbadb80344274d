package builtins

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"

	"bake.build/bake/internal/hardware"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

func hardwareBuiltin() Builtin {
	return Declare("hardware", `Says what a virtual machine is made of, once for all that need it.

The value is given to platforms of hypervisors, such as qemu, for their machines. What it leaves open, each of them chooses for itself.

guest_os is one of: `+strings.Join(hardware.GuestNames(), ", ")+`. Each hypervisor gets its own name for it.`,
		"hardware", func(_ *Call, a *hardware.Options) (starlark.Value, error) {
			if err := a.Check(); err != nil {
				return nil, err
			}
			return &Hardware{options: *a}, nil
		})
}

// A Hardware is what a virtual machine is made of, as a value.
type Hardware struct {
	options hardware.Options
}

var _ starlark.Comparable = (*Hardware)(nil)

// KindName implements platforms.KindNamer, for arguments.
func (*Hardware) KindName() string { return "hardware" }

func (h *Hardware) Type() string         { return "hardware" }
func (h *Hardware) Freeze()              {}
func (h *Hardware) Truth() starlark.Bool { return true }

// String shows the call that makes the value.
func (h *Hardware) String() string { return "hardware(" + showOptions(h.text()) + ")" }

// text returns what is said as JSON; nil where nothing is.
func (h *Hardware) text() json.RawMessage {
	if h == nil || h.options == (hardware.Options{}) {
		return nil
	}
	text, err := json.Marshal(h.options)
	if err != nil {
		panic(fmt.Sprintf("builtins: encode hardware: %v", err)) // strings, numbers and bools
	}
	return text
}

// Hash implements starlark.Value.
func (h *Hardware) Hash() (uint32, error) {
	sum := fnv.New32a()
	sum.Write(h.text())
	return sum.Sum32(), nil
}

// CompareSameType implements starlark.Comparable: hardware is equal when all that is
// said of it is.
func (h *Hardware) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	same := h.options == y.(*Hardware).options
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, fmt.Errorf("hardware has no order")
}
