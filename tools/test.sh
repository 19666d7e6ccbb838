#!/bin/sh
# Installs, builds and runs the everyday test suite: the tests, 1,000 random graphs that no run has seen before,
# then part of the suite again under AddressSanitizer with UndefinedBehaviorSanitizer, and what uses threads
# under ThreadSanitizer. "--quick" leaves out all but the tests.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
meson test -C build --print-errorlogs
[ "${1:-}" = "--quick" ] && exit 0

# A failure here prints the graph as code and its seed; it does not fail the run, which must be repeatable.
build/tests/fuzz_graph --graphs 1000 --seed fresh || echo "fresh graphs failed: see above"

# sanitized NAME SANITIZERS SUITE: in a build folder of its own.
sanitized() {
	[ -f "build-$1/build.ninja" ] ||
		meson setup "build-$1" -Db_sanitize="$2" -Ddefault_library=static ${TGC_MESON_OPTIONS:-}
	meson test -C "build-$1" --print-errorlogs --suite "$3" --timeout-multiplier 3
}
sanitized asan address,undefined memory
sanitized tsan thread threads
