#!/bin/sh
# An empty cache, then a full one: the same results, and nothing is compiled the second time. Also `tgc cache`.
# Arguments: fuzz_graph, tgc.
set -eu
fuzz=$1
tgc=$2
TGC_CACHE=$(mktemp -d)
export TGC_CACHE
trap 'rm -rf "$TGC_CACHE"' EXIT
fail() { echo "cold_warm: $1"; exit 1; }
field() { echo "$1" | sed "s/.* $2 \([^ ]*\).*/\1/"; }

for w in mlp cnn gpt_small; do
	cold=$("$tgc" bench --only $w --first)
	warm=$("$tgc" bench --only $w --first)
	echo "cold: $cold"
	echo "warm: $warm"
	[ "$(field "$cold" loss)" = "$(field "$warm" loss)" ] || fail "another loss"
	[ "$(field "$cold" compiled)" -gt 0 ] || fail "nothing was compiled"
	[ "$(field "$warm" compiled)" = 0 ] || fail "compiled again"
	all=$(($(field "$cold" compiled) + $(field "$cold" loaded)))
	[ "$(field "$warm" loaded)" = $all ] || fail "not all of it was loaded"
done
"$fuzz" --graphs 60 --seed 5 || fail "graphs with a cold cache"
"$fuzz" --graphs 60 --seed 5 || fail "graphs with a warm cache"

"$tgc" cache verify || fail "verify finds damage"
"$tgc" cache list >"$TGC_CACHE/list"
[ "$(grep -c '\.tgc' "$TGC_CACHE/list")" -gt 50 ] || fail "list shows too little"
one=$(ls "$TGC_CACHE"/*.tgc | head -n 1)
printf x >>"$one"
if "$tgc" cache verify >/dev/null; then fail "verify does not see damage"; fi
"$tgc" cache clear
if ls "$TGC_CACHE"/*.tgc >/dev/null 2>&1; then fail "clear leaves files"; fi
if "$tgc" cache forget 2>/dev/null; then fail "a wrong command is taken"; fi
if TGC_CACHE=0 "$tgc" cache list 2>/dev/null; then fail "TGC_CACHE=0 has a cache"; fi
TGC_CACHE=0 "$tgc" doctor | grep -q '^cache *no .*TGC_CACHE=0' || fail "doctor does not say why"
"$tgc" doctor | grep -q "^cache *ok *$TGC_CACHE" || fail "doctor does not name the folder"
