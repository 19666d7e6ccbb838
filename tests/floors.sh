#!/bin/sh
# The floors: no include that climbs, the kit and the tools on public headers only, and each floor links with
# nothing but the floors below it (-z defs). Arguments: the source folder, the build folder.
set -eu
src=$1
build=$2
cd "$src"
status=0
fail() { echo "floors: $1"; status=1; }

grep -rn --include='*.[ch]' '#include "\.\./' . && fail 'an #include "../'
grep -rnE '#include "(lib|plan|codegen|runtime|kit)\.h"' tools examples include && fail 'tools or examples see inside'
grep -rnE '#include "(lib|plan|codegen|runtime)\.h"' lib/kit && fail 'the kit sees inside'
ls lib/*.c | xargs grep -nE '#include "(codegen|runtime)\.h"|#include <(pthread|fcntl|sys/mman|sys/stat)\.h>' &&
	fail 'lib reaches up, or knows a file, a thread or a device'
grep -rnE '#include "runtime\.h"' codegen && fail 'codegen reaches up'

# Whole archives, undefined symbols are errors.
floors="lib/libtg_lib.a"
llvm=$(grep -o '/[^ ]*libLLVM[^ ]*\.so' "$build/build.ninja" | head -n 1)
dw=$(grep -q TG_HAVE_LIBDW "$build/build.ninja" && echo -ldw || true)
for next in "" codegen/libtg_codegen.a runtime/libtg_runtime.a; do
	floors="$floors $next"
	list=""
	for f in $floors; do list="$list $build/$f"; done
	# shellcheck disable=SC2086
	cc -shared -Wl,-z,defs -Wl,--whole-archive $list -Wl,--no-whole-archive $llvm -lxxhash -ljansson $dw -lm -lpthread \
		-o "$build/floors-check.so" || fail "undefined symbols in: $floors"
done
rm -f "$build/floors-check.so"
[ $status = 0 ] && echo "floors: 3 links and 5 rules hold"
exit $status
