package qemu

// sandbox keeps QEMU from system calls that a machine does not need.
func (hw hardware) sandbox(a *arguments) {
	children := "deny"
	if hw.bridge != "" {
		children = "allow" // the bridge helper is a program with more rights
	}
	a.add("-sandbox", "on,obsolete=deny,elevateprivileges="+children+",spawn="+children+",resourcecontrol=deny")
}
