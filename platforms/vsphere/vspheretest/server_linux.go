package vspheretest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	_ "github.com/vmware/govmomi/vapi/simulator" // content libraries
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// User and Password are those of the server.
const (
	User     = "images@vsphere.local"
	Password = "very secret"
)

// Machines are computers that the server turns on and off. See internal/testsshd.
type Machines interface {
	Start(id string, disk any, keys, userData string) (address string, err error)
	Save(id string) (disk any, err error)
	Stop(id string)
}

// A Server is a vCenter on the loopback.
type Server struct {
	URL        string // of the API
	Thumbprint string // of the certificate, SHA-256
	Machines   Machines

	// Answer, if not nil, may put a fault in place of the answer to a request. It is set
	// by SetAnswer where requests come from another process.
	Answer func(method string, body any) types.BaseMethodFault

	// HTTP, if not nil, may answer in place of the server; it is told by true.
	HTTP func(w http.ResponseWriter, r *http.Request) bool

	// Typed, if not nil, is told the keys that a machine is sent.
	Typed func(name string, events []types.UsbScanCodeSpecKeyEvent)

	// NoNetwork has machines report no address.
	NoNetwork bool

	// Disk is the stream that the disks of exports are read as.
	Disk []byte

	model  *simulator.Model
	server *simulator.Server
	self   types.ManagedObjectReference

	mu       sync.Mutex
	count    map[string]int
	disks    map[types.ManagedObjectReference]any // of virtual machines and snapshots
	from     map[string]types.ManagedObjectReference
	done     map[string]string // upload sessions of libraries, by their paths
	sessions map[string]bool
	making   map[types.ManagedObjectReference]bool // tasks that make virtual machines
	Log      []string                              // of what went wrong in the machines
}

// New starts a server with the inventory of a model.
func New(model *simulator.Model) (*Server, error) {
	s := &Server{
		model: model, count: map[string]int{}, sessions: map[string]bool{}, done: map[string]string{}, making: map[types.ManagedObjectReference]bool{}, disks: map[types.ManagedObjectReference]any{}, from: map[string]types.ManagedObjectReference{},
		self: types.ManagedObjectReference{Type: "BakeMachines", Value: "machines"},
	}
	if err := model.Create(); err != nil {
		return nil, err
	}
	model.Service.TLS = new(tls.Config)
	model.Service.RegisterEndpoints = true
	model.Service.Listen = &url.URL{User: url.UserPassword(User, Password)}
	s.server = model.Service.NewServer()
	inner := s.server.Config.Handler
	s.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.HTTP != nil && s.HTTP(w, r):
		case s.completed(w, r, inner):
		case r.URL.Path == guestPath:
			s.guestFile(w, r)
		case s.Disk != nil && r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/nfc/"):
			_, _ = w.Write(s.Disk) // who reads it sees what is missing
		default:
			inner.ServeHTTP(w, r)
		}
	})
	m := model.Map()
	m.Handler = s.before
	m.AddHandler(s)
	m.Put(&lacking{s: s})
	cert, err := x509.ParseCertificate(s.server.TLS.Certificates[0].Certificate[0])
	if err != nil {
		return nil, err
	}
	s.URL, s.Thumbprint = "https://"+s.server.URL.Host, soap.ThumbprintSHA256(cert)
	return s, nil
}

// Close ends the server.
func (s *Server) Close() {
	s.server.Close()
	s.model.Remove()
}

// Map is vcsim's registry of objects.
func (s *Server) Map() *simulator.Registry { return s.model.Map() }

// SetAnswer sets Answer while requests may come.
func (s *Server) SetAnswer(answer func(method string, body any) types.BaseMethodFault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Answer = answer
}

// Count returns how many requests of a method there were.
func (s *Server) Count(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[method]
}

// Requests returns how many requests there were.
func (s *Server) Requests() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.count {
		n += c
	}
	return n
}

// VMs returns the virtual machines by their names.
func (s *Server) VMs() map[string]*simulator.VirtualMachine {
	all := map[string]*simulator.VirtualMachine{}
	for _, e := range s.Map().All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		all[vm.Name] = vm
	}
	return all
}

