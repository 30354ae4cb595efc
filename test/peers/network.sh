# Sourced by the scripts of peers that refuse 127.0.0.1: a network namespace of their own
# whose loopback device has real addresses, 10.77.0.1 and up. It lives as long as a process
# in it, whose id is in $STATE/network.

network_up() { # number of addresses
	unshare -n sleep infinity </dev/null >/dev/null 2>&1 &
	echo $! >"$STATE/network"
	sleep 0.2
	inside ip link set lo up
	for i in $(seq "$1"); do
		inside ip address add "10.77.0.$i/32" dev lo
	done
}
inside() { nsenter -t "$(cat "$STATE/network")" -n "$@"; }
daemon() { # name, command...: runs it inside, its id in $STATE/NAME.pid
	local name=$1
	shift
	nsenter -t "$(cat "$STATE/network")" -n setsid "$@" </dev/null >"$STATE/$name.log" 2>&1 &
	echo $! >"$STATE/$name.pid"
}
stop() { # file with a process's id
	local pid
	[ -s "$1" ] || return 0
	pid=$(cat "$1")
	kill "$pid" 2>/dev/null || true
	for _ in $(seq 100); do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.1
	done
	kill -9 "$pid" 2>/dev/null || true
	rm -f "$1"
}
until_true() { # command...: for at most a minute
	for _ in $(seq 300); do
		"$@" && return 0
		sleep 0.2
	done
	echo "gave up: $*" >&2
	return 1
}
