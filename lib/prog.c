// The linearised program: an array of operations in topological order.
// In:  nodes added one by one, sources before users. Out: the same, rewritten, compacted, copied.
// Keeps: memory in the program's arena only. Out of memory: -1 or false, arena->failed is set.
// Not here: its text (prog_text.c), what makes it sound (prog_verify.c), graph to program (linear.c).
#include "plan.h"

bool prog_reserve(struct prog *p, int n)
{
	struct pnode *nodes;
	int cap = p->cap ? p->cap : 64;

	if (n <= p->cap)
		return true;
	while (cap < n)
		cap *= 2;
	nodes = arena_grow(p->arena, p->nodes, sizeof *nodes * (size_t)p->n, sizeof *nodes * (size_t)cap);
	if (!nodes)
		return false;
	p->nodes = nodes;
	p->cap = cap;
	return true;
}

static bool push(struct prog *p, const struct pnode *n)
{
	if (p->arena->failed || !prog_reserve(p, p->n + 1))
		return false;
	p->nodes[p->n++] = *n;
	return true;
}

int prog_add(struct prog *p, int op, tgc_type type, int rank, const struct dim *dims, int nsrc,
             const int32_t *src, int nattr, const int64_t *attr)
{
	struct pnode n = {.op = (uint8_t)op,
	                  .type = (uint8_t)type,
	                  .rank = (uint8_t)rank,
	                  .nsrc = (uint16_t)nsrc,
	                  .nattr = (uint16_t)nattr,
	                  .leaf = -1};

	for (int i = 0; i < nsrc; i++)
		if (src[i] < 0) // an earlier prog_add was out of memory
			return -1;
	if (rank)
		n.dims = arena_dup(p->arena, dims, sizeof *dims * (size_t)rank);
	if (nsrc)
		n.src = arena_dup(p->arena, src, sizeof *src * (size_t)nsrc);
	if (nattr)
		n.attr = arena_dup(p->arena, attr, sizeof *attr * (size_t)nattr);
	return push(p, &n) ? p->n - 1 : -1;
}

int prog_add1(struct prog *p, int op, tgc_type type, int x)
{
	const struct pnode *n = x < 0 ? NULL : &p->nodes[x];
	int32_t src[1] = {x};

	return n ? prog_add(p, op, type, n->rank, n->dims, 1, src, 0, NULL) : -1;
}

int prog_add2(struct prog *p, int op, tgc_type type, int x, int y)
{
	const struct pnode *n = x < 0 ? NULL : &p->nodes[x];
	int32_t src[2] = {x, y};

	return n ? prog_add(p, op, type, n->rank, n->dims, 2, src, 0, NULL) : -1;
}

int prog_add_full(struct prog *p, tgc_type type, int rank, const struct dim *dims, union number v)
{
	struct dim ones[TGC_MAX_RANK * 2 + 2];
	int32_t x = prog_add(p, OP_CONST, type, 0, NULL, 0, NULL, 1, &v.i);

	assert(rank <= TG_COUNT(ones));
	if (rank == 0)
		return x;
	for (int i = 0; i < rank; i++)
		ones[i] = (struct dim){1, 0};
	x = prog_add(p, OP_RESHAPE, type, rank, ones, 1, &x, 0, NULL);
	return prog_add(p, OP_EXPAND, type, rank, dims, 1, &x, 0, NULL);
}

int64_t prog_elems(const struct prog *p, int node)
{
	const struct pnode *n = &p->nodes[node];
	int64_t elems = 1;

	for (int i = 0; i < n->rank; i++)
		elems *= n->dims[i].n;
	return elems;
}

bool prog_const(const struct prog *p, int node, union number *v)
{
	const struct pnode *n = &p->nodes[node];

	while (n->op == OP_RESHAPE || n->op == OP_EXPAND)
		n = &p->nodes[n->src[0]];
	if (n->op != OP_CONST)
		return false;
	v->i = n->attr[0];
	return true;
}

bool prog_copy(struct prog *to, struct arena *a, const struct prog *from)
{
	*to = (struct prog){.arena = a, .nleaves = from->nleaves, .nouts = from->nouts};
	to->leaves = arena_dup(a, from->leaves, sizeof *to->leaves * (size_t)from->nleaves);
	to->outs = arena_dup(a, from->outs, sizeof *to->outs * (size_t)from->nouts);
	if (!prog_reserve(to, from->n))
		return false;
	for (int i = 0; i < from->n; i++) {
		const struct pnode *n = &from->nodes[i];
		int k = prog_add(to, n->op, (tgc_type)n->type, n->rank, n->dims, n->nsrc, n->src, n->nattr,
		                 n->attr);

		if (k < 0)
			return false;
		to->nodes[k].leaf = n->leaf;
	}
	return !a->failed;
}

int prog_keep(struct prog *p, const struct pnode *n, const int32_t *src)
{
	struct pnode copy = *n;

	for (int i = 0; i < n->nsrc; i++)
		if (src[i] < 0)
			return -1;
	if (n->nsrc && memcmp(src, n->src, sizeof *src * n->nsrc) != 0)
		copy.src = arena_dup(p->arena, src, sizeof *src * n->nsrc);
	if (!push(p, &copy))
		return -1;
	if (copy.leaf >= 0)
		p->leaves[copy.leaf].node = p->n - 1;
	return p->n - 1;
}

