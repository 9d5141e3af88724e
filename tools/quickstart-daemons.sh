# SPDX-License-Identifier: Apache-2.0
# Part of ./quickstart: the control service and the two nodes, with systemd or without.

on_systemd() {
	[ -d /run/systemd/system ] && [ "$(cat /proc/1/comm)" = systemd ]
}

# ---- without systemd: pid files, each believed only while the process runs our program ----

program_of() { # program_of NAME
	case $1 in
	control) echo "$build/control/flocker-control" ;;
	here | there) echo "$build/nodesvc/flocker-node" ;;
	esac
}

pid_of() { # pid_of NAME - prints the pid of the running daemon; fails when there is none
	local pid exe
	if on_systemd; then
		pid=$(systemctl show --value -p MainPID "$(unit_of "$1")") && [ "${pid:-0}" != 0 ] && echo "$pid"
		return
	fi
	read -r pid <"/run/flocker/$1.pid" || return
	exe=$(readlink "/proc/$pid/exe") || return
	[ "${exe% (deleted)}" = "$(program_of "$1")" ] && echo "$pid"
} 2>/dev/null

is_outdated() { # is_outdated PID - its program was built anew since
	[[ $(readlink "/proc/$1/exe") == *" (deleted)" ]]
}

end_daemon() { # end_daemon NAME - SIGTERM, and wait for its end
	local pid i
	pid=$(pid_of "$1") || return 0
	kill -TERM "$pid"
	for ((i = 0; i < 150; i++)); do
		pid_of "$1" >/dev/null || { rm -f "/run/flocker/$1.pid"; return 0; }
		sleep 0.1
	done
	fail "$1 (pid $pid) has not ended in 15 s" "read $log_dir/$1.log; kill -9 $pid leaves its mounts in place"
}

start_daemon() { # start_daemon NAME COMMAND...
	local name=$1 pid
	shift
	if pid=$(pid_of "$name"); then
		is_outdated "$pid" || return 0
		end_daemon "$name"
	fi
	# The descriptors of quickstart are not the daemon's: a lock would be held for ever.
	setsid "$@" >>"$log_dir/$name.log" 2>&1 </dev/null 3>&- 9>&- &
	echo $! >"/run/flocker/$name.pid"
}

# ---- with systemd ----

unit_of() { # unit_of NAME
	case $1 in
	control) echo flocker-control.service ;;
	here) echo flocker-node.service ;;
	there) echo flocker-node-there.service ;;
	esac
}

# What meson installs, one path a line.
installed_files() {
	meson introspect "$build" --installed |
		python3 -c 'import json, sys; print(*json.load(sys.stdin).values(), sep="\n")'
}

note_missing_dirs() { # note_missing_dirs DIRECTORY
	[ ! -d "$1" ] || return 0
	note_missing_dirs "$(dirname "$1")"
	note emptydir "$1"
}

own_file() { # own_file PATH - before it is written
	is_ours file "$1" && return
	[ ! -e "$1" ] || fail "$1 is there already, and quickstart did not make it" \
		"a Flocker seems to be installed; remove it, or use it instead of quickstart"
	note_missing_dirs "$(dirname "$1")"
	note file "$1"
}

install_units() {
	local path
	while read -r path; do
		own_file "$path"
	done < <(installed_files)
	meson install -C "$build" --no-rebuild --only-changed ||
		fail "meson cannot install: $(tail -n 1 "$log")" "read the log"
	own_file /etc/default/flocker-control
	echo "FLOCKER_CONTROL_OPTIONS=\"--port tcp:4523:interface=$here --agent-port tcp:4524:interface=$here\"" \
		>/etc/default/flocker-control
	own_file /etc/systemd/system/flocker-node-there.service
	cat >/etc/systemd/system/flocker-node-there.service <<-END
	# Made by quickstart: a second node on this machine. Its mounts stay in its own namespace, on purpose.
	[Unit]
	Description=Flocker node "there"
	After=flocker-control.service flocker-node.service

	[Service]
	Type=notify
	ExecStart=$(install_prefix)/sbin/flocker-node --agent-config /etc/flocker-there/agent.yml
	PrivateMounts=yes
	RuntimeDirectory=flocker-there
	RuntimeDirectoryMode=0750
	WatchdogSec=60s
	Restart=always
	RestartSec=1s
	KillMode=process

	[Install]
	WantedBy=multi-user.target
	END
	systemctl daemon-reload
}

install_prefix() {
	meson introspect "$build" --buildoptions |
		python3 -c 'import json, sys; print(next(o["value"] for o in json.load(sys.stdin) if o["name"] == "prefix"))'
}

# ---- the cluster ----

# Mounts of one node have to leave the other's namespace when they are unmounted, so their root is a
# shared mount, as systemd makes all of them.
share() { # share DIRECTORY
	[[ $(findmnt -n -o PROPAGATION -T "$1") == *shared* ]] && return
	mountpoint -q "$1" || { note mount "$1"; mount --bind "$1" "$1"; }
	mount --make-shared "$1"
}

