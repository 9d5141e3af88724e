# SPDX-License-Identifier: Apache-2.0
# Debian packages that Flocker needs, for ./quickstart and ./run-tests, which source this file (bash).

packages_build=(gcc libc6-dev meson ninja-build pkg-config python3 udev
	libjson-c-dev libsystemd-dev libevent-dev libssl-dev libfuse3-dev libudev-dev libmount-dev
	libblkid-dev libsqlite3-dev libyaml-dev
	libcmocka-dev zlib1g-dev)
packages_run=(fuse3 e2fsprogs xfsprogs btrfs-progs util-linux mount)
packages_test=(clang curl libclang-rt-14-dev python3-pytest python3-jsonschema openssl iproute2 mandoc systemd fdisk gdisk lvm2
	cryptsetup-bin nftables zsh gccgo chromium libnss3-tools fonts-dejavu-core)
packages_docker=(docker.io podman crun runc busybox-static postgresql) # for the stage docker
packages_qemu=(qemu-system-x86 e2fsprogs openssl python3-pytest) # for ./run-tests --only qemu
# For ./run-tests --only boot: here, and in the machine that it boots.
packages_boot=(qemu-system-x86 mmdebstrap e2fsprogs xfsprogs btrfs-progs openssl python3-pytest)
packages_machine=(systemd-sysv udev dbus kmod iproute2 python3 postgresql-15
	libjson-c5 libsystemd0 libevent-core-2.1-7 libevent-extra-2.1-7 libevent-openssl-2.1-7 libevent-pthreads-2.1-7
	libssl3 libfuse3-3 libudev1 libmount1 libblkid1 libsqlite3-0 libyaml-0-2
	meson ninja-build gcc libc6-dev python3-pytest python3-jsonschema libcmocka0 openssl curl mandoc fdisk gdisk lvm2
	cryptsetup-bin nftables zsh bash-completion procps psmisc)

# packages_missing PACKAGE... - those that are not installed, one a line
packages_missing() {
	local have name
	have=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 2>/dev/null | sed -n 's/^ii *//p')
	for name in "$@"; do
		grep -qxF -e "$name" <<<"$have" || echo "$name"
	done
}

# packages_install LOG PACKAGE... - installs what is missing; 0 also when nothing is; output goes to LOG
packages_install() {
	local log=$1 missing
	shift
	mapfile -t missing < <(packages_missing "$@")
	[ ${#missing[@]} -gt 0 ] || return 0
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive
	{
		apt-get -q update &&
			apt-get -qy -o DPkg::Lock::Timeout=120 install --no-install-recommends "${missing[@]}"
	} >>"$log" 2>&1 </dev/null
}
