#!/bin/sh
# `tgc dump-kernels`: its ways in, its filters, JSON that is whole, a kernel that runs on its own, wrong calls.
# Arguments: tgc, the README's example, a C compiler.
set -eu
tgc=$1
example=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "dump: $1"; exit 1; }
has() { grep -q -- "$1" "$folder/out" || fail "$2 does not say \"$1\""; }

"$tgc" dump-kernels --no-ceilings --plan -- "$example" >"$folder/out" 2>"$folder/err" || fail "-- PROGRAM"
for words in 'look first at p' 'readme.c:1[0-9]' 'gradient of readme.c' 'ends here' 'moved, .* if each operation' \
	'median of 501' 'peak: ' 'held by' 'contract f32\[256,32\]' 'took .* times that' 'variables and inputs [1-9]' \
	'ends here b[0-9]*.*: .*; b[0-9]*: ' 'kernel p1.2 is step 2'; do
	has "$words" "the page"
done
grep -q 'step 500  loss' "$folder/err" || fail "the program's own output is lost"

"$tgc" dump-kernels --no-ceilings -- "$example" >"$folder/out" 2>/dev/null
has '[0-9] smaller plan' "the page without --plan"
[ "$(sed -n 's/^plan .*, run \([0-9]*\) .*/\1/p' "$folder/out" | head -1)" -ge 500 ] || fail "the training step is not the first plan"

TGC_TRACE=$folder/a "$example" >/dev/null
TGC_TRACE=$folder/b "$example" >/dev/null
[ "$(find "$folder/a" -name 'timeline-*.json' | wc -l)" = 1 ] || fail "no timeline"
"$tgc" dump-kernels --no-ceilings --op sum --top 1 "$folder/a" >"$folder/out"
[ "$(grep -c '^  ends here' "$folder/out")" = 1 ] || fail "--top 1 lists not one kernel"
has ' sum f32' "--op sum"
"$tgc" dump-kernels --no-ceilings --kernel 'contract' --emit=ir,asm "$folder/a" >"$folder/out"
has '---- ir' "--emit"
has '---- asm' "--emit"
[ "$(grep -c '^  ends here' "$folder/out")" -ge 2 ] || fail "--kernel matches nothing"
"$tgc" dump-kernels --no-ceilings --emit=cuda --target sm_80 --top 1 -- "$example" >"$folder/out" 2>/dev/null
has '---- cuda' "--emit=cuda"
has '// sm_80: kernel_p0' "--target"
has 'TG_KERNEL(kernel_p0' "--emit=cuda"
has 'sm_80 .*kernel_p0: .* blocks of .* threads' "--target"
if grep -q 'no machine code' "$folder/out"; then
	echo "dump: no NVRTC, so no PTX and no registers"
else
	has ' registers, 0 B spilled' "--target"
	"$tgc" dump-kernels --no-ceilings --emit=ptx --top 1 -- "$example" >"$folder/out" 2>/dev/null
	has '.target sm_90' "--emit=ptx"
	has '.visible .entry kernel_p0' "--emit=ptx"
	"$tgc" dump-kernels --no-ceilings --target sm_75 --json --top 1 -- "$example" >"$folder/out" 2>/dev/null
	for field in gpu functions registers spill_bytes stack_bytes shared_bytes; do
		has "\"$field\": " "--target --json"
		"$tgc" dump-kernels --schema | grep -q "$field" || fail "--schema leaves out $field"
	done
fi
"$tgc" dump-kernels --no-ceilings --json "$folder/a" >"$folder/out"
for field in plans kernels operations arguments why bytes_unfused median_us site gradient buffers; do
	has "\"$field\": " "--json"
	"$tgc" dump-kernels --schema | grep -q "$field" || fail "--schema leaves out $field"
done
"$tgc" dump-kernels diff "$folder/a" "$folder/b" >"$folder/out" || fail "diff"
has 'the same kernels' "diff of two equal runs"
has '7 kernels and copies in both' "diff of two equal runs"
rm "$folder"/b/plan-*-0001.json
"$tgc" dump-kernels diff "$folder/a" "$folder/b" >"$folder/out"
has 'only in .*/a: 5' "diff of a run and a part of it"

"$tgc" dump-kernels --no-ceilings --kernel 'contract mul' --repro "$folder/kernel.c" "$folder/a" 2>/dev/null || fail "--repro"
"$@" -O2 -o "$folder/kernel" "$folder/kernel.c" || fail "the kernel's C file does not compile"
"$folder/kernel" 3 >"$folder/one"
"$folder/kernel" 5 >"$folder/two"
[ "$(sed 's/.*sum/sum/' "$folder/one")" = "$(sed 's/.*sum/sum/' "$folder/two")" ] || fail "the kernel alone differs from run to run"

: >"$folder/empty"
for wrong in "" "$folder/a $folder/b" "--sort size $folder/a" "--top 0 $folder/a" "--emit=sass $folder/a" "--target sm_61 $folder/a" "--fast $folder/a" \
	"--kernel [ $folder/a" "--" "diff $folder/a"; do
	code=0
	# shellcheck disable=SC2086
	"$tgc" dump-kernels $wrong >/dev/null 2>"$folder/out" || code=$?
	[ "$code" = 2 ] || fail "\"dump-kernels $wrong\" ends with $code"
	[ -s "$folder/out" ] || fail "\"dump-kernels $wrong\" says nothing"
done
for missing in "$folder/none" "$folder/empty" "-- $folder/none"; do
	code=0
	# shellcheck disable=SC2086
	"$tgc" dump-kernels $missing >/dev/null 2>"$folder/out" || code=$?
	[ "$code" = 1 ] || fail "\"dump-kernels $missing\" ends with $code"
	[ -s "$folder/out" ] || fail "\"dump-kernels $missing\" says nothing"
done
echo "dump: fine"
