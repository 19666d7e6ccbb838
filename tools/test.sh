#!/bin/sh
# Installs, builds and runs the everyday test suite; then part of it again under AddressSanitizer and
# UndefinedBehaviorSanitizer, and what uses threads under ThreadSanitizer. "--quick" leaves the sanitizers out.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
meson test -C build --print-errorlogs
[ "${1:-}" = "--quick" ] && exit 0

# sanitized NAME SANITIZERS SUITE: its own build folder, only the suite's programs.
sanitized() {
	[ -f "build-$1/build.ninja" ] ||
		meson setup "build-$1" -Db_sanitize="$2" -Ddefault_library=static -Dexamples=false ${TGC_MESON_OPTIONS:-}
	meson test -C "build-$1" --print-errorlogs --suite "$3" --timeout-multiplier 5
}
sanitized asan address,undefined memory
sanitized tsan thread threads
