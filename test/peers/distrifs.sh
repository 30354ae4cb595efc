#!/bin/bash
# DistriFS for bench-peers: up | remount | down. STATE: its folder; BIN: of our programs;
# OPTIONS: of the mount. Everything has its default.
set -euo pipefail
. "$(dirname "$0")/mounts.sh"
mount=$STATE/mount

ports() { # a free range of ports for master and chunkservers
	for port in $(shuf -i 20000-30000 -n 50); do
		ss -Htln | grep -qE ":($port|$((port + 1))|$((port + 2))|$((port + 3)))\b" || { echo "$port"; return; }
	done
	return 1
}
mounted() { "$BIN/distrifs-mount" --log-file "$STATE/mount.log" ${OPTIONS:+-o "$OPTIONS"} "127.0.0.1:$(cat "$STATE/port")" "$mount"; }

case "${1:-}" in
up)
	mkdir -p "$mount"
	ports >"$STATE/port"
	"$BIN/distrifs" up --dir "$STATE/cluster" --port "$(cat "$STATE/port")" --detach
	mounted
	;;
remount)
	unmounted
	mounted
	;;
down)
	unmounted
	"$BIN/distrifs" down --dir "$STATE/cluster" --purge
	rm -rf "$STATE"
	;;
*)
	echo "usage: distrifs.sh up|remount|down" >&2
	exit 2
	;;
esac
