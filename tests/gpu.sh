#!/bin/sh
# Everything that needs an NVIDIA GPU, in one call and in under 8 minutes: builds without LLVM and cmocka, checks the
# device "cuda" against the interpreter, runs compute-sanitizer, then the benchmark beside PyTorch where it is there.
#
#   sh tests/gpu.sh [FOLDER]         results in FOLDER (gpu-results): table.txt, gpu.json, a log of each check
#   sh tests/gpu.sh --pack [FOLDER]  on a machine that has them: the headers and static libraries of jansson, xxhash and
#                                    zlib into FOLDER (gpu-deps), to be carried, with the sources, to one that has not
#
# Needed there: a C compiler, meson, ninja, the driver, NVRTC. No network. Exit status: 0 if every check passed and every
# result of the benchmark was right. A rehearsal (tests/meson.build) sets
#   GPU_BUILD    a build folder that is there already
#   GPU_SMALL    a handful of small checks and one small workload
# GPU_MINUTES (8): what does not begin within it is left out, and said so.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
began=$(date +%s)
minutes=${GPU_MINUTES:-8}
small=${GPU_SMALL:-}

# ---- what others have and this machine may not -----------------------------------------------------------------------
pack() {
	mkdir -p "$1/include" "$1/lib"
	for header in jansson.h jansson_config.h xxhash.h zlib.h zconf.h; do
		file=$(echo "#include <$header>" | cc -E -x c - 2>/dev/null | sed -n "s|^# [0-9]* \"\(/.*/$header\)\".*|\1|p" | head -n 1)
		[ -n "$file" ] || { echo "gpu: no $header here"; exit 1; }
		cp "$file" "$1/include/"
	done
	for library in jansson xxhash z; do
		file=$(cc -print-file-name="lib$library.a")
		[ -f "$file" ] || { echo "gpu: no lib$library.a here"; exit 1; }
		cp "$file" "$1/lib/"
	done
	echo "gpu: packed into $1"
}
if [ "${1:-}" = "--pack" ]; then
	pack "${2:-$top/gpu-deps}"
	exit 0
fi

out=${1:-$top/gpu-results}
mkdir -p "$out/checks"
out=$(cd "$out" && pwd)
table=$out/table.txt
: >"$table"
: >"$out/checks.jsonl"
: >"$out/bench.jsonl"
say() { echo "$*" | tee -a "$table"; }
left() { echo $((began + 60 * minutes - $(date +%s))); }

deps=${GPU_DEPS:-$top/gpu-deps}
if [ -d "$deps/include" ]; then
	export CFLAGS="${CFLAGS:-} -I$deps/include" LDFLAGS="${LDFLAGS:-} -L$deps/lib"
fi
missing=""
has() { command -v "$1" >/dev/null 2>&1 || missing="$missing
  the command $1"; }
builds() { # HEADER LIBRARY
	# shellcheck disable=SC2086
	printf '#include <stdio.h>\n#include <%s>\nint main(void) { return 0; }\n' "$1" |
		cc ${CFLAGS:-} -x c - -o /dev/null ${LDFLAGS:-} "-l$2" 2>/dev/null || missing="$missing
  $1 with lib$2: its development package, or a folder from \"sh tests/gpu.sh --pack\" as $top/gpu-deps"
}
has cc
has meson
has ninja
[ -n "$missing" ] || { builds jansson.h jansson; builds xxhash.h xxhash; builds zlib.h z; }
if [ -n "$missing" ]; then
	echo "gpu: this machine lacks$missing" | tee -a "$table"
	exit 1
fi

# ---- build -----------------------------------------------------------------------------------------------------------
build=${GPU_BUILD:-$top/build-gpu}
tests="elementwise primitives numerics composed attention large grad chain runtime walls saved"
if [ -z "${GPU_BUILD:-}" ]; then
	[ -f "$build/build.ninja" ] || meson setup "$build" "$top" -Db_ndebug=true -Dllvm=disabled -Dcmocka=disabled \
		-Ddefault_library=static >"$out/build.log" 2>&1 || { tail -20 "$out/build.log"; exit 1; }
	targets="tools/tgc tests/fuzz_graph"
	for t in $tests; do targets="$targets tests/test_$t"; done
	# shellcheck disable=SC2086
	ninja -C "$build" $targets >>"$out/build.log" 2>&1 || { tail -40 "$out/build.log"; exit 1; }
fi
tgc=$build/tools/tgc
export TGC_DEVICE=cuda
export TGC_CACHE="$out/cache" # kernels that a check compiled serve the next ones
mkdir -p "$TGC_CACHE"
chmod 700 "$TGC_CACHE"

device=$("$tgc" doctor 2>&1 | sed -n 's/^cuda  *//p')
case $device in
ok*) ;;
*)
	say "gpu: ${device:-tgc doctor says nothing of cuda}"
	exit 1
	;;
