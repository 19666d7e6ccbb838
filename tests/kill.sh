#!/bin/sh
# Kills a program again and again while it compiles its first step and writes the cache. After each kill the cache must
# be sound, and every so often a whole run must give the loss that it gives without a cache. No part of the everyday suite.
# Arguments: tgc, how many times.
set -eu
tgc=$1
times=$2
loss() { "$tgc" bench --only mlp --first | sed 's/.* loss \([^ ]*\).*/\1/'; }
want=$(TGC_CACHE=0 loss)
TGC_CACHE=$(mktemp -d)
export TGC_CACHE
trap 'rm -rf "$TGC_CACHE"' EXIT
i=0
written=0
left=0
while [ $i -lt "$times" ]; do
	i=$((i + 1))
	"$tgc" bench --only mlp --first >/dev/null 2>&1 &
	pid=$!
	# from the start to the end of writing
	sleep "0.$(printf %03d $(($(od -An -N2 -tu2 /dev/urandom) % 350)))"
	kill -9 $pid 2>/dev/null || true
	wait $pid 2>/dev/null || true
	"$tgc" cache verify >"$TGC_CACHE/verify" || { cat "$TGC_CACHE/verify"; echo "kill $i: damaged"; exit 1; }
	files=$(find "$TGC_CACHE" -name '*.tgc' | wc -l)
	[ "$files" -eq 0 ] || written=$((written + 1))
	left=$((left + $(find "$TGC_CACHE" -name '.new-*' | wc -l)))
	if [ $((i % 20)) -eq 0 ]; then
		[ "$(loss)" = "$want" ] || { echo "kill $i: another loss"; exit 1; }
	fi
	"$tgc" cache clear >/dev/null
done
echo "$times kills, $written of them after the first file and $left in the middle of one: every cache sound, every loss $want"
