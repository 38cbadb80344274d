package seed

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"bake.build/bake/internal/need"
)

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8 bake"

// TestBriefCredential fits where VirtualBox has room for 255 bytes, with a key as bake
// makes them.
func TestBriefCredential(t *testing.T) {
	whole := "ssh-ed25519 " + strings.Repeat("A", 68)
	got := Login{User: "debian", Key: whole}.BriefCredential()
	want := "io.systemd.credential:tmpfiles.extra=f+ /home/debian/.ssh/authorized_keys2 600 debian debian - " + whole + " " + mark + `\n`
	if got != want || len(got) > 255 {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := (Login{User: strings.Repeat("u", 40), Key: whole}).BriefCredential(); got != "" {
		t.Errorf("%d bytes are too many", len(got))
	}
}

func TestCredential(t *testing.T) {
	for user, home := range map[string]string{"root": "/root", "debian": "/home/debian"} {
		text, ok := strings.CutPrefix(Login{User: user, Key: key}.Credential(), "io.systemd.credential.binary:tmpfiles.extra=")
		if !ok {
			t.Fatalf("the credential is %q", text)
		}
		lines, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(lines), "L+ "+home+"/.ssh/authorized_keys2 - - - - /run/bake/authorized_keys\n") {
			t.Errorf("%s: no link in %q", user, lines)
		}
		if strings.Contains(string(lines), DoorPort) {
			t.Errorf("%s: a machine without the port gets its service", user)
		}
		for line := range strings.Lines(string(lines)) {
			f := strings.Fields(line)
			if f[0] == "f+~" && f[1] == keyPath {
				if data, err := base64.StdEncoding.DecodeString(f[6]); err != nil || string(data) != key+"\n" {
					t.Errorf("%s: the key is %q, %v", user, data, err)
				}
			}
		}
	}
}

// TestScripts lets the shells that guests have parse the scripts.
func TestScripts(t *testing.T) {
	need.Tool(t, "dash", "busybox")
	for _, script := range []string{Clean(), openDoor, Login{User: "root", Key: key, Door: true}.script(), Login{User: "debian", Key: key}.script()} {
		for _, shell := range [][]string{{"dash", "-n"}, {"busybox", "sh", "-n"}} {
			cmd := exec.Command(shell[0], shell[1:]...)
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %v\n%s", shell, err, out)
			}
		}
	}
}

// TestNoTrace runs the login's script and then the cleaning one on a tree of
// busybox: what was there before is there after, and nothing else.
func TestNoTrace(t *testing.T) {
	need.Root(t)
	need.File(t, "/bin/busybox")
	for name, before := range map[string]string{"no keys": "", "a key": "ssh-rsa AAAA somebody\n"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			shell(t, root, "mkdir -p bin etc/ssh root run var/lib/cloud/instances/x var/log proc && cp /bin/busybox bin/ && for a in $(bin/busybox --list | grep -vx busybox); do ln -s busybox bin/$a; done; mkdir dev; mknod dev/null c 1 3; echo root:x:0:0::/root:/bin/sh >etc/passwd; echo 0123 >etc/machine-id")
			keys := filepath.Join(root, "root/.ssh/authorized_keys")
			if before != "" {
				shell(t, root, "mkdir -p root/.ssh")
				if err := os.WriteFile(keys, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			// A server that reads no second file of keys.
			shell(t, root, `printf '#!/bin/sh\necho authorizedkeysfile .ssh/authorized_keys\n' >bin/sshd; chmod 755 bin/sshd`)
			inside(t, root, Login{User: "root", Key: key, Door: true}.script())
			if data, err := os.ReadFile(keys); err != nil || !strings.Contains(string(data), key) || !strings.HasPrefix(string(data), before) {
				t.Fatalf("after the login: %q, %v", data, err)
			}
			if before != "" { // as the brief credential leaves it
				shell(t, root, "cd root/.ssh && rm authorized_keys2 && echo '"+key+" "+mark+"' >authorized_keys2")
			}
			inside(t, root, Clean())
			data, err := os.ReadFile(keys)
			if before == "" && !os.IsNotExist(err) || before != "" && string(data) != before {
				t.Errorf("after cleaning: %q, %v", data, err)
			}
			if out := shell(t, root, "grep -rl AAAAC3 etc root var || true; ls var/lib/cloud; find root"); strings.Contains(out, "instances") || strings.Contains(out, "keys2") || strings.HasPrefix(out, "etc") {
				t.Errorf("left: %s", out)
			}
		})
	}
}

func shell(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return string(out)
}

// inside runs a script in the tree.
func inside(t *testing.T, root, script string) {
	t.Helper()
	// In a namespace of its own: what the script leaves running ends with it.
	cmd := exec.Command("unshare", "--pid", "--fork", "chroot", root, "/bin/sh")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestNoCloud(t *testing.T) {
	var b bytes.Buffer
	if err := (Login{User: "root", Key: key, Stage: Building}).NoCloud(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CD001", "instance-id: bake-build\n", "#cloud-config\n", key} {
		if !bytes.Contains(b.Bytes(), []byte(want)) {
			t.Errorf("no %q in the seed", want)
		}
	}
}
