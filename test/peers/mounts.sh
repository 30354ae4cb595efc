# Sourced by the scripts of all systems.

unmounted() { # $mount, within ten seconds or lazily
	for _ in $(seq 100); do
		mountpoint -q "$mount" || return 0
		umount "$mount" 2>/dev/null || sleep 0.1
	done
	umount -l "$mount"
}
