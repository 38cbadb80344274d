package platforms

import "errors"

// An Offliner is a Host of which the user can say that no server is to be asked.
type Offliner interface {
	// Offline reports whether the user has said so.
	Offline() bool
}

// ErrOffline says that a server would have to be asked.
var ErrOffline = errors.New("it is not on this machine, and bake is offline")

// Offline reports whether what h is lent to is to ask no server: then origins come from
// what was downloaded before, or fail with ErrOffline.
func Offline(h Host) bool {
	o, ok := h.(Offliner)
	return ok && o.Offline()
}
