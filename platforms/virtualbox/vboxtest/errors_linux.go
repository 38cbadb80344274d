package vboxtest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A failure is what a command says on stderr when it fails.
type failure struct {
	text string
	exit int
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// codes are the numbers of the errors.
var codes = map[string]string{
	"VBOX_E_OBJECT_NOT_FOUND": "0x80bb0001", "VBOX_E_INVALID_VM_STATE": "0x80bb0002", "VBOX_E_FILE_ERROR": "0x80bb0004",
	"VBOX_E_IPRT_ERROR": "0x80bb0005", "VBOX_E_INVALID_OBJECT_STATE": "0x80bb0007", "VBOX_E_NOT_SUPPORTED": "0x80bb0009",
	"VBOX_E_OBJECT_IN_USE": "0x80bb000c", "NS_ERROR_INVALID_ARG": "0x80070057", "NS_ERROR_FAILURE": "0x80004005",
	"E_ACCESSDENIED": "0x80070005", "NS_ERROR_CALL_FAILED": "0x800706BE",
}

// A where is the call of VirtualBox's API that an error comes from.
type where struct {
	context string
	line    int
	file    string
}

func (w where) String() string {
	if w.context == "" {
		return ""
	}
	return fmt.Sprintf("VBoxManage: error: Context: \"%s\" at line %d of file %s.cpp\n", w.context, w.line, w.file)
}

// fail is an error of a method of the API. The component is as "MachineWrap/IMachine".
func fail(code, component, text string, at where) *failure {
	name, iface, _ := strings.Cut(component, "/")
	return &failure{exit: 1, text: fmt.Sprintf("VBoxManage: error: %s\nVBoxManage: error: Details: code %s (%s), component %s, interface %s, callee nsISupports\n%s", text, code, codes[code], name, iface, at)}
}

// failTask is an error of a task, whose progress was shown.
func failTask(progress, code, component, headline, text string, at where) *failure {
	name, iface, _ := strings.Cut(component, "/")
	return &failure{exit: 1, text: fmt.Sprintf("%s%s\nVBoxManage: error: %s\nVBoxManage: error: %s\nVBoxManage: error: Details: code %s (%s), component %s, interface %s\n%s", progress, code, headline, text, code, codes[code], name, iface, at)}
}

// plain is an error of VBoxManage itself.
func plain(format string, args ...any) *failure {
	return &failure{exit: 1, text: "VBoxManage: error: " + fmt.Sprintf(format, args...) + "\n"}
}

const banner = "Oracle VM VirtualBox Command Line Management Interface Version 7.0.10\nCopyright (C) 2005-2026 Oracle and/or its affiliates\n\n"

// usage is an error in the arguments. The text of the usage is left out.
func usage(what, title string, exit int) *failure {
	text := banner
	if what != "" {
		text += "VBoxManage: error: " + what
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return &failure{exit: exit, text: text + "Usage - " + title + ":\n"}
}

func unknown(name string, at where) *failure {
	what := fmt.Sprintf("named '%s'", name)
	if isUUID(name) {
		what = fmt.Sprintf("with UUID {%s}", strings.Trim(name, "{}"))
	}
	return fail("VBOX_E_OBJECT_NOT_FOUND", "VirtualBoxWrap/IVirtualBox", "Could not find a registered machine "+what, at)
}

func lockedBy(m *machine, at where) *failure {
	return fail("VBOX_E_INVALID_OBJECT_STATE", "MachineWrap/IMachine", fmt.Sprintf("The machine '%s' is already locked for a session (or being unlocked)", m.Name), at)
}

// brokenHome is a home whose file cannot be read.
func brokenHome(dir string) *failure {
	return plain("Failed to create the VirtualBox object!\nVBoxManage: error: Couldn't find end of Start Tag broken line 1.\nVBoxManage: error: Location: '%s', line 2 (1), column 1.\nVBoxManage: error: /src/VBox/Main/src-server/VirtualBoxImpl.cpp[830] (nsresult VirtualBox::init())\nVBoxManage: error: Details: code NS_ERROR_FAILURE (0x80004005), component VirtualBoxWrap, interface IVirtualBox", filepath.Join(dir, "VirtualBox.xml"))
}
