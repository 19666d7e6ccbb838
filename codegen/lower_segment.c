// Segmented groups: one elementwise body over many tensors, by a table of pointers and lengths.
// In:  a group whose roots are nsegs lists of equal length, segment-major, alike but for sizes. Out: one phase:
// blocks of SEGMENT_CHUNK elements, a table says of which segment. Buffers are row-major, so that the elements
// of a segment are counted through, whatever its shape.
#include "lower.h"

#include <stdlib.h>

enum { SEGMENT_CHUNK = 16384 };

static bool row_major(const struct pbuf *p)
{
	int64_t n = 1;
	for (int a = p->rank - 1; a >= 0; a--) {
		if (p->dims[a].n != 1 && p->strides[a] != n)
			return false;
		n *= p->dims[a].n;
	}
	return true;
}

// Walks the roots of segment 0 and of segment `seg` side by side until a buffer of the first is plan_buf.
static int counterpart(struct lower *lo, int plan_buf, int seg)
{
	const struct group *g = lo->group;
	int m = g->nroots / g->nsegs, n = 0, cap = 4 * lo->plan->prog.n + 4 * m, found = -1;
	int32_t *work = malloc(sizeof *work * 2 * (size_t)cap);
	bool *seen = calloc((size_t)lo->plan->prog.n + 1, sizeof *seen);
	for (int i = 0; work && seen && i < m; i++) {
		if (g->root_bufs[i] == plan_buf)
			found = g->root_bufs[seg * m + i];
		work[2 * n] = g->roots[i];
		work[2 * n++ + 1] = g->roots[seg * m + i];
	}
	while (seen && n > 0 && found < 0) {
		int x = work[2 * --n], y = work[2 * n + 1];
		const struct pnode *p = NODE(lo, x), *q = NODE(lo, y);
		if (seen[x])
			continue;
		seen[x] = true;
		if (lower_loaded(lo, x)) {
			if (lower_plan_buf(lo, x) == plan_buf)
				found = lower_plan_buf(lo, y);
			continue;
		}
		for (int i = 0; i < p->nsrc && i < q->nsrc && n < cap; i++) {
			work[2 * n] = p->src[i];
			work[2 * n++ + 1] = q->src[i];
		}
	}
	free(work);
	free(seen);
	return found;
}

int lower_segment_buf(const struct plan *p, int group, int plan_buf, int seg)
{
	struct lower lo;
	int buf = -1;
	if (lower_begin(&lo, p, &p->groups[group], NULL))
		buf = seg ? counterpart(&lo, plan_buf, seg) : plan_buf;
	lower_end(&lo);
	return buf;
}

struct tables {
	int of_block, first, length;
	int64_t blocks;
	double elems;
};

static bool tables_build(struct lower *lo, struct tables *t)
{
	const struct group *g = lo->group;
	int m = g->nroots / g->nsegs, n = 0;
	*t = (struct tables){0};
	for (int s = 0; s < g->nsegs; s++)
		t->blocks += (prog_elems(&lo->plan->prog, g->roots[s * m]) + SEGMENT_CHUNK - 1) / SEGMENT_CHUNK;
	int64_t *of = ARENA_ARRAY(&lo->arena, int64_t, t->blocks + 1);
	int64_t *first = ARENA_ARRAY(&lo->arena, int64_t, g->nsegs),
	        *len = ARENA_ARRAY(&lo->arena, int64_t, g->nsegs);
	if (!of || !first || !len)
		return false;
	for (int s = 0; s < g->nsegs; s++) {
		len[s] = prog_elems(&lo->plan->prog, g->roots[s * m]);
		first[s] = n;
		t->elems += (double)len[s];
		for (int64_t at = 0; at < len[s]; at += SEGMENT_CHUNK)
			of[n++] = s;
	}
	t->of_block = kernel_table(lo->k, of, n);
	t->first = kernel_table(lo->k, first, g->nsegs);
	t->length = kernel_table(lo->k, len, g->nsegs);
	return true;
}

// A kernel buffer a buffer of the first segment; elements count for the longest one.
static void segmented_bufs(struct lower *lo)
{
	const struct plan *p = lo->plan;
	for (int i = 0; i < p->nbufs; i++)
		if (lo->buf_of[i] >= 0 && p->bufs[i].cls != BUF_FLAGS && !row_major(&p->bufs[i]))
			lower_fail(lo, "plan buffer %d of a segmented group is not row-major", i);
	for (int b = 0; b < lo->k->nbufs; b++) {
		if (!lo->k->bufs[b].segmented)
			continue;
		int32_t *nodes = ARENA_ARRAY(&lo->k->arena, int32_t, lo->group->nsegs);
		if (!nodes)
			return;
		nodes[0] = lo->k->bufs[b].node;
		lo->k->bufs[b].seg_nodes = nodes;
		for (int s = 1; s < lo->group->nsegs; s++) {
			int other = counterpart(lo, lo->k->bufs[b].node, s);
			if (other < 0) {
				lower_fail(lo, "segment %d has nothing for plan buffer %d", s,
				           lo->k->bufs[b].node);
				return;
			}
			nodes[s] = other;
			int64_t n = p->bufs[other].bytes / (int64_t)tgc_type_bytes(lo->k->bufs[b].type);
			if (n > lo->k->bufs[b].elems)
				lo->k->bufs[b].elems = n;
		}
	}
}

static void body(struct lower *lo, int at)
{
	const struct group *g = lo->group;
	int m = g->nroots / g->nsegs, idx[LOWER_RANK];
	int *value = ARENA_ARRAY(&lo->arena, int, m);
	for (int i = 0; value && i < m; i++) {
		const struct pnode *n = NODE(lo, g->roots[i]);
		for (int a = 0; a < n->rank; a++)
			idx[a] = a == n->rank - 1 ? at : kb_int(&lo->b, 0);
		value[i] = lower_value(lo, g->roots[i], idx);
	}
	for (int i = 0; value && i < m; i++)
		kb_store(&lo->b, lower_buf(lo, g->root_bufs[i]), at, value[i], K_NONE, lo->seg);
}

void lower_segments(struct lower *lo)
{
	struct kbuild *b = &lo->b;
	struct tables t;
	if (!tables_build(lo, &t))
		return;
	lo->k->nsegs = lo->group->nsegs;
	kbuild_init(b, lo->k, kernel_phase(lo->k));
	int blocks = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, t.blocks), 0, NULL, NULL);
	int block = kb_index(b, blocks), seg = kb_table(b, t.of_block, block);
	lo->home = b->region;
	lo->seg = seg;
	int64_t coef[] = {SEGMENT_CHUNK, -SEGMENT_CHUNK};
	int start = kb_affine(b, 0, 2, coef, (int[]){block, kb_table(b, t.first, seg)});
	int left = kb_affine(b, 0, 2, (int64_t[]){1, -1}, (int[]){kb_table(b, t.length, seg), start});
	int n = kb_op2(b, OP_MIN, TGC_I64, left, kb_int(b, SEGMENT_CHUNK));
	int loop = kb_for(b, AXIS_PAR, kb_int(b, 0), n, 0, NULL, NULL);
	body(lo, kb_iadd(b, start, kb_index(b, loop)));
	kb_end(b, loop, NULL);
	kb_end(b, blocks, NULL);
	kbuild_done(b);
	segmented_bufs(lo);
	double first = (double)prog_elems(&lo->plan->prog, lo->group->roots[0]);
	lo->k->flops *= first > 0 ? t.elems / first : 0;
	lo->k->work *= first > 0 ? t.elems / first : 0;
}
