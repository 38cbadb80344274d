package vspheretest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// lacking has the methods of virtual machines that vcsim lacks. Requests for them are led
// to it, since vcsim calls methods of what it finds by reference.
type lacking struct {
	mo.OptionManager // vcsim looks for the type of all that it has
	s                *Server
}

// lackingRef names it in the registry.
var lackingRef = types.ManagedObjectReference{Type: "BakeLacking", Value: "lacking"}

// Reference implements mo.Reference.
func (*lacking) Reference() types.ManagedObjectReference { return lackingRef }

// PutUsbScanCodes is the method of a virtual machine. One that is off takes no keys.
func (l *lacking) PutUsbScanCodes(ctx *simulator.Context, req *types.PutUsbScanCodes) soap.HasFault {
	body := &methods.PutUsbScanCodesBody{}
	vm := ctx.Map.Get(req.This).(*simulator.VirtualMachine)
	if state := vm.Runtime.PowerState; state != types.VirtualMachinePowerStatePoweredOn {
		body.Fault_ = simulator.Fault("", &types.InvalidPowerState{RequestedState: types.VirtualMachinePowerStatePoweredOn, ExistingState: state})
		return body
	}
	if l.s.Typed != nil {
		l.s.Typed(vm.Name, req.Spec.KeyEvents)
	}
	body.Res = &types.PutUsbScanCodesResponse{Returnval: int32(len(req.Spec.KeyEvents))}
	return body
}

// completed answers in place of vcsim where an upload session of a content library is
// completed, and how it is after that: vcsim changes it while it is read.
func (s *Server) completed(w http.ResponseWriter, r *http.Request, vcsim http.Handler) bool {
	if !strings.Contains(r.URL.Path, "/library/item/update-session/id:") {
		return false
	}
	complete := r.Method == http.MethodPost && r.URL.Query().Get("~action") == "complete"
	answer := ""
	if complete {
		now := r.Clone(r.Context())
		now.Method, now.URL.RawQuery = http.MethodGet, ""
		as := httptest.NewRecorder()
		vcsim.ServeHTTP(as, now)
		if as.Code != http.StatusOK {
			return false
		}
		answer = strings.Replace(as.Body.String(), `"ACTIVE"`, `"DONE"`, 1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if complete {
		s.done[r.URL.Path] = answer
	}
	session, done := s.done[r.URL.Path]
	if !done || !complete && r.Method != http.MethodGet {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, session) // who reads it sees what is missing
	return true
}
