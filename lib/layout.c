// Physical order of intermediates: channels last around convolutions.
// In:  a program before grouping; a plan with buffers and steps. Out: weights of convolutions in an order where
// the axis that makes result channels is contiguous, as values of their own; strides of activations in the
// arena. A copy in another order is a permute, then a reshape to the same shape (which grouping always stores),
// then the permute back; so it is an ordinary value, and only layout_is_copy knows the mark. Not here: leaves
// and outputs, which are row-major always.
#include "plan.h"

#include <stdlib.h>

enum { MAX_RANK = TGC_MAX_RANK * 2, MAX_WALK = 64 };

bool layout_is_copy(const struct prog *p, int node)
{
	const struct pnode *n = &p->nodes[node], *s;

	if (n->op != OP_RESHAPE)
		return false;
	s = &p->nodes[n->src[0]];
	if (s->rank != n->rank)
		return false;
	for (int i = 0; i < n->rank; i++)
		if (n->dims[i].n != s->dims[i].n)
			return false;
	return true;
}

static const struct tg_caxis *axes_of(const struct pnode *n, int *count)
{
	*count = n->nattr / 8;
	return (const struct tg_caxis *)(const void *)n->attr;
}

static bool is_convolution(const struct pnode *n)
{
	int count;
	const struct tg_caxis *x = axes_of(n, &count);

	for (int i = 0; i < count && n->op == OP_CONTRACT; i++)
		if (x[i].role == ROLE_WINDOW)
			return true;
	return false;
}

// The second operand is a kernel that slides over images: the images' first axis is the result's. Else both
// are images, and the result is the gradient of a kernel.
static bool slides(const struct pnode *n)
{
	int count;
	const struct tg_caxis *x = axes_of(n, &count);

	for (int i = 0; i < count; i++)
		if (x[i].a == 0)
			return x[i].role == ROLE_LEFT;
	return false;
}

// ---- weights ------------------------------------------------------------------------------------------------
static int place_of_role(int64_t role)
{
	switch (role) {
	case ROLE_WINDOW:
		return 0;
	case ROLE_CONTRACTED:
		return 1;
	case ROLE_BATCH:
		return 2;
	default:
		return 3;
	}
}

// Axes of the kernel: taps, contracted, groups, result channels. false: they are in that order.
static bool weight_order(const struct pnode *n, int rank, int64_t *order)
{
	int count, at = 0;
	const struct tg_caxis *x = axes_of(n, &count);
	bool moved = false;

	for (int place = 0; place < 4; place++) {
		for (int axis = 0; axis < rank; axis++) {
			for (int i = 0; i < count; i++) {
				if (x[i].b != axis || place_of_role(x[i].role) != place)
					continue;
				moved |= axis != at;
				order[at++] = axis;
			}
		}
	}
	return moved && at == rank;
}

struct made { // copies so far
	int32_t weight, order_of, copy;
};
struct ordering {
	struct made *made;
	int n;
	bool halves; // what is widened is copied before
};

static int permuted(struct prog *p, int x, const int64_t *order)
{
	const struct pnode *n = &p->nodes[x];
	struct dim d[MAX_RANK];
	int32_t src = x;

	for (int i = 0; i < n->rank; i++)
		d[i] = n->dims[order[i]];
	return prog_add(p, OP_PERMUTE, (tgc_type)n->type, n->rank, d, 1, &src, n->rank, order);
}

static int copied(struct prog *p, int x, const int64_t *order)
{
	int64_t back[MAX_RANK];
	int y = permuted(p, x, order), rank = p->nodes[x].rank;
	int32_t src = y;

	if (y < 0)
		return -1;
	y = prog_add(p, OP_RESHAPE, (tgc_type)p->nodes[y].type, rank, p->nodes[y].dims, 1, &src, 0, NULL);
	for (int i = 0; i < rank; i++)
		back[order[i]] = i;
	return y < 0 ? -1 : permuted(p, y, back);
}