esac
commit=$(git -C "$top" rev-parse --short HEAD 2>/dev/null || echo unknown)
say "commit $commit, $(date -u +%Y-%m-%d), built in $(($(date +%s) - began)) s"
say "device $device"
command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >"$out/nvidia-smi.txt" 2>&1 || true

# ---- checks ----------------------------------------------------------------------------------------------------------
# Each in a process of its own, several at a time; memory full of NaN before it is used, everything twice.
say ""
say "checks against the interpreter"
processors=$(getconf _NPROCESSORS_ONLN)
at_once=$(((processors + 1) / 2))
[ "$at_once" -le 8 ] || at_once=8

check() { # NAME LIMIT_S COMMAND...: leaves NAME.log, NAME.json
	name=$1
	limit=$2
	shift 2
	t=$(date +%s)
	status=ok
	timeout "$limit" "$@" >"$out/checks/$name.log" 2>&1 || status="failed ($?)"
	printf '{"name": "%s", "status": "%s", "seconds": %d}\n' "$name" "$status" $(($(date +%s) - t)) \
		>"$out/checks/$name.json"
}
# Waits until fewer than at_once run.
jobs_now=""
room() {
	while :; do
		running=""
		n=0
		for j in $jobs_now; do
			if kill -0 "$j" 2>/dev/null; then
				running="$running $j"
				n=$((n + 1))
			fi
		done
		jobs_now=$running
		[ "$n" -ge "$1" ] || return 0
		sleep 0.1
	done
}
start() { # NAME COMMAND...
	name=$1
	shift
	room "$at_once"
	limit=$(($(left) - 150)) # the benchmark wants some time too
	[ -z "$small" ] || limit=300
	if [ "$limit" -lt 5 ]; then
		printf '{"name": "%s", "status": "left out", "seconds": 0}\n' "$name" >"$out/checks/$name.json"
		return 0
	fi
	check "$name" "$limit" "$@" &
	jobs_now="$jobs_now $!"
}
part() { # TEST I N
	start "$1.$2" env TGC_DEBUG=z TGC_CHECK_RUNS=2 "TGC_CHECK_PART=$2/$3" "$build/tests/test_$1"
}
rm -f "$out"/checks/*
if [ -n "$small" ]; then
	part primitives 7 97
	part elementwise 11 499
	start fuzz_graph env TGC_DEBUG=z "$build/tests/fuzz_graph" --graphs 4 --seed 1 --device cuda
else
	for i in 0 1 2 3 4 5 6 7; do part elementwise $i 8; done
	for i in 0 1 2 3 4 5; do part primitives $i 6; done
	for t in $tests; do
		case $t in elementwise | primitives) ;; *) start "$t" env TGC_DEBUG=z TGC_CHECK_RUNS=2 "$build/tests/test_$t" ;; esac
	done
	start fuzz_graph.tf32 env TGC_MATMUL_PRECISION=tf32 TGC_DEBUG=z "$build/tests/fuzz_graph" --graphs 100 --seed 5 --device cuda
	start large.own_products env TGC_CUBLASLT=0 TGC_DEBUG=z "$build/tests/test_large"
	for i in 1 2 3 4; do
		start "fuzz_graph.$i" env TGC_DEBUG=z "$build/tests/fuzz_graph" --graphs 100 --seed "$i" --device cuda
	done
fi
room 1

# ---- compute-sanitizer -----------------------------------------------------------------------------------------------
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | tail -n 1 || true)
kinds="softmax_64x50257 layernorm_fb matmul_512x512x512 conv3_16-16_32_s1_g1 conv3_16-16_32_s1_g1_dw mlp sum_axis0 transpose"
if [ -n "$small" ]; then
	:
elif [ -z "$sanitizer" ]; then
	say "no compute-sanitizer here"
else
	for tool in memcheck racecheck; do
		for kind in $kinds; do
			start "$tool.$kind" "$sanitizer" --tool "$tool" --error-exitcode 9 "$tgc" bench --first --only "$kind"
		done
	done
	room 1
fi

failed=0
for f in "$out"/checks/*.json; do
	cat "$f" >>"$out/checks.jsonl"
	line=$(sed 's/.*"name": "\([^"]*\)", "status": "\([^"]*\)", "seconds": \([0-9]*\).*/\1 \3 \2/' "$f")
	# shellcheck disable=SC2086
	say "$(printf '  %-32s %4s s  %s %s' $line)"
	grep -q '"status": "failed' "$f" && failed=$((failed + 1))
