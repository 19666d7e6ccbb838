#!/bin/sh
# Installs what tgc is built from on Debian 12 (as root or with sudo) and builds it into ./build.
# "--newest": installs the newest LLVM beside it, and builds nothing.
set -eu
cd "$(dirname "$0")/.."
packages="gcc g++ meson ninja-build pkg-config llvm-19-dev libcmocka-dev libjansson-dev zlib1g-dev
  libxxhash-dev libdw-dev dataset-fashion-mnist"
[ "${1:-}" != "--newest" ] || packages="llvm-22-dev"
missing=""
for p in $packages; do
	dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
	sudo=""
	[ "$(id -u)" = 0 ] || sudo="sudo"
	$sudo apt-get update -q
	# shellcheck disable=SC2086
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi
[ "${1:-}" != "--newest" ] || exit 0
[ -f build/build.ninja ] || meson setup build ${TGC_MESON_OPTIONS:-}
ninja -C build
