package ssh

// FlushLogs is shell code that defines flush_logs. It writes what file systems keep in
// their logs into its place, for a copy of the disk that is taken of a running machine:
// boot loaders read no logs, so that GRUB would find the kernels of some time ago. sync
// is enough for all but XFS, which does so when it is frozen. A moment later it goes on;
// who dies in between has it thawed by a process that waits for that. The function is
// root's.
const FlushLogs = `flush_logs() {
	while read -r _ dir type opts _; do
		[ "$type" = xfs ] || continue
		case ",$opts," in *,ro,*) continue ;; esac
		dir=$(printf '%b' "$dir")
		freeze=fsfreeze
		command -v fsfreeze >/dev/null || freeze=xfs_freeze
		command -v "$freeze" >/dev/null || { echo "the log of $dir, an XFS, cannot be written into its place without fsfreeze (a program of util-linux)" >&2; return 1; }
		(sleep 10; "$freeze" -u "$dir") >/dev/null 2>&1 &
		watch=$!
		"$freeze" -f "$dir" && "$freeze" -u "$dir" || return 1
		kill "$watch"
	done </proc/mounts
}
`