// Sources of n by the new numbers, in a buffer that grows with the widest node.
static int32_t *mapped(struct arena *a, const struct pnode *n, const int32_t *map, int32_t **buf, int *cap)
{
	if (n->nsrc > *cap) {
		*cap = n->nsrc * 2;
		*buf = ARENA_ARRAY(a, int32_t, *cap);
	}
	for (int i = 0; *buf && i < n->nsrc; i++)
		(*buf)[i] = map[n->src[i]];
	return *buf;
}

void prog_rewrite(struct prog *p, prog_visit *visit, void *user)
{
	struct prog to = {.arena = p->arena, .leaves = p->leaves, .nleaves = p->nleaves, .nouts = p->nouts};
	int32_t *map = ARENA_ARRAY(p->arena, int32_t, p->n + 1), *src = NULL;
	int cap = 0;

	to.leaves = arena_dup(p->arena, p->leaves, sizeof *p->leaves * (size_t)p->nleaves);
	to.outs = arena_dup(p->arena, p->outs, sizeof *p->outs * (size_t)p->nouts);
	prog_reserve(&to, p->n + 16);
	for (int i = 0; !p->arena->failed && i < p->n; i++) {
		src = mapped(p->arena, &p->nodes[i], map, &src, &cap);
		int before = to.n;

		map[i] = src || !p->nodes[i].nsrc ? visit(user, &to, p, i, src) : -1;
		for (int k = before; k < to.n; k++)
			to.nodes[k].origin = p->nodes[i].origin;
	}
	for (int i = 0; !p->arena->failed && i < p->nouts; i++)
		to.outs[i].node = map[p->outs[i].node];
	if (p->arena->failed) // the program stays as it was; the caller checks the arena
		return;
	*p = to;
	prog_compact(p);
}

int32_t *prog_uses(const struct prog *p)
{
	int32_t *uses = ARENA_ARRAY(p->arena, int32_t, p->n + 1);

	for (int i = 0; uses && i < p->n; i++)
		for (int s = 0; s < p->nodes[i].nsrc; s++)
			uses[p->nodes[i].src[s]]++;
	for (int i = 0; uses && i < p->nouts; i++)
		uses[p->outs[i].node]++;
	return uses;
}

static void mark_live(const struct prog *p, int32_t *live)
{
	for (int i = 0; i < p->nouts; i++)
		live[p->outs[i].node] = 1;
	for (int i = p->n - 1; i >= 0; i--)
		for (int s = 0; live[i] && s < p->nodes[i].nsrc; s++)
			live[p->nodes[i].src[s]] = 1;
}

// Post-order from the outputs into order[]; the number of nodes there. number[] is 0 on entry: unseen.
static int sort_nodes(const struct prog *p, int32_t *order, int32_t *number)
{
	int32_t *stack = ARENA_ARRAY(p->arena, int32_t, p->n + 1),
	        *next = ARENA_ARRAY(p->arena, int32_t, p->n + 1);
	int n = 0, depth = 0;

	for (int o = 0; stack && next && o < p->nouts; o++) {
		if (number[p->outs[o].node])
			continue;
		stack[depth++] = p->outs[o].node;
		while (depth) {
			int32_t at = stack[depth - 1];
			const struct pnode *x = &p->nodes[at];

			while (next[at] < x->nsrc && number[x->src[next[at]]])
				next[at]++;
			if (next[at] < x->nsrc) {
				stack[depth++] = x->src[next[at]];
			} else {
				order[n++] = at;
				number[at] = n;
				depth--;
			}
		}
	}
	return n;
}

static bool in_order(const struct prog *p)
{
	for (int i = 0; i < p->n; i++)
		for (int s = 0; s < p->nodes[i].nsrc; s++)
			if (p->nodes[i].src[s] >= i)
				return false;
	return true;
}

// A program that is already in topological order keeps it; what is dead goes.
static int order_nodes(const struct prog *p, int32_t *order, int32_t *number)
{
	int n = 0;

	if (!in_order(p))
		return sort_nodes(p, order, number);
	mark_live(p, number);
	for (int i = 0; i < p->n; i++) {
		if (!number[i])
			continue;
		order[n++] = i;
		number[i] = n;
	}
	return n;
}

void prog_compact(struct prog *p)
{
	int32_t *order = ARENA_ARRAY(p->arena, int32_t, p->n + 1);
	int32_t *number = ARENA_ARRAY(p->arena, int32_t, p->n + 1); // plus one; 0: dead
	struct pnode *nodes = ARENA_ARRAY(p->arena, struct pnode, p->n + 1);
	int n;

	if (!order || !number || !nodes)
		return;
	n = order_nodes(p, order, number);
	if (p->arena->failed)
		return;
	for (int i = 0; i < n; i++) {
		struct pnode *x = &nodes[i];

		*x = p->nodes[order[i]];
		if (x->nsrc)
			x->src = arena_dup(p->arena, x->src, sizeof *x->src * x->nsrc);
		for (int s = 0; x->src && s < x->nsrc; s++)
			x->src[s] = number[x->src[s]] - 1;
	}
	if (p->arena->failed)
		return;
	for (int i = 0; i < p->nleaves; i++)
		if (p->leaves[i].node >= 0)
			p->leaves[i].node = number[p->leaves[i].node] - 1;
	for (int i = 0; i < p->nouts; i++)
		p->outs[i].node = number[p->outs[i].node] - 1;
	p->cap = p->n + 1;
	p->nodes = nodes;
	p->n = n;
}