// AddTemplate makes one of the model's virtual machines a template of a name.
func (s *Server) AddTemplate(name string) {
	for _, e := range s.Map().All("VirtualMachine") {
		vm := e.(*simulator.VirtualMachine)
		if !vm.Config.Template {
			ctx := s.model.Service.Context
			s.Map().Update(ctx, vm, []types.PropertyChange{
				{Name: "name", Val: name}, {Name: "config.name", Val: name}, {Name: "runtime.powerState", Val: types.VirtualMachinePowerStatePoweredOff},
			})
			vm.MarkAsTemplate(&types.MarkAsTemplate{This: vm.Self})
			return
		}
	}
}

// before sees each request.
func (s *Server) before(ctx *simulator.Context, m *simulator.Method) (_ mo.Reference, fault types.BaseMethodFault) {
	s.mu.Lock()
	s.count[m.Name]++
	if ctx.Session != nil {
		s.sessions[ctx.Session.Key] = true
	}
	answer := s.Answer
	s.mu.Unlock()
	if answer != nil {
		if fault := answer(m.Name, m.Body); fault != nil {
			return nil, fault
		}
	}
	switch body := m.Body.(type) {
	case *types.Login:
		if body.UserName != User || body.Password != Password {
			return nil, new(types.InvalidLogin)
		}
	case *types.RetrieveProperties, *types.RetrievePropertiesEx, *types.CreateContainerView, *types.Destroy_Task:
		s.settle()
	case *types.CloneVM_Task:
		s.mu.Lock()
		s.from[body.Name] = m.This
		if body.Spec.Snapshot != nil {
			s.from[body.Name] = *body.Spec.Snapshot
		}
		s.mu.Unlock()
	case *types.PutUsbScanCodes, *types.CreateTemporaryDirectoryInGuest, *types.MoveFileInGuest, *types.DeleteFileInGuest, *types.DeleteDirectoryInGuest,
		*types.InitiateFileTransferToGuest, *types.InitiateFileTransferFromGuest, *types.StartProgramInGuest:
		m.This = lackingRef
	case *types.RevertToCurrentSnapshot_Task:
		if vm, ok := ctx.Map.Get(m.This).(*simulator.VirtualMachine); ok && vm.Snapshot != nil && vm.Snapshot.CurrentSnapshot != nil {
			s.mu.Lock()
			s.disks[m.This] = s.disks[*vm.Snapshot.CurrentSnapshot]
			s.mu.Unlock()
		}
	}
	return nil, nil
}

// Reference implements simulator.RegisterObject.
func (s *Server) Reference() types.ManagedObjectReference { return s.self }

// makes reports whether a task makes a virtual machine, turns one on or removes one with its
// files.
func makes(t *mo.Task) bool {
	switch t.Info.DescriptionId {
	case "VirtualMachine.cloneVm", "VirtualMachine.powerOn", "ResourcePool.ImportVAppLRO", "VirtualMachine.destroy", "FileManager.deleteDatastoreFile":
		return true
	}
	return false
}

// settleMost bounds how long a reader waits.
const settleMost = 5 * time.Second

// settle waits until no virtual machine is being made, turned on or removed: vcsim fills one
// in while others may read it, removes one while it is turned on, and two at once without a
// lock.
func (s *Server) settle() {
	for end := time.Now().Add(settleMost); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		making := len(s.making)
		s.mu.Unlock()
		if making == 0 {
			return
		}
	}
}

