// Reductions and fold as chains of RED loops.
// In:  a reduction pnode and the index of one result. Out: its value; the loops stand in the outermost region
// that knows the index, so that a row's sum is taken once a row, before the loops over its columns.
// Not here: splitting of long ranges, lanes and accumulators (pass/tile*.c).
#include "lower.h"

int lower_deepest(const struct lower *lo, int region, int n, const int *v)
{
	for (int i = 0; i < n; i++) {
		if (v[i] == K_NONE)
			continue;
		int r = lo->k->insts[v[i]].region;
		if (kernel_region_depth(lo->k, r) > kernel_region_depth(lo->k, region))
			region = r;
	}
	return region;
}

void lower_red_begin(struct lower *lo, struct lower_red *r, int combine, tgc_type t, int n, const int *idx)
{
	int more[] = {lo->guard, lo->seg};
	*r = (struct lower_red){.combine = combine, .type = t, .region = lo->b.region};
	lo->b.region = lower_deepest(lo, lower_deepest(lo, lo->home, n, idx), TG_COUNT(more), more);
	r->init = kb_identity(&lo->b, combine, t);
}

int lower_red_arg(struct lower *lo, const struct lower_red *r)
{
	return r->n ? kb_arg(&lo->b, r->loop[r->n - 1], 0) : r->init;
}

int lower_red_loop(struct lower *lo, struct lower_red *r, int from, int to)
{
	int init = lower_red_arg(lo, r);
	uint8_t combine = (uint8_t)r->combine;
	int loop = kb_for(&lo->b, AXIS_RED, from, to, 1, &init, &combine);
	r->loop[r->n++] = loop;
	return kb_index(&lo->b, loop);
}

int lower_red_end(struct lower *lo, struct lower_red *r, int next)
{
	while (r->n) {
		int loop = r->loop[--r->n];
		kb_end(&lo->b, loop, &next);
		next = kb_res(&lo->b, loop, 0);
	}
	lo->b.region = r->region;
	return next;
}

void lower_note(struct lower *lo, int node, int nidx, const int *idx, const struct lower_red *r)
{
	if (!lo->dry)
		return;
	if (lo->nheavy == lo->heavy_cap) {
		int cap = lo->heavy_cap ? 2 * lo->heavy_cap : 16;
		struct lower_heavy *h = ARENA_ARRAY(&lo->arena, struct lower_heavy, cap);
		if (!h)
			return;
		if (lo->nheavy)
			memcpy(h, lo->heavy, sizeof *h * (size_t)lo->nheavy);
		lo->heavy = h;
		lo->heavy_cap = cap;
	}
	struct lower_heavy *h = &lo->heavy[lo->nheavy++];
	h->node = node;
	h->nidx = nidx;
	memcpy(h->idx, idx, sizeof *idx * (size_t)nidx);
	h->nloops = r->naxes;
	memcpy(h->loops, r->loop + r->axes_at, sizeof *r->loop * (size_t)r->naxes);
}

static bool split_loop(const struct lower *lo, const struct lower_red *r, int node)
{
	return !r->n && lo->chunk != K_NONE && node == lo->group->main;
}

// The range of the outermost loop: all of it, or this chunk of a split group.
static int range_loop(struct lower *lo, struct lower_red *r, int node, int64_t n)
{
	struct kbuild *b = &lo->b;
	if (!split_loop(lo, r, node))
		return lower_red_loop(lo, r, kb_int(b, 0), kb_int(b, n));
	int from = kb_imul(b, lo->chunk, lo->chunk_len), to = kb_iadd(b, from, kb_int(b, lo->chunk_len));
	return lower_red_loop(lo, r, from, kb_op2(b, OP_MIN, TGC_I64, to, kb_int(b, n)));
}

// Sizes of the axes that main sums over, those of size 1 left out.
static int summed_axes(const struct lower *lo, int64_t *size)
{
	const struct pnode *n = NODE(lo, lo->group->main), *a = NODE(lo, n->src[0]);
	const struct tg_caxis *x = (const struct tg_caxis *)n->attr;
	int count = 0;
	if (n->op == OP_CONTRACT) {
		for (int i = 0; i < n->nattr / 8; i++)
			if (x[i].role == ROLE_CONTRACTED)
				size[count++] =
				    x[i].b >= 0 ? NODE(lo, n->src[1])->dims[x[i].b].n : a->dims[x[i].a].n;
	} else {
		for (int i = 0; i < a->rank; i++)
			if (n->attr[0] >> i & 1)
				size[count++] = a->dims[i].n;
	}
	int kept = 0;
	for (int i = 0; i < count; i++)
		if (size[i] != 1)
			size[kept++] = size[i];
	return kept;
}

