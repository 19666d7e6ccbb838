#!/bin/sh
# `tgc bench`: names that people and scripts rely on, one JSON line that --compare can read, and wrong calls.
# Times are of no interest here. Argument: tgc.
set -eu
tgc=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() { echo "bench: $1"; exit 1; }

"$tgc" bench --list >"$folder/list"
for name in mlp resnet20 cnn gpt_small gpt2_124m attention layernorm_fwd layernorm_fb softmax_4096x1024 softmax_64x50257 gelu_chain \
	adam matmul_512x512x512 matmul_1024x1024x1024 matmul_2048x2048x2048 matmul_32x1024x1024 matmul_65536x16x144 \
	matmul_64x10x784 matmul_128x512x784 matmul_4096x64x576 matmul_bias_relu head conv3_16-16_32_s1_g1 \
	conv3_32-32_16_s1_g1_dx conv3_64-64_8_s1_g1_dw conv3_16-32_32_s2_g1 conv7_3-64_224_s2_g1 conv3_64-64_32_s1_g64 \
	sum_axis0 sum_axis1 sum_all argmax_axis1 transpose gather_32k; do
	grep -qx "$name" "$folder/list" || fail "$name is gone"
done
TGC_DEVICE=cuda "$tgc" bench --list >"$folder/gpu"
for name in resnet20_bf16 gpt2_124m_bf16 attention_bf16 matmul_4096x4096x4096_bf16 matmul_8192x8192x8192_bf16; do
	grep -qx "$name" "$folder/gpu" || fail "$name is gone"
done
[ "$(sort "$folder/list" | uniq -d)" = "" ] || fail "a name twice"
[ "$("$tgc" bench --list --only softmax,sum_all | wc -l)" = 3 ] || fail "--only takes no prefix"

"$tgc" bench --only softmax_4096x1024,matmul_64x10x784 --rounds 1 --json >"$folder/json" 2>"$folder/progress"
[ "$(wc -l <"$folder/json")" = 2 ] || fail "not a line each"
for field in name tf32 ms first_ms first_warm_ms launches host_us percent ceiling error; do
	[ "$(grep -c "\"$field\": " "$folder/json")" = 2 ] || fail "no $field"
done
grep -q '"name": "softmax_4096x1024".*"launches": 1, ' "$folder/json" || fail "softmax is not one launch"
"$tgc" bench --only matmul_64x10x784 --rounds 1 --compare "$folder/json" >"$folder/table" 2>/dev/null ||
	fail "--compare cannot read --json"
grep -q 'matmul_64x10x784 .* [0-9.]*x ' "$folder/table" || fail "--compare compares nothing"

"$tgc" bench --only matmul_64x10x784 --rounds 1 --json --peers false >"$folder/alone" 2>"$folder/progress" &&
	fail "peers that end at once are no failure"
grep -q 'the peers ended' "$folder/progress" || fail "peers that end at once are not told of"
grep -q '"peers": \[\]' "$folder/alone" || fail "peers that end at once take our time with them"

"$tgc" bench --only softmax_4096x1024 --model --json >"$folder/model" 2>/dev/null || fail "--model"
grep -q '"name": *"softmax_4096x1024".*"predicted_us".*"measured_us"' "$folder/model" || fail "--model predicts nothing"

"$tgc" bench --only mlp --memory --rounds 1 --json >"$folder/memory" 2>/dev/null || fail "--memory"
[ "$(grep -c '"same_bits":true' "$folder/memory")" -ge 2 ] || fail "--memory compares nothing"
"$tgc" bench --only sum_all --memory >/dev/null 2>&1 && fail "--memory without a network is no failure"

# Compiled for a GPU that need not be there, where NVRTC is.
if TGC_CACHE="$folder/cache" TGC_DEVICE=cuda-dry "$tgc" bench --first --only matmul_64x10x784 >"$folder/dry" 2>"$folder/said"; then
	grep -q 'compiled [1-9][0-9]* loaded 0' "$folder/dry" || fail "cuda-dry compiles nothing"
	TGC_CACHE="$folder/cache" TGC_DEVICE=cuda-dry "$tgc" bench --first --only matmul_64x10x784 | grep -q 'compiled 0 loaded [1-9]' ||
		fail "cuda-dry finds nothing on the disk"
	TGC_DEVICE=cuda-dry TGC_TRACE_TARGET=z80 "$tgc" bench --first --only sum_all 2>&1 | grep -q 'nothing is known of "z80"' ||
		fail "cuda-dry knows a GPU that is none"
else
	grep -q 'no NVRTC' "$folder/said" || fail "cuda-dry does not say what is missing"
fi

left="/tmp/tgc-bench-4194305-abcdef" # of a process that cannot be
mkdir -p "$left/within"
"$tgc" bench --only sum_all --rounds 1000 >/dev/null 2>&1 &
killed=$!
for _ in $(seq 100); do
	ls -d /tmp/tgc-bench-$killed-* >/dev/null 2>&1 && break
	sleep 0.1
done
ls -d /tmp/tgc-bench-$killed-* >/dev/null 2>&1 || fail "no folder of its own"
[ ! -e "$left" ] || fail "a dead process's folder stays"
kill -TERM $killed
code=0
wait $killed || code=$?
[ $code = 143 ] || fail "SIGTERM gives $code"
if ls -d /tmp/tgc-bench-$killed-* >/dev/null 2>&1; then fail "a stopped run leaves its folder"; fi

echo 'no json' >"$folder/bad"
if "$tgc" bench --only sum_all --compare "$folder/bad" 2>/dev/null; then fail "a file that is no JSON is taken"; fi
for wrong in "--only nothing" "--rounds 0" "--threads x" "--fast" "--only"; do
	code=0
	# shellcheck disable=SC2086
	"$tgc" bench $wrong >/dev/null 2>&1 || code=$?
	[ $code = 2 ] || fail "$wrong gives $code"
done
