#!/usr/bin/env bash
# Builds ipcx and runs its whole suite on the CPython of a newer Debian, in a chroot outside the tree.
#
#   tools/night_chroot.sh [suite python]        (default: trixie 3.13)
#
# IPCX_NIGHT_DIR holds the chroots (default /var/tmp/ipcx-night). They come from DEBIAN_MIRROR, by
# default where this machine's own packages come from. What runs inside has mounts and processes of
# its own, so nothing of it stays behind; the chroot itself is kept, because the next night is quick
# then. The suite needs no network inside: the pinned tools are fetched out here.
set -euo pipefail
cd "$(dirname "$0")/.."

suite=${1:-trixie}
version=${2:-3.13}
night=${IPCX_NIGHT_DIR:-/var/tmp/ipcx-night}
root=$night/$suite
own_mirror() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed -n '/security/!{p;q}'
}
mirror=${DEBIAN_MIRROR:-$(own_mirror)}
packages=python3,python3-dev,python3-venv,libpython$version-testsuite,gcc,libc6-dev,make,pkg-config,clang
packages+=,procps,openssl,strace,ca-certificates,media-types,netbase

if [[ $(id -u) != 0 ]]; then
    echo "tools/night_chroot.sh makes a chroot: run it as root." >&2
    exit 1
fi
if ! command -v debootstrap >/dev/null; then
    echo "tools/night_chroot.sh needs debootstrap (Debian: \`apt-get install debootstrap\`)." >&2
    exit 1
fi

if [[ ! -e $root/.complete ]]; then
    echo "making $root from $mirror"
    rm -rf "$root"
    mkdir -p "$root"
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" \
        >"$night/$suite.log" 2>&1 || { tail -n 20 "$night/$suite.log" >&2; exit 1; }
    printf '%s localhost\n' 127.0.0.1 ::1 >"$root/etc/hosts"
    touch "$root/.complete"
fi

echo "running the suite on CPython $version ($suite)"
tree=$root/build/ipcx # not /ipcx: a folder in / would be found by `import ipcx`
rm -rf "$tree" "$root/wheels"
mkdir -p "$tree" "$root/wheels"
git ls-files -z | tar --null -T - -c | tar -x -C "$tree"
python3 -m pip download -q --only-binary=:all: --python-version "$version" -d "$root/wheels" \
    -r requirements/build.txt -r requirements/test.txt -r requirements/lab.txt

# The two mounts live in a mount namespace of their own and end with it.
# shellcheck disable=SC2016
unshare --mount --pid --fork --kill-child bash -c '
    set -e
    mount -t proc proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount -t tmpfs tmpfs "$1/dev/shm"
    mount -t tmpfs tmpfs "$1/tmp"
    exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/tmp LANG=C.UTF-8 \
        PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels PIP_ROOT_USER_ACTION=ignore \
        IPCX_NIGHT="${IPCX_NIGHT:-0}" IPCX_HANG_GUARD="${IPCX_HANG_GUARD:-30}" \
        chroot "$1" make -C /build/ipcx test
' night "$root"