check_ports() {
	local port
	pid_of control >/dev/null && return
	for port in 4523 4524; do
		! (exec 7<>"/dev/tcp/$here/$port") 2>/dev/null ||
			fail "port $port is in use by another program" "end it; ss -tlnp names it"
	done
}

nodes_connected() {
	"$build/cli/flockerctl" list-nodes --json | python3 -c '
import json, sys
nodes = json.load(sys.stdin)
sys.exit(sum(1 for n in nodes if n.get("live", n.get("connected"))) < 2)'
}

why_not_ready() { # the last word of the first daemon that is not well
	local name
	for name in control here there; do
		if ! pid_of "$name" >/dev/null; then
			if on_systemd; then
				journalctl -q -n 2 -o cat -u "$(unit_of "$name")"
			else
				tail -n 2 "$log_dir/$name.log"
			fi
			echo "($name does not run)"
			return
		fi
	done
	echo "the nodes have not connected in 30 s"
}

start_cluster() {
	local i name running=0
	for name in control here there; do
		! pid_of "$name" >/dev/null || running=$((running + 1))
	done
	check_ports
	if on_systemd; then
		systemctl enable --now flocker-control.service flocker-node.service flocker-node-there.service ||
			fail "the units do not start: $(why_not_ready)" "journalctl -u 'flocker-*'"
		for name in control here there; do
			! is_outdated "$(pid_of "$name")" || systemctl restart "$(unit_of "$name")"
		done
	else
		share /flocker
		share /run/flocker
		start_daemon control "$build/control/flocker-control" --data-path /var/lib/flocker \
			--port "tcp:4523:interface=$here" --agent-port "tcp:4524:interface=$here" \
			--certificates-directory /etc/flocker
		start_daemon here "$build/nodesvc/flocker-node" --agent-config /etc/flocker/agent.yml
		start_daemon there unshare --mount --propagation slave "$build/nodesvc/flocker-node" \
			--agent-config /etc/flocker-there/agent.yml
	fi
	for ((i = 0; i < 300; i++)); do
		! nodes_connected 2>/dev/null || break
		sleep 0.1
	done
	[ $i -lt 300 ] || fail "$(why_not_ready)" "read the logs in $log_dir"
	[ $running -lt 3 ] || said="they run already"
}

# Services are stopped by the units that they are bound to; containers stay, and are named when they are in the way.
stop_users() {
	! on_systemd || systemctl stop "flocker-dataset@*.service" flocker-docker-plugin.socket \
		flocker-docker-plugin.service || true # of an installation that was interrupted there may be none
}

stop_daemons() {
	there_ns=$(readlink "/proc/$(pid_of there)/ns/mnt" 2>/dev/null)
	if on_systemd; then
		systemctl disable --now flocker-node-there.service flocker-node.service flocker-control.service
		return
	fi
	end_daemon there
	end_daemon here
	end_daemon control
}

our_loops() {
	grep -ls "^$volumes/" /sys/block/loop*/loop/backing_file | cut -d/ -f4
}

users_of_there() {
	local proc
	for proc in /proc/[0-9]*; do
		[ "$(readlink "$proc/ns/mnt" 2>/dev/null)" = "$there_ns" ] && echo "${proc#/proc/} ($(cat "$proc/comm"))"
	done
}

users_of() { # users_of PLACE - processes that have something of it open
	local pid
	for pid in $(find /proc/[0-9]*/{cwd,root,fd} -maxdepth 1 -lname "$1*" 2>/dev/null | cut -d/ -f3 | sort -un); do
		echo -n " $pid ($(cat "/proc/$pid/comm"))"
	done
}

# What a shutdown of the machine would do. The nodes' claims stay, so a new start brings it all back.
put_away() {
	local place loop i
	while read -r place; do
		umount "$place" ||
			fail "$place is in use by$(users_of "$place")" "end what uses it, then ./quickstart stop again"
		rmdir "$place" # nothing shall be written where a dataset is not mounted
	done < <(awk '$5 ~ "^/flocker/" { print $5 }' /proc/self/mountinfo)
	[ -z "${there_ns:-}" ] || [ -z "$(users_of_there)" ] ||
		fail "processes are still in the namespace of \"there\": $(users_of_there | tr '\n' ' ')" "end them"
	for loop in $(our_loops); do
		losetup -d "/dev/$loop"
	done
	for ((i = 0; i < 100; i++)); do
		[ -n "$(our_loops)" ] || break
		sleep 0.1
	done
	[ -z "$(our_loops)" ] || fail "$(our_loops | tr '\n' ' ') is still in use" "losetup -l and lsof name who uses it"
	while read -r _ place; do
		! mountpoint -q "$place" || umount "$place" || fail "$place is in use" "end what uses it"
	done < <(grep '^mount ' $manifest)
}

enter_there() { # enter_there COMMAND...
	local pid
	pid=$(pid_of there) || { echo "the node \"there\" does not run: start it with ./quickstart" >&2; exit 1; }
	[ $# -gt 0 ] || set -- "${SHELL:-/bin/sh}"
	exec nsenter --target "$pid" --mount --wdns=/run/flocker-there/flocker -- "$@"
}
