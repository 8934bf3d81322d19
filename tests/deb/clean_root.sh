#!/bin/sh
# clean_root.sh BUILD VERSION: the packages of `make deb` on a Debian that has nothing else, in a folder that goes again.
set -eu
build=$(realpath "$1")
version=$2
here=$(realpath "$(dirname "$0")")

skip() {
	echo "check-deb: skipped: $1"
	exit 0
}
say() {
	echo "check-deb: $1"
}
fail() {
	echo "check-deb: FAILED: $1" >&2
	exit 1
}

say "lintian"
if command -v lintian >/dev/null; then
	lintian --allow-root --fail-on error "$build"/*_"$version"_*.deb || fail "lintian found errors"
fi

[ "$(id -u)" = 0 ] || skip "a root can not be made by another user than root"
work=$(mktemp -d /var/tmp/tova-deb-XXXXXX)
root=$work/root
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$work"' EXIT
wants=ca-certificates,python3,systemd
if command -v mmdebstrap >/dev/null; then
	mmdebstrap --quiet --variant=apt --include=$wants bookworm "$root" >"$work/log" 2>&1 || skip "mmdebstrap made no root: $(tail -1 "$work/log")"
elif command -v debootstrap >/dev/null; then
	debootstrap --variant=minbase --include=$wants bookworm "$root" >"$work/log" 2>&1 || skip "debootstrap made no root: $(tail -1 "$work/log")"
else
	skip "neither mmdebstrap nor debootstrap is there"
fi
mount -t proc proc "$root/proc" || skip "proc can not be mounted in a root"

in_root() {
	chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# The version that an upgrade comes from: the same files, under an older number.
mkdir "$work/old" "$root/debs" "$root/olddebs"
for deb in "$build"/*_"$version"_*.deb; do
	dpkg-deb -R "$deb" "$work/old/tree"
	sed -i "s/^Version: .*/Version: 0.1.9/" "$work/old/tree/DEBIAN/control"
	dpkg-deb -b "$work/old/tree" "$root/olddebs/" >/dev/null
	rm -rf "$work/old/tree"
done
cp "$build"/*_"$version"_*.deb "$root/debs"
cp "$here/in_root.py" "$root/root/in_root.py"

say "install"
in_root sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends /olddebs/tova-host_*.deb' >"$work/log" 2>&1 || { tail -20 "$work/log"; fail "the package can not be installed"; }
in_root getent passwd tova >/dev/null || fail "there is no user tova"
in_root tova-host --version | grep -q "^tova-host $version" || fail "the program has another version"
in_root tova-host --config /etc/tova/tova-host.conf --check >/dev/null || fail "the settings that came are wrong"
say "start, talk and reload, as the unit does"
in_root python3 /root/in_root.py || fail "the installed host does not serve"

say "the unit"
in_root systemd-analyze verify --man=no /lib/systemd/system/tova-host.service >"$work/log" 2>&1 || true
[ -s "$work/log" ] || echo 'nothing is wrong with it' >"$work/log"
sed 's/^/check-deb: verify: /' "$work/log"
grep -E "Unknown|Failed|Invalid|tova-host" "$work/log" && fail "the unit is wrong"
in_root systemd-analyze security --offline=yes --no-pager --threshold=20 /lib/systemd/system/tova-host.service | tail -1

say "upgrade, with settings that were changed"
echo '# mine' >>"$root/etc/tova/tova-host.conf"
in_root sh -c "apt-get install -y -qq --no-install-recommends /debs/tova-host_${version}_*.deb" >"$work/log" 2>&1 || { tail -20 "$work/log"; fail "no upgrade"; }
grep -q '# mine' "$root/etc/tova/tova-host.conf" || fail "an upgrade took settings away"
in_root python3 /root/in_root.py || fail "the upgraded host does not serve"

say "handlers from the packages alone"
in_root sh -c "apt-get install -y -qq --no-install-recommends gcc libc6-dev pkg-config nodejs /debs/libtova-dev_*.deb /debs/python3-tova_*.deb /debs/node-tova_*.deb" \
	>"$work/log" 2>&1 || { tail -20 "$work/log"; fail "the libraries can not be installed"; }
in_root python3 /root/in_root.py handlers || fail "a handler of the packages does not serve"
cp -r "$here/../install/outside" "$root/root/outside"
in_root python3 /root/in_root.py guests /root/outside || fail "a test of the packages' harnesses is not right"

say "remove and purge"
in_root apt-get remove -y -qq tova-host >"$work/log" 2>&1 || fail "no removal"
[ -e "$root/etc/tova/tova-host.conf" ] || fail "removal took settings away"
in_root sh -c 'apt-get purge -y -qq tova-host libtova-dev python3-tova node-tova' >"$work/log" 2>&1 || fail "no purge"
left=$(find "$root" -xdev \( -path "$root/proc" -o -path "$root/debs" -o -path "$root/olddebs" -o -path "$root/var/lib/apt" -o -path "$root/var/cache" \) -prune -o -name '*tova*' -print | grep -v -e /var/lib/dpkg -e /var/lib/systemd || true)
[ -z "$left" ] || fail "left behind: $left"
say "all of it went well"