// PutObject implements simulator.RegisterObject: a snapshot keeps the disk as it is.
func (s *Server) PutObject(_ *simulator.Context, o mo.Reference) {
	if t, ok := o.(*simulator.Task); ok && makes(&t.Task) {
		s.mu.Lock()
		s.making[t.Self] = true
		s.mu.Unlock()
	}
	snapshot, ok := o.(*simulator.VirtualMachineSnapshot)
	if !ok || s.Machines == nil {
		return
	}
	vm := s.Map().Get(snapshot.Vm).(*simulator.VirtualMachine)
	s.mu.Lock()
	disk := s.disks[snapshot.Vm]
	s.mu.Unlock()
	if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		var err error
		if disk, err = s.Machines.Save(vm.Name); err != nil {
			s.failed("save %s: %v", vm.Name, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks[snapshot.Self] = disk
}

// RemoveObject implements simulator.RegisterObject.
func (s *Server) RemoveObject(*simulator.Context, types.ManagedObjectReference) {}

// UpdateObject implements simulator.RegisterObject: it turns machines on and off.
func (s *Server) UpdateObject(ctx *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	if t, ok := o.(*mo.Task); ok && makes(t) {
		s.ended(t.Self, changes)
	}
	vm, ok := o.(*mo.VirtualMachine)
	if !ok || s.Machines == nil {
		return
	}
	for _, c := range changes {
		if c.Name != "runtime.powerState" {
			continue
		}
		if c.Val == types.VirtualMachinePowerStatePoweredOn {
			s.turnOn(ctx, vm)
		} else {
			s.turnOff(vm)
		}
	}
}

// ended notes the end of a task that makes a virtual machine.
func (s *Server) ended(task types.ManagedObjectReference, changes []types.PropertyChange) {
	for _, c := range changes {
		if c.Name == "info.state" && (c.Val == types.TaskInfoStateSuccess || c.Val == types.TaskInfoStateError) {
			s.mu.Lock()
			delete(s.making, task)
			s.mu.Unlock()
		}
	}
}

func (s *Server) turnOn(ctx *simulator.Context, vm *mo.VirtualMachine) {
	s.mu.Lock()
	disk, ok := s.disks[vm.Self]
	if !ok {
		disk = s.disks[s.from[vm.Name]]
	}
	s.mu.Unlock()
	keys := ""
	for line := range strings.SplitSeq(guestinfo(vm, "guestinfo.metadata"), "\n") {
		if key, ok := strings.CutPrefix(line, "public-keys-data: "); ok {
			keys = strings.Trim(key, `"`)
		}
	}
	address, err := s.Machines.Start(vm.Name, disk, keys, guestinfo(vm, "guestinfo.userdata"))
	if err != nil {
		s.failed("start %s: %v", vm.Name, err)
		return
	}
	if s.NoNetwork {
		ctx.Update(vm, []types.PropertyChange{
			{Name: "guest.ipAddress", Val: ""},
			{Name: "guest.toolsRunningStatus", Val: string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)},
			{Name: "guest.guestOperationsReady", Val: true},
		})
		return
	}
	ctx.Update(vm, []types.PropertyChange{
		{Name: "guest.ipAddress", Val: address},
		{Name: "guest.toolsRunningStatus", Val: string(types.VirtualMachineToolsRunningStatusGuestToolsRunning)},
		{Name: "guest.net", Val: []types.GuestNicInfo{
			{Network: "docker0", IpAddress: []string{"172.17.0.1"}, Connected: true, DeviceConfigId: -1},
			{Network: "VM Network", IpAddress: []string{"fe80::1", address}, Connected: true, DeviceConfigId: 4000},
		}},
	})
}

func (s *Server) turnOff(vm *mo.VirtualMachine) {
	disk, err := s.Machines.Save(vm.Name)
	s.Machines.Stop(vm.Name)
	if err != nil {
		return // it was not on
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks[vm.Self] = disk
}

func (s *Server) failed(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Log = append(s.Log, fmt.Sprintf(format, args...))
}

// guestinfo returns what a guest is told.
func guestinfo(vm *mo.VirtualMachine, name string) string {
	values := map[string]string{}
	for _, o := range vm.Config.ExtraConfig {
		values[o.GetOptionValue().Key] = fmt.Sprint(o.GetOptionValue().Value)
	}
	if values[name+".encoding"] != "base64" {
		return values[name]
	}
	text, err := base64.StdEncoding.DecodeString(values[name])
	if err != nil {
		return ""
	}
	return string(text)
}

// EndSessions ends all sessions, as vCenter does with those that nobody uses.
func (s *Server) EndSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx := &simulator.Context{Context: context.Background(), Map: s.Map(), Session: &simulator.Session{}}
	for key := range s.sessions {
		s.Map().SessionManager().TerminateSession(ctx, &types.TerminateSession{SessionId: []string{key}})
	}
	s.sessions = map[string]bool{}
}

// Authority returns the path of a new file in a directory: the certificate that the
// server's is verified by.
func (s *Server) Authority(dir string) (path string) {
	path = filepath.Join(dir, "authority.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw})
	if err := os.WriteFile(path, text, 0o600); err != nil {
		panic(err) // a test's own directory
	}
	return path
}
