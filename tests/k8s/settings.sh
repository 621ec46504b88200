# shellcheck shell=bash disable=SC2034
# What the scripts beside it agree on: names, addresses, and how processes are started and found.
#
# Each process of the cluster has a control group of its own, and the kernel keeps what it starts in that group. So
# nothing is ever looked for by name, no number of a process is written down, and nothing can outlive `down`.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
CACHE=${XMPP_CACHE:-$HOME/.cache/xmpp-cluster}/k8s
STATE=${XMPP_K8S_STATE:-$CACHE/cluster} # all that a running cluster has on disk
NODES=${XMPP_K8S_NODES:-3}     # worker nodes, 1 to 9

BRIDGE=xmpp-k8s                # joins the nodes and this machine; no way leads further
NET=10.199.0                   # /24 of the bridge: this machine is .1, node N is .1N
POD_NET=10.244                 # node N has $POD_NET.N.0/24
SERVICE_NET=10.96              # /16 of ClusterIPs
MACHINE=${XMPP_K8S_MACHINE:-$NET.1}
API=https://$MACHINE:${XMPP_K8S_PORT:-6443}
DNS=$SERVICE_NET.0.10
GROUP=xmpp-k8s                 # name of the control groups
KUBECONFIG=$STATE/admin.kubeconfig
export KUBECACHEDIR=$STATE/kubectl # else kubectl and helm write to the home directory

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }
die() { say "error: $*"; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "must run as root: it makes namespaces, mounts and control groups"; }

missing_packages() { # prints the Debian packages whose programs are missing
	local pair
	for pair in containerd:containerd runc:runc nft:nftables ip:iproute2 sysctl:procps \
		busybox:busybox-static openssl:openssl unshare:util-linux findmnt:mount python3:python3; do
		command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
	done
	[ -x /usr/lib/cni/ptp ] || echo containernetworking-plugins
	# Images consist of it alone: it must not ask for libraries.
	if ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'; then echo busybox-static; fi
}

usable_go() { # whether `go` is new enough for Kubernetes; extends PATH by where it usually is
	PATH=$PATH:/usr/local/go/bin
	local version
	version=$(cd / && GOTOOLCHAIN=local go env GOVERSION 2>/dev/null) || return
	[ "$(printf 'go1.24\n%s\n' "$version" | sort -V | head -n 1)" = go1.24 ]
}

# wait_for SECONDS WHAT COMMAND...
wait_for() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ "$SECONDS" -lt "$end" ] || die "no $what in time; the logs are in $STATE/log"
		sleep 0.1
	done
}

# The second version of control groups is there beside the first, too, where that is still in use.
groups_root() {
	local root
	root=$(findmnt --noheadings --output TARGET --types cgroup2 | head -n 1)
	[ -n "$root" ] || die "no cgroup2 file system is mounted"
	echo "$root/$GROUP"
}

# start NAME COMMAND...: in a control group of its own, unless it runs; its output goes to $STATE/log/NAME.log
start() {
	local name=$1 group
	group=$(groups_root)/processes/$name
	shift
	runs "$name" && return
	mkdir -p "$group" "$STATE/log"
	(
		echo "$BASHPID" >"$group/cgroup.procs"
		# What stays must not hold the lock of `e2e`, which is 9.
		exec setsid "$@" </dev/null >>"$STATE/log/$name.log" 2>&1 9>&-
	) &
}

runs() { grep -qs '^populated 1' "$(groups_root)/processes/$1/cgroup.events"; }

# stop PATH: ends whatever runs in a control group and below it
stop() {
	[ -d "$1" ] || return 0
	echo 1 >"$1/cgroup.kill"
	wait_for 20 "end of the processes in $1" grep -q '^populated 0' "$1/cgroup.events"
}

# first_process N: the number, on this machine, of the process that node N has as its first
first_process() {
	local pid
	while read -r pid; do
		# Two numbers: the containers' first processes, one level deeper, have three.
		grep -Eqs '^NSpid:[[:space:]]+[0-9]+[[:space:]]+1$' "/proc/$pid/status" && echo "$pid" && return
	done <"$(groups_root)/processes/node$1/cgroup.procs"
	return 1
}

# unplug N: takes node N's cable away, if there is one. The kernel does it when a node's network ends, but that may be
# minutes after its processes, where connections of the dead still wait for an answer, as behind a cable that was cut.
unplug() {
	ip link delete "$BRIDGE-$1" 2>/dev/null || true
	wait_for 20 "end of the cable of node $1" eval "! ip link show $BRIDGE-$1"
}
