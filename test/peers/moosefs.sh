#!/bin/bash
# MooseFS for bench-peers: up | remount | down. STATE: its folder. One master, three
# chunkservers, a goal of three copies, no trash; everything else has its default.
set -euo pipefail
cd "$(dirname "$0")"
. ./network.sh
. ./mounts.sh
mount=$STATE/mount
master=10.77.0.1

mounted() {
	inside mfsmount "$mount" -H $master >"$STATE/mfsmount.log" 2>&1
	until_true mountpoint -q "$mount"
}
all_there() { [ "$(inside mfscli -H $master -SCS -p 2>/dev/null | grep -c '10\.77\.0\.')" -ge 3 ]; }
three_copies() {
	head -c 65536 /dev/urandom >"$mount/probe" 2>/dev/null && sync -f "$mount/probe"
	[ "$(inside mfsfileinfo "$mount/probe" 2>/dev/null | grep -c 'copy [0-9]')" = 3 ]
}
as_root() { printf 'WORKING_USER = root\nWORKING_GROUP = root\nDATA_PATH = %s\n' "$1"; }

case "${1:-}" in
up)
	for program in mfsmaster mfschunkserver mfsmount mfscli ip; do
		command -v $program >/dev/null || exit 3
	done
	mkdir -p "$mount" "$STATE/master"
	network_up 4
	cp /var/lib/mfs/metadata.mfs.empty "$STATE/master/metadata.mfs"
	echo '* / rw,alldirs,admin,maproot=0:0' >"$STATE/exports"
	: >"$STATE/topology"
	{
		as_root "$STATE/master"
		printf 'EXPORTS_FILENAME = %s\nTOPOLOGY_FILENAME = %s\n' "$STATE/exports" "$STATE/topology"
		for side in MATOML MATOCS MATOCL; do echo "${side}_LISTEN_HOST = $master"; done
	} >"$STATE/master.cfg"
	daemon master mfsmaster -f -c "$STATE/master.cfg" start
	until_true grep -qs 'initialized properly' "$STATE/master.log"
	for i in 2 3 4; do
		mkdir -p "$STATE/data$i" "$STATE/disk$i"
		echo "$STATE/disk$i" >"$STATE/disks$i"
		{
			as_root "$STATE/data$i"
			printf 'HDD_CONF_FILENAME = %s\nMASTER_HOST = %s\nCSSERV_LISTEN_HOST = 10.77.0.%s\nBIND_HOST = 10.77.0.%s\n' "$STATE/disks$i" $master "$i" "$i"
		} >"$STATE/chunkserver$i.cfg"
		daemon chunkserver$i mfschunkserver -f -c "$STATE/chunkserver$i.cfg" start
	done
	until_true all_there
	mounted
	inside mfssetgoal -r 3 "$mount" >/dev/null
	inside mfssettrashtime -r 0 "$mount" >/dev/null
	until_true three_copies
	rm "$mount/probe"
	;;
remount)
	unmounted
	mounted
	;;
down)
	unmounted
	for i in 2 3 4; do stop "$STATE/chunkserver$i.pid"; done
	stop "$STATE/master.pid"
	stop "$STATE/network"
	rm -rf "$STATE"
	;;
*)
	echo "usage: moosefs.sh up|remount|down" >&2
	exit 2
	;;
esac