int64_t lower_split_extent(const struct lower *lo)
{
	int64_t size[LOWER_RANK * 2], n = 1;
	int count = summed_axes(lo, size);
	for (int i = 0; i < count && (i == 0 || lo->merges[lo->group->main] >> i & 1); i++)
		n *= size[i];
	return n;
}

void lower_red_axes(struct lower *lo, struct lower_red *r, int node, int n, const int64_t *size, int *at)
{
	uint32_t merges = lo->dry ? 0 : lo->merges[node];
	r->axes_at = r->n;
	for (int a = 0, end; a < n; a = end) {
		int64_t total = size[a];
		for (end = a + 1; end < n && merges >> end & 1; end++)
			total *= size[end];
		int v = range_loop(lo, r, node, total);
		for (int i = end - 1; i > a; i--) {
			at[i] = kb_imod(&lo->b, v, size[i]);
			v = kb_idiv(&lo->b, v, size[i]);
		}
		at[a] = v;
	}
	r->naxes = r->n - r->axes_at;
}

int lower_combine(int op)
{
	return op == OP_SUM ? OP_ADD : op == OP_RMAX ? OP_MAX : OP_MIN;
}

// A split reduction's value: its chunks, added in order.
static int chunks(struct lower *lo, int node, const int *idx)
{
	const struct pnode *p = NODE(lo, node);
	struct lower_red r;
	int buf = lower_buf(lo, lo->group->scratch_buf), at;
	int64_t elems = lower_linear(lo, p->rank, p->dims, idx, &at);
	lower_red_begin(lo, &r, p->op == OP_CONTRACT ? OP_ADD : lower_combine(p->op), p->type, p->rank, idx);
	int j = lower_red_loop(lo, &r, kb_int(&lo->b, 0), kb_int(&lo->b, lo->chunks));
	int where = kb_affine(&lo->b, 0, 2, (int64_t[]){elems, 1}, (int[]){j, at});
	int x = kb_load(&lo->b, buf, where, lo->guard, K_NONE);
	return lower_red_end(lo, &r, kb_op2(&lo->b, r.combine, r.type, lower_red_arg(lo, &r), x));
}

int lower_reduce(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node), *s = NODE(lo, n->src[0]);
	struct lower_red r;
	int64_t size[LOWER_RANK] = {0};
	int at[LOWER_RANK], red[LOWER_RANK], axis[LOWER_RANK], nred = 0;
	if (lo->combine && node == lo->group->main)
		return chunks(lo, node, idx);
	lower_red_begin(lo, &r, lower_combine(n->op), n->type, n->rank, idx);
	for (int a = 0; a < s->rank; a++) {
		at[a] = idx[a];
		if (n->attr[0] >> a & 1 && s->dims[a].n != 1) {
			axis[nred] = a;
			size[nred++] = s->dims[a].n;
		}
	}
	lower_red_axes(lo, &r, node, nred, size, red);
	for (int i = 0; i < nred; i++)
		at[axis[i]] = red[i];
	lower_note(lo, node, n->rank, idx, &r);
	if (!nred)
		return lower_red_end(lo, &r, lower_cast(lo, lower_value(lo, n->src[0], at), n->type));
	int x = lower_cast(lo, lower_value(lo, n->src[0], at), n->type);
	return lower_red_end(lo, &r, kb_op2(&lo->b, r.combine, r.type, lower_red_arg(lo, &r), x));
}

// Element q of a fold is the sum of taps t of windows w with w * stride + t * dilation = q.
int lower_fold(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node), *s = NODE(lo, n->src[0]);
	int64_t axis = n->attr[0], stride = n->attr[2], dilation = n->attr[3];
	struct kbuild *b = &lo->b;
	struct lower_red r;
	int at[LOWER_RANK], none = K_NONE;
	lower_red_begin(lo, &r, OP_ADD, n->type, n->rank, idx);
	int tap = lower_red_loop(lo, &r, kb_int(b, 0), kb_int(b, s->dims[n->rank].n));
	int from = kb_affine(b, 0, 2, (int64_t[]){1, -dilation}, (int[]){idx[axis], tap});
	int whole = stride > 1 ? lower_inside(lo, kb_imod(b, from, stride), 0, 1) : none;
	memcpy(at, idx, sizeof *idx * n->rank);
	at[axis] = kb_idiv(b, from, stride);
	at[n->rank] = tap;
	int inside = lower_inside(lo, at[axis], 0, s->dims[axis].n);
	if (whole != K_NONE)
		inside = inside == K_NONE ? whole : kb_and(b, inside, whole);
	int old = lower_with(lo, inside), arg = lower_red_arg(lo, &r);
	int next = kb_op2(b, OP_ADD, n->type, arg, lower_value(lo, n->src[0], at));
	lo->guard = old;
	return lower_red_end(lo, &r, lower_select(lo, inside, next, arg));
}