done
say "checks that failed: $failed"

# ---- benchmark -------------------------------------------------------------------------------------------------------
say ""
python=${PYTHON:-python3}
peers=""
if [ -z "$small" ] && "$python" -c 'import torch; assert torch.cuda.is_available()' >/dev/null 2>&1; then
	peers="--peers $python"
else
	say "no PyTorch that sees a GPU: no peers"
fi
bench() { # NAMES LIMIT_S OPTION...
	names=$1
	limit=$2
	shift 2
	status=0
	timeout -s TERM "$limit" "$tgc" bench --only "$names" --json "$@" >>"$out/bench.jsonl" 2>>"$out/bench.log" || status=$?
	[ "$status" = 0 ] || say "bench of $names: exit status $status ($([ $status = 124 ] && echo 'no time left' || echo 'see bench.log'))"
	[ "$status" = 0 ] || [ "$status" = 124 ] || failed=$((failed + 1))
}
if [ -n "$small" ]; then
	bench matmul_64x10x784 300 --rounds 1
else
	# shellcheck disable=SC2086
	for names in mlp,cnn,resnet20,resnet20_bf16,gpt_small matmul_4096x4096x4096,matmul_8192x8192x8192,matmul_4096x4096x4096_bf16,matmul_8192x8192x8192_bf16,attention_bf16,softmax_8192x4096,layernorm_fwd_32768x4096,gelu_chain,adam,sum_axis,transpose \
		layernorm_fb_32768x4096,gather_32k,attention,sum_all,argmax_axis1 \
		matmul_32x,matmul_65536,matmul_128x,matmul_4096x64,matmul_1024x1024x1024,head_8192 gpt2_124m_bf16 conv; do
		[ "$(left)" -lt 15 ] && { say "no time left for $names"; continue; }
		bench "$names" "$(left)" --rounds 11 $peers
	done
	for names in mlp,cnn,resnet20,gpt_small,matmul_4096x4096x4096,matmul_8192x8192x8192,attention,conv; do
		[ "$(left)" -lt 15 ] && { say "no time left for $names as TF32"; continue; }
		# shellcheck disable=SC2086
		bench "$names" "$(left)" --tf32 --rounds 11 $peers
	done
fi

number() { printf '%s\n' "$1" | sed -n "s/.*\"$2\": \([-+0-9.e]*\|null\)[,}].*/\1/p"; }
say "$(printf '%-28s %10s %10s %10s %6s %8s %9s  %s' workload ms rate ceiling % launches error 'peers: ms, their time over ours')"
while read -r line; do
	name=$(printf '%s\n' "$line" | sed 's/.*"name": "\([^"]*\)".*/\1/')
	case $line in *'"tf32": true'*) name="$name TF32" ;; esac
	own=$(printf '%s\n' "$line" | sed 's/, "peers": .*/}/')
	theirs=$(printf '%s\n' "$line" | grep -o '{"kind": [^}]*}' |
		sed 's/.*"kind": "\([^"]*\)", "ms": \([0-9.e+-]*\), "ratio": \([0-9.e+-]*\).*/\1 \2 \3x;/' | tr '\n' ' ' || true)
	say "$(printf '%-28s %10s %10s %10s %6s %8s %9s  %s' "$name" "$(number "$own" ms)" "$(number "$own" rate)" \
		"$(number "$own" ceiling)" "$(number "$own" percent)" "$(number "$own" launches)" "$(number "$own" error)" "$theirs")"
done <"$out/bench.jsonl"

list() { paste -s -d, "$1"; }
printf '{"commit": "%s", "device": "%s", "failed": %d, "seconds": %d, "checks": [%s], "bench": [%s]}\n' "$commit" "$device" \
	"$failed" $(($(date +%s) - began)) "$(list "$out/checks.jsonl")" "$(list "$out/bench.jsonl")" >"$out/gpu.json"
say ""
say "$failed failed, $(($(date +%s) - began)) s; $out/table.txt, $out/gpu.json"
[ "$failed" = 0 ]