// The copy of this weight in this order, from the list or new.
static int copy_of(struct ordering *o, struct prog *to, const struct pnode *n, int weight)
{
	int rank = to->nodes[weight].rank, at;
	int64_t order[MAX_RANK], other[MAX_RANK];

	if (!weight_order(n, rank, order))
		return weight;
	for (int i = 0; i < o->n; i++) {
		if (o->made[i].weight == weight && weight_order(&to->nodes[o->made[i].order_of], rank, other) &&
		    !memcmp(order, other, sizeof *order * (size_t)rank))
			return o->made[i].copy;
	}
	at = copied(to, weight, order);
	o->made[o->n++] = (struct made){weight, -1, at};
	return at;
}

static int visit(void *user, struct prog *to, const struct prog *from, int node, const int32_t *src)
{
	const struct pnode *n = &from->nodes[node];
	struct ordering *o = user;
	int32_t operands[2];
	int made = o->n, at;
	bool widened;

	if (!is_convolution(n) || !slides(n))
		return prog_keep(to, n, src);
	operands[0] = src[0];
	widened = o->halves && prog_widens(to, src[1]);
	operands[1] = copy_of(o, to, n, widened ? to->nodes[src[1]].src[0] : src[1]);
	if (widened && operands[1] >= 0)
		operands[1] = prog_add1(to, OP_CAST, (tgc_type)to->nodes[src[1]].type, operands[1]);
	if (operands[1] < 0)
		return -1;
	at = prog_keep(to, n, operands);
	if (o->n > made)
		o->made[made].order_of = at;
	return at;
}

void layout_weights(struct prog *p, const struct target *t)
{
	struct ordering o = {.halves = t->halves};
	int n = 0;

	for (int i = 0; i < p->n; i++)
		n += is_convolution(&p->nodes[i]);
	if (n == 0)
		return;
	o.made = ARENA_ARRAY(p->arena, struct made, n);
	if (o.made)
		prog_rewrite(p, visit, &o);
}

// ---- activations --------------------------------------------------------------------------------------------
struct layout {
	struct plan *p;
	uint8_t *last; // by buffer: how many axes from 1 on come last; 0: row-major
	bool *fixed;   // by buffer: it is copied, or read through a reshape that merges its axes
};

static void mark(struct layout *l, int buf, int channels)
{
	const struct pbuf *b = &l->p->bufs[buf];

	if (b->cls == BUF_ARENA && b->node >= 0 && !l->fixed[buf] && b->rank >= channels + 2 &&
	    !layout_is_copy(&l->p->prog, b->node))
		l->last[buf] = (uint8_t)channels;
}

// Axes of operand `which` (0, 1; 2: the result) that neither slide nor stand first; they must follow the first.
static int channels_of(const struct pnode *n, int which)
{
	int count, found = 0;
	const struct tg_caxis *x = axes_of(n, &count);
	uint32_t axes = 0;

	for (int i = 0; i < count; i++) {
		int64_t at = which == 0 ? x[i].a : which == 1 ? x[i].b : x[i].o;

		if (at <= 0 || x[i].role == ROLE_WINDOW)
			continue;
		axes |= 1u << at;
		found++;
	}
	return axes == ((1u << found) - 1) << 1 ? found : 0;
}

// Values in memory that an operand is made of.
static void mark_operand(struct layout *l, const struct pnode *conv, int which)
{
	const struct plan *p = l->p;
	int32_t stack[MAX_WALK];
	int n = 0, channels = channels_of(conv, which), operand = conv->src[which];

	stack[n++] = operand;
	while (n > 0 && channels > 0) {
		int x = stack[--n], buf = p->node_buf[x];
		const struct pnode *s = &p->prog.nodes[x];

		if (buf >= 0) {
			if (s->rank && s->dims[0].n == p->prog.nodes[operand].dims[0].n)
				mark(l, buf, s->rank == p->prog.nodes[operand].rank ? channels : 1);
			continue;
		}
		for (int k = 0; k < s->nsrc && n < MAX_WALK; k++)
			stack[n++] = s->src[k];
	}
}

static void mark_like(struct layout *l, const struct group *g, int64_t first, int64_t second, int channels)
{
	const struct prog *p = &l->p->prog;

	for (int i = 0; i < g->nroots; i++) {
		const struct pnode *n = &p->nodes[g->roots[i]];

		if (n->rank >= 3 && n->dims[0].n == first && n->dims[1].n == second)
			mark(l, g->root_bufs[i], channels);
	}
}

