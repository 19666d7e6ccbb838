#!/bin/sh
# Installs, builds and runs the everyday test suite, and 1,000 random graphs that no run has seen before.
# "--all" adds builds of their own: what allocates under AddressSanitizer with UndefinedBehaviorSanitizer, what
# uses threads under ThreadSanitizer, the suite without LLVM, and with the newest LLVM that Debian 12 offers.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
meson test -C build --print-errorlogs

# A failure here prints the graph as code and its seed; it does not fail the run, which must be repeatable.
fresh() {
	build/tests/fuzz_graph --graphs 1000 --seed fresh || echo "fresh graphs failed: see above"
	build/tests/fuzz_program --programs 100 --seed fresh || echo "fresh saved programs failed: see above"
}
if [ "${1:-}" != "--all" ]; then
	fresh
	exit 0
fi
# Each has one processor busy at most: the builds below take the others.
fresh >build/fresh.log 2>&1 &
sh tools/setup.sh --newest >build/newest.log 2>&1 &
installed=$!

# variant NAME MESON_OPTIONS TEST_OPTIONS: builds what these tests need, and no more.
variant() {
	# shellcheck disable=SC2086
	[ -f "build-$1/build.ninja" ] || meson setup "build-$1" ${TGC_MESON_OPTIONS:-} $2
	# shellcheck disable=SC2086
	meson test -C "build-$1" --print-errorlogs $3
}
# The compiler takes three times as long over checks in code that it optimises well, and such code has warnings of its own.
sanitized="-Ddefault_library=static -Doptimization=1 -Dc_args=-g1 -Dwerror=false"
variant asan "$sanitized -Db_sanitize=address,undefined" "--suite memory --timeout-multiplier 3"
variant tsan "$sanitized -Db_sanitize=thread" "--suite threads --timeout-multiplier 3"
# What LLVM does not touch is left out below.
variant interp "-Dllvm=disabled -Dcmocka=disabled" "--no-suite alike"
ninja -C build-interp # the rest of it has to build so
wait "$installed" || { cat build/newest.log; exit 1; }
variant newest "-Dllvm=enabled -Dllvm-version=22" "--no-suite alike"
wait
cat build/fresh.log
