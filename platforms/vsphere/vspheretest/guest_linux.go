package vspheretest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Guests are machines whose files and programs VMware Tools reach, in place of vcsim's,
// which have to be containers of Docker.
type Guests interface {
	// Child returns a process that is in the machine.
	Child(id string) (pid int, err error)
}

// GuestUser and GuestPassword are those of the machines.
const (
	GuestUser     = "root"
	GuestPassword = "of the guest"
)

// guestPath is where files of guests are read and written.
const guestPath = "/bake-guest"

// inGuest returns where a path of a guest's is on this host, or the fault of a guest that
// does not let in.
func (l *lacking) inGuest(ctx *simulator.Context, vm types.ManagedObjectReference, auth types.BaseGuestAuthentication, name string) (string, types.BaseMethodFault) {
	a, ok := auth.(*types.NamePasswordAuthentication)
	if !ok || a.Username != GuestUser || a.Password != GuestPassword {
		return "", new(types.InvalidGuestLogin)
	}
	guests, ok := l.s.Machines.(Guests)
	if !ok {
		return "", new(types.GuestOperationsUnavailable)
	}
	pid, err := guests.Child(ctx.Map.Get(vm).(*simulator.VirtualMachine).Name)
	if err != nil {
		return "", new(types.GuestOperationsUnavailable)
	}
	return filepath.Join(fmt.Sprintf("/proc/%d/root", pid), name), nil
}

// faultOf is the fault that an error is, or nil.
func faultOf(err error, name string) *soap.Fault {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return simulator.Fault("", &types.FileNotFound{FileFault: types.FileFault{File: name}})
	}
	return simulator.Fault(err.Error(), &types.FileFault{File: name})
}

// CreateTemporaryDirectoryInGuest is a method of GuestFileManager.
func (l *lacking) CreateTemporaryDirectoryInGuest(ctx *simulator.Context, req *types.CreateTemporaryDirectoryInGuest) soap.HasFault {
	body := &methods.CreateTemporaryDirectoryInGuestBody{}
	in := cmp.Or(req.DirectoryPath, "/tmp")
	path, fault := l.inGuest(ctx, req.Vm, req.Auth, in)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	dir, err := os.MkdirTemp(path, req.Prefix+"*"+req.Suffix)
	body.Fault_ = faultOf(err, in)
	body.Res = &types.CreateTemporaryDirectoryInGuestResponse{Returnval: in + "/" + filepath.Base(dir)}
	return body
}

// MoveFileInGuest is a method of GuestFileManager.
func (l *lacking) MoveFileInGuest(ctx *simulator.Context, req *types.MoveFileInGuest) soap.HasFault {
	body := &methods.MoveFileInGuestBody{Res: &types.MoveFileInGuestResponse{}}
	root, fault := l.inGuest(ctx, req.Vm, req.Auth, "")
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Fault_ = faultOf(os.Rename(filepath.Join(root, req.SrcFilePath), filepath.Join(root, req.DstFilePath)), req.SrcFilePath)
	return body
}

// DeleteFileInGuest is a method of GuestFileManager.
func (l *lacking) DeleteFileInGuest(ctx *simulator.Context, req *types.DeleteFileInGuest) soap.HasFault {
	body := &methods.DeleteFileInGuestBody{Res: &types.DeleteFileInGuestResponse{}}
	path, fault := l.inGuest(ctx, req.Vm, req.Auth, req.FilePath)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Fault_ = faultOf(os.Remove(path), req.FilePath)
	return body
}

// DeleteDirectoryInGuest is a method of GuestFileManager.
func (l *lacking) DeleteDirectoryInGuest(ctx *simulator.Context, req *types.DeleteDirectoryInGuest) soap.HasFault {
	body := &methods.DeleteDirectoryInGuestBody{Res: &types.DeleteDirectoryInGuestResponse{}}
	path, fault := l.inGuest(ctx, req.Vm, req.Auth, req.DirectoryPath)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Fault_ = faultOf(os.RemoveAll(path), req.DirectoryPath)
	return body
}

// InitiateFileTransferToGuest is a method of GuestFileManager.
func (l *lacking) InitiateFileTransferToGuest(ctx *simulator.Context, req *types.InitiateFileTransferToGuest) soap.HasFault {
	body := &methods.InitiateFileTransferToGuestBody{}
	path, fault := l.inGuest(ctx, req.Vm, req.Auth, req.GuestFilePath)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	body.Res = &types.InitiateFileTransferToGuestResponse{Returnval: l.s.guestURL(path)}
	return body
}

// InitiateFileTransferFromGuest is a method of GuestFileManager.
func (l *lacking) InitiateFileTransferFromGuest(ctx *simulator.Context, req *types.InitiateFileTransferFromGuest) soap.HasFault {
	body := &methods.InitiateFileTransferFromGuestBody{}
	path, fault := l.inGuest(ctx, req.Vm, req.Auth, req.GuestFilePath)
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	info, err := os.Stat(path)
	if err != nil {
		body.Fault_ = faultOf(err, req.GuestFilePath)
		return body
	}
	body.Res = &types.InitiateFileTransferFromGuestResponse{Returnval: types.FileTransferInformation{
		Attributes: &types.GuestFileAttributes{}, Size: info.Size(), Url: l.s.guestURL(path),
	}}
	return body
}

// StartProgramInGuest is a method of GuestProcessManager.
func (l *lacking) StartProgramInGuest(ctx *simulator.Context, req *types.StartProgramInGuest) soap.HasFault {
	body := &methods.StartProgramInGuestBody{}
	root, fault := l.inGuest(ctx, req.Vm, req.Auth, "")
	if fault != nil {
		body.Fault_ = simulator.Fault("", fault)
		return body
	}
	spec := req.Spec.GetGuestProgramSpec()
	pid := strings.Split(root, "/")[2]
	// VMware Tools run the program by a shell.
	cmd := exec.Command("nsenter", "--target", pid, "--mount", "--uts", "--pid", "--root="+root, "--wd="+root,
		"/bin/sh", "-c", spec.ProgramPath+" "+spec.Arguments)
	if err := cmd.Start(); err != nil {
		body.Fault_ = faultOf(err, spec.ProgramPath)
		return body
	}
	go func() { _ = cmd.Wait() }() // nobody asks how it ends
	body.Res = &types.StartProgramInGuestResponse{Returnval: int64(cmd.Process.Pid)}
	return body
}

// guestURL is where a file is read and written.
func (s *Server) guestURL(path string) string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return "https://" + u.Host + guestPath + "?" + url.Values{"path": {path}}.Encode()
}

// guestFile reads or writes a file of a guest.
func (s *Server) guestFile(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Query().Get("path")
	if r.Method == http.MethodGet {
		http.ServeFile(w, r, path)
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		_, err = io.Copy(f, r.Body)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
