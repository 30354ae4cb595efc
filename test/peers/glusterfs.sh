#!/bin/bash
# GlusterFS for bench-peers: up | remount | down. STATE: its folder. One glusterd, a volume
# with three replicas on three bricks; everything else has its default.
set -euo pipefail
cd "$(dirname "$0")"
. ./network.sh
. ./mounts.sh
mount=$STATE/mount
host=10.77.0.1

gluster_() { inside gluster --mode=script --glusterd-sock="$STATE/glusterd.socket" --log-file="$STATE/cli.log" "$@"; }
answers() { gluster_ pool list >/dev/null 2>&1; }
mounted() {
	inside glusterfs --volfile-server=$host --volfile-id=/bench --log-file="$STATE/client.log" --pid-file="$STATE/client.pid" "$mount"
	until_true usable
}
usable() { mountpoint -q "$mount" && ls "$mount" >/dev/null 2>&1; }
three_copies() {
	echo probe >"$mount/probe" && sync -f "$mount/probe"
	[ "$(cat "$STATE"/brick?/probe 2>/dev/null | grep -c probe)" = 3 ]
}

case "${1:-}" in
up)
	for program in glusterd gluster glusterfs ip; do
		command -v $program >/dev/null || exit 3
	done
	mkdir -p "$mount" "$STATE"/{glusterd,run,brick1,brick2,brick3}
	network_up 1
	cat >"$STATE/glusterd.vol" <<-END
		volume management
		    type mgmt/glusterd
		    option working-directory $STATE/glusterd
		    option run-directory $STATE/run
		    option glusterd-sockfile $STATE/glusterd.socket
		    option transport-type socket
		    option transport.address-family inet
		    option transport.socket.bind-address $host
		    option transport.socket.listen-port 24007
		end-volume
	END
	daemon glusterd glusterd -N -f "$STATE/glusterd.vol" -l "$STATE/glusterd.log" -p "$STATE/glusterd.own"
	until_true answers
	gluster_ volume create bench replica 3 transport tcp $host:"$STATE"/brick1 $host:"$STATE"/brick2 $host:"$STATE"/brick3 force
	gluster_ volume start bench
	mounted
	until_true three_copies
	rm "$mount/probe"
	;;
remount)
	unmounted
	mounted
	;;
down)
	unmounted
	gluster_ volume stop bench force >/dev/null 2>&1 || true
	for file in $(find "$STATE" -name '*.pid'); do
		case "$(cat "/proc/$(cat "$file")/comm" 2>/dev/null)" in gluster*) stop "$file" ;; esac
	done
	stop "$STATE/network"
	rm -rf "$STATE"
	;;
*)
	echo "usage: glusterfs.sh up|remount|down" >&2
	exit 2
	;;
esac
