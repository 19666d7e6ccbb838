#!/bin/sh
# Installs, builds and runs the everyday test suite, and 1,000 random graphs that no run has seen before.
# "--all" adds builds of their own: what allocates under AddressSanitizer with UndefinedBehaviorSanitizer, what
# uses threads under ThreadSanitizer, the suite without LLVM, and with the newest LLVM that Debian 12 offers.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
meson test -C build --print-errorlogs

# A failure here prints the graph as code and its seed; it does not fail the run, which must be repeatable.
build/tests/fuzz_graph --graphs 1000 --seed fresh || echo "fresh graphs failed: see above"
build/tests/fuzz_program --programs 100 --seed fresh || echo "fresh saved programs failed: see above"
[ "${1:-}" = "--all" ] || exit 0

# variant NAME MESON_OPTIONS [TEST_OPTIONS]
variant() {
	# shellcheck disable=SC2086
	[ -f "build-$1/build.ninja" ] || meson setup "build-$1" ${TGC_MESON_OPTIONS:-} $2
	ninja -C "build-$1"
	# shellcheck disable=SC2086
	meson test -C "build-$1" --print-errorlogs ${3:-}
}
variant asan "-Ddefault_library=static -Db_sanitize=address,undefined" "--suite memory --timeout-multiplier 3"
variant tsan "-Ddefault_library=static -Db_sanitize=thread" "--suite threads --timeout-multiplier 3"
# What LLVM does not touch is left out below.
variant interp "-Dllvm=disabled -Dcmocka=disabled" "--no-suite emu"
sh tools/setup.sh --newest
variant newest "-Dllvm=enabled -Dllvm-version=22" "--no-suite emu"