static void mark_convolution(struct layout *l, const struct group *g)
{
	const struct pnode *n = &l->p->prog.nodes[g->main];

	mark_operand(l, n, 0);
	if (!slides(n)) {
		mark_operand(l, n, 1);
		return;
	}
	if (channels_of(n, 2) > 0)
		mark_like(l, g, n->dims[0].n, n->dims[1].n, channels_of(n, 2));
}

// What is made of channels-last values stays so.
static bool mark_follower(struct layout *l, int group)
{
	const struct plan *p = l->p;
	const struct group *g = &p->groups[group];
	struct source *s;
	int n = group_sources(p, group, &s);

	for (int i = 0; i < n; i++) {
		const struct pnode *x = &p->prog.nodes[s[i].node];
		int buf = p->node_buf[s[i].node];

		if (buf >= 0 && l->last[buf] == 1)
			mark_like(l, g, x->dims[0].n, x->dims[1].n, 1);
	}
	free(s);
	return n >= 0;
}

// Segments are walked through element by element.
static void fix_segments(struct layout *l, int group)
{
	const struct plan *p = l->p;
	struct source *s;
	int n = group_sources(p, group, &s);

	for (int i = 0; i < n; i++)
		if (p->node_buf[s[i].node] >= 0)
			l->fixed[p->node_buf[s[i].node]] = true;
	for (int i = 0; i < p->groups[group].nroots; i++)
		l->fixed[p->groups[group].root_bufs[i]] = true;
	free(s);
}

static void find_fixed(struct layout *l, bool *merged)
{
	const struct plan *p = l->p;

	for (int i = 0; i < p->nsteps; i++)
		if (p->steps[i].kind == STEP_COPY)
			l->fixed[p->steps[i].src] = l->fixed[p->steps[i].dst] = true;
	for (int i = 0; i < p->ngroups; i++)
		if (p->groups[i].kind == GROUP_SEGMENTED)
			fix_segments(l, i);
	for (int v = p->prog.n - 1; v >= 0; v--) {
		const struct pnode *n = &p->prog.nodes[v];

		if (n->op == OP_RESHAPE && (merged[v] || n->rank < p->prog.nodes[n->src[0]].rank) &&
		    (merged[v] || !same_space(&p->prog, v, n->src[0])))
			merged[n->src[0]] = true;
		if (merged[v] && p->node_buf[v] >= 0)
			l->fixed[p->node_buf[v]] = true;
	}
}

static void set_strides(struct pbuf *b, int channels)
{
	int64_t stride = 1;

	for (int i = channels; i > 0; i--) {
		b->strides[i] = stride;
		stride *= b->dims[i].n;
	}
	for (int i = b->rank - 1; i > channels; i--) {
		b->strides[i] = stride;
		stride *= b->dims[i].n;
	}
	b->strides[0] = stride;
}

bool layout_activations(struct plan *p, struct arena *scratch)
{
	struct layout l = {.p = p};
	bool *merged = ARENA_ARRAY(scratch, bool, p->prog.n + 1), any = false, ok = true;

	l.last = ARENA_ARRAY(scratch, uint8_t, p->nbufs + 1);
	l.fixed = ARENA_ARRAY(scratch, bool, p->nbufs + 1);
	if (scratch->failed)
		return false;
	for (int i = 0; i < p->ngroups; i++)
		any |= p->groups[i].kind == GROUP_CONTRACT && is_convolution(&p->prog.nodes[p->groups[i].main]);
	if (!any)
		return true;
	find_fixed(&l, merged);
	for (int i = 0; i < p->ngroups; i++)
		if (p->groups[i].kind == GROUP_CONTRACT && is_convolution(&p->prog.nodes[p->groups[i].main]))
			mark_convolution(&l, &p->groups[i]);
	for (int i = 0; i < p->ngroups && ok; i++)
		if (p->groups[i].kind == GROUP_MAP || p->groups[i].kind == GROUP_REDUCE)
			ok = mark_follower(&l, i);
	for (int i = 0; i < p->nbufs && ok; i++)
		if (l.last[i])
			set_strides(&p->bufs[i], l.last[i]);
	return ok;
}
