#!/bin/sh
# Plants one bug at a time and asks the tests whether they notice. No part of the everyday suite.
# Arguments: the source folder, a folder to work in. Out: a line a bug, and how many were caught.
# A bug is caught when a test fails, crashes or hangs; one that does not compile or changes nothing is an error.
set -u
src=$1
work=$2
graphs=${GRAPHS:-400}

# name | file | perl expression that plants it
bugs='
tail-mask         | codegen/pass/tile.c       | s/kb_op2\(cp->b, OP_LT, TGC_BOOL, index, end\)/kb_op2(cp->b, OP_LE, TGC_BOOL, index, end)/
slice-step        | codegen/lower_move.c      | s/&attr\[2 \* a \+ 1\], &idx\[a\]/(int64_t[]){1}, &idx[a]/
flip-ignored      | codegen/lower_move.c      | s/return attr\[a\] \? kb_affine/return attr[a] > 1 ? kb_affine/
max-starts-at-0   | codegen/kbuild.c          | s/OP_MAX \? -\(double\)INFINITY/OP_MAX ? 0.0/
conv-padding-sign | codegen/lower_contract.c  | s/kb_affine\(b, -pad, 1, &x->stride/kb_affine(b, pad, 1, &x->stride/
philox-rounds     | codegen/lower_random.c    | s/round < 10/round < 9/
fma-wrong-neg     | lib/pass_fma.c            | s/x\[at \? 0 : 2\]/x[at ? 2 : 0]/g
arena-overlap     | lib/memory.c              | s/touch\(&p->bufs\[p->node_buf\[s\[i\]\.node\]\], step\)/touch(&p->bufs[p->node_buf[s[i].node]], step > 1 ? step - 1 : step)/
in-place-unsound  | lib/order.c               | s/if \(how != READ_EXACT \|\| !same_dims\(p, node, value\)\)\n\t\treturn false;//
floor-division    | codegen/kindex.c          | s/return x \/ c - \(x % c < 0\);/return x \/ c;/
'

rm -rf "$work"
git -C "$src" worktree prune
git -C "$src" worktree add -f --detach "$work" HEAD >/dev/null 2>&1 || exit 2
trap 'git -C "$src" worktree remove --force "$work"' EXIT
cd "$work" || exit 2
meson setup build -Ddefault_library=static >/dev/null || exit 2

check() {
	ninja -C build tests/test_kernel tests/test_walls tests/test_schedule tests/test_plan tests/fuzz_graph >build/log 2>&1 || return 2
	for t in "tests/fuzz_graph --graphs $graphs --seed 7" tests/test_walls tests/test_schedule tests/test_plan tests/test_kernel; do
		# shellcheck disable=SC2086
		timeout 600 build/$t >build/out 2>&1 || { echo "$t" | cut -d' ' -f1 >build/by; return 1; }
	done
	return 0
}

check
[ $? = 0 ] || { echo "the tests fail without any bug"; tail -5 build/out build/log; exit 2; }
planted=0
caught=0
printf "%s\n" "$bugs" | grep '|' | while IFS='|' read -r name file expr; do
	name=$(echo $name)
	file=$(echo $file)
	cp "$file" build/original
	# the expression may itself hold bars: everything behind the second one is it
	perl -0pi -e "$expr" "$file"
	if cmp -s "$file" build/original; then
		echo "$name: cannot be planted, the code has changed"
		continue
	fi
	check
	case $? in
	0) echo "$name: NOT caught" ;;
	1) echo "$name: caught by $(cat build/by)" ;;
	*) echo "$name: does not compile" ;;
	esac
	cp build/original "$file"
done | tee build/result
planted=$(grep -c 'aught' build/result)
caught=$(grep -c ': caught' build/result)
echo "$planted planted, $caught caught"
