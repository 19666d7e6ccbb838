#!/bin/sh
# Installs, builds and runs the everyday test suite, and 200 random graphs that no run has seen before.
# "--sanitize" adds part of the suite under AddressSanitizer with UndefinedBehaviorSanitizer, and what uses
# threads under ThreadSanitizer, each in a build folder of its own.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
meson test -C build --print-errorlogs

# A failure here prints the graph as code and its seed; it does not fail the run, which must be repeatable.
build/tests/fuzz_graph --graphs 200 --seed fresh || echo "fresh graphs failed: see above"
[ "${1:-}" = "--sanitize" ] || exit 0

# sanitized NAME SANITIZERS SUITE
sanitized() {
	[ -f "build-$1/build.ninja" ] ||
		meson setup "build-$1" -Db_sanitize="$2" -Ddefault_library=static ${TGC_MESON_OPTIONS:-}
	meson test -C "build-$1" --print-errorlogs --suite "$3" --timeout-multiplier 3
}
sanitized asan address,undefined memory
sanitized tsan thread threads
