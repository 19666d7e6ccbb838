#!/bin/sh
# tests/gpu.sh on the stand-ins for the driver and NVRTC, on a few small checks and one small workload: what it writes, and
# what it says where there is no GPU. Arguments: build folder, the library that stands in for both.
set -eu
build=$1
fake=$2
script=$(dirname "$0")/gpu.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
	echo "gpu_rehearsal: $1"
	cat "$folder/out/table.txt" "$folder"/out/checks/*.log "$folder"/out/bench.log 2>/dev/null || true
	exit 1
}

mkdir "$folder/libraries"
ln -s "$fake" "$folder/libraries/libcuda.so.1"
ln -s "$fake" "$folder/libraries/libnvrtc.so.13"
ln -s "$fake" "$folder/libraries/libcublasLt.so.13"
export TGC_CUDA_LIBDIR="$folder/libraries" GPU_BUILD="$build" GPU_SMALL=1

sh "$script" "$folder/out" >"$folder/said" 2>&1 || { cat "$folder/said"; fail "it failed"; }
grep -q 'device ok .*fake GPU 0, sm_90' "$folder/out/table.txt" || fail "no device"
[ "$(grep -c '"status": "ok"' "$folder/out/checks.jsonl")" = 3 ] || fail "not three checks"
grep -q 'matmul_64x10x784 .* 1 ' "$folder/out/table.txt" || fail "no benchmark"
grep -q '^{"commit": .*"failed": 0, .*"checks": \[{"name": .*"bench": \[{"name": "matmul_64x10x784", "device": "cuda"' \
	"$folder/out/gpu.json" || fail "no JSON"

# A kernel that does not run is a failed check.
FAKE_CUDA_FAIL=cuGraphLaunch:1:700 sh "$script" "$folder/out" >"$folder/said" 2>&1 && fail "a dead device is no failure"
grep -q 'failed (1)' "$folder/out/table.txt" || fail "a dead device fails no check"

FAKE_CUDA_COUNT=0 sh "$script" "$folder/out" >"$folder/said" 2>&1 && fail "no GPU is no failure"
grep -q 'CUDA_ERROR_NO_DEVICE' "$folder/said" || fail "no GPU is not told of"

mkdir "$folder/empty"
: >"$folder/empty/jansson.h"
CFLAGS="-DX" PATH="$folder/empty" /bin/sh "$script" "$folder/out" >"$folder/said" 2>&1 && fail "no compiler is no failure"
exit 0
