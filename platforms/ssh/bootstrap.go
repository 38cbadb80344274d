package ssh

import (
	"fmt"
	"path"
	"strings"

	"bake.build/bake/platforms"
)

// bootstrap is all that stands on the command line of a command: a shell that
// executes one line of its input. A shell reads a line byte by byte, so that
// what follows is the command's.
const bootstrap = `_n="$(printf "\nx")"; _n="${_n%x}"; IFS= read -r _l && eval "$_l"`

// systemPath is the PATH of commands: that of the machine with the directories
// of system programs, which an SSH server may leave out.
const systemPath = `case ":$PATH:" in *:/usr/sbin:*) ;; *) PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin${PATH:+:$PATH}";; esac; export PATH`

// findUser sets uid, gid, home and name for a user who may be a name or a number.
// It is a line of shell; u is the user, g the group or "".
const findUser = `_e="$(getent passwd "$_u" 2>/dev/null || grep -m1 -E "^($_u:|[^:]*:[^:]*:$_u:)" /etc/passwd)"; ` +
	`if [ -n "$_e" ]; then _name="${_e%%:*}"; _r="${_e#*:*:}"; _uid="${_r%%:*}"; _r="${_r#*:}"; _gid="${_r%%:*}"; _r="${_r#*:*:}"; _home="${_r%%:*}"; ` +
	`else case "$_u" in *[!0-9]*) fail user "user $_u: not in the machine's /etc/passwd";; esac; _name=; _uid="$_u"; _gid=0; _home=/; fi; ` +
	`if [ -n "$_g" ]; then case "$_g" in *[!0-9]*) _q="$(getent group "$_g" 2>/dev/null || grep -m1 "^$_g:" /etc/group)"; [ -n "$_q" ] || fail user "group $_g: not in the machine's /etc/group"; _q="${_q#*:*:}"; _gid="${_q%%:*}";; *) _gid="$_g";; esac; fi`

// become sets the words that run a command as the user that findUser found. What
// can change all ids at once is setpriv, or chroot of GNU.
const become = `if [ "$_uid" = 0 ] && [ "$_gid" = 0 ]; then _as=; ` +
	`elif setpriv --reuid 0 --regid 0 --clear-groups true 2>/dev/null; then ` +
	`if [ -n "$_name" ] && [ -z "$_g" ]; then _as="setpriv --reuid $_uid --regid $_gid --init-groups"; else _as="setpriv --reuid $_uid --regid $_gid --clear-groups"; fi; ` +
	`elif chroot --userspec=0:0 / true 2>/dev/null; then ` +
	`if [ -n "$_name" ] && [ -z "$_g" ]; then _as="chroot --userspec=$_uid:$_gid --skip-chdir /"; else _as="chroot --userspec=$_uid:$_gid --groups=$_gid --skip-chdir /"; fi; ` +
	`else fail user "the machine has neither setpriv nor a chroot that can run a command as another user"; fi`

// noNetwork sets the words that cut a command off from the network.
const noNetwork = `command -v unshare >/dev/null 2>&1 || fail network "the machine has no unshare, which cuts a command off from the network"; ` +
	`_lo='unshare -n sh -c '\''ip link set lo up 2>/dev/null; exec "$@"'\'' sh'`

// script is the line that the bootstrap executes. It first tells, on the
// standard error, which group of processes it is.
func (p *process) script(c platforms.Cmd, files []platforms.File) string {
	var b strings.Builder
	fmt.Fprintf(&b, `_t=%s; fail() { printf "%%s\n" "$_t fail $1 $2" >&2; exit 1; }; `, p.token)
	b.WriteString(`read -r _x _x _x _x _pg _x </proc/self/stat 2>/dev/null && printf "%s\n" "$_t group $_pg" >&2; `)
	b.WriteString(systemPath + "; ")
	for _, f := range files {
		p.file(&b, f)
	}
	if isRoot(c.User) {
		b.WriteString("_as=; _name=root; _home=/root; ")
	} else {
		lookUp(&b, c.User)
		b.WriteString(become + "; ")
	}
	if c.NoNetwork {
		b.WriteString(noNetwork + "; ")
	} else {
		b.WriteString("_lo=; ")
	}
	b.WriteString(`export HOME="$_home"; [ -z "$_name" ] || export USER="$_name" LOGNAME="$_name"; `)
	for _, env := range c.Env {
		name, value, _ := strings.Cut(env, "=")
		fmt.Fprintf(&b, "export %s; ", quote(name+"="+value))
	}
	dir := c.Dir
	if dir == "" {
		dir = "/"
	}
	fmt.Fprintf(&b, `cd %[1]s 2>/dev/null || fail dir "change to directory "%[1]s": no such directory"; `, quote(dir))
	b.WriteString("set --")
	for _, a := range c.Args {
		b.WriteString(" " + quote(a))
	}
	b.WriteString(`; case "$1" in */*) [ -e "$1" ];; *) command -v "$1" >/dev/null 2>&1;; esac || fail notfound "$1"; printf "%s\n" "$_t begin" >&2; `)
	merge := ""
	if c.OneStream() {
		merge = " 2>&1"
	}
	fmt.Fprintf(&b, `eval "exec $_lo $_as \"\$@\""%s`, merge)
	return b.String()
}

// file adds what makes a file in memory. A file whose data is nil is there
// already.
func (p *process) file(b *strings.Builder, f platforms.File) {
	name := path.Clean(f.Path)
	makeFile := fmt.Sprintf(`{ [ -d %[1]s ] || mkdir -p %[1]s; } && `, quote(path.Dir(name)))
	if f.Data != nil {
		makeFile += fmt.Sprintf(`{ [ ! -e %[1]s ] || rm -f %[1]s; } && umask 077 && printf %%b '%[2]s' >%[1]s && umask 022 && `, quote(name), encode(f.Data))
	}
	fmt.Fprintf(b, `{ %schmod %o %s; } 2>/dev/null || fail file "make the file "%s; `, makeFile, f.Mode, quote(name), quote(name))
	if isRoot(f.User) {
		return
	}
	lookUp(b, f.User)
	fmt.Fprintf(b, `chown "$_uid:$_gid" %s || fail file "change the owner of "%s; `, quote(name), quote(name))
}

// isRoot reports whether a user is root, whom nobody has to look up.
func isRoot(user string) bool { return user == "" || user == "root" || user == "0" }

// lookUp adds what finds the numbers of "name", "name:group" or "uid:gid".
func lookUp(b *strings.Builder, spec string) {
	user, group, _ := strings.Cut(spec, ":")
	fmt.Fprintf(b, `_u=%s; _g=%s; %s; `, quote(user), quote(group), findUser)
}
