// The value of one element of a pnode, as kernel instructions.
// In:  a pnode and its index vector. Out: a kernel value, memoised by pnode, index and guard.
// Depth is bounded by the group's size (LOWER_DEPTH). Not here: loops around it (lower_nest.c).
#include "lower.h"

struct lower_memo {
	int32_t node, guard, value; // node -1: free
	int32_t idx[LOWER_RANK];
};

static uint32_t hash(const struct lower *lo, int node, const int *idx)
{
	uint32_t h = (uint32_t)node * 2654435761u ^ (uint32_t)lo->guard * 40503u;
	for (int i = 0; i < NODE(lo, node)->rank; i++)
		h = (h ^ (uint32_t)idx[i]) * 16777619u;
	return h ^ h >> 15;
}

// The entry of this element, or the free one where it belongs.
static struct lower_memo *find(const struct lower *lo, int node, const int *idx)
{
	uint32_t mask = (uint32_t)lo->memo_cap - 1;
	for (uint32_t at = hash(lo, node, idx) & mask;; at = (at + 1) & mask) {
		struct lower_memo *m = &lo->memo[at];
		if (m->node < 0)
			return m;
		if (m->node == node && m->guard == lo->guard &&
		    !memcmp(m->idx, idx, sizeof *idx * NODE(lo, node)->rank))
			return m;
	}
}

void lower_forget(struct lower *lo)
{
	lo->nmemo = 0;
	for (int i = 0; i < lo->memo_cap; i++)
		lo->memo[i].node = -1;
}

static bool grow(struct lower *lo)
{
	if (lo->memo_cap && lo->nmemo * 2 < lo->memo_cap)
		return true;
	struct lower_memo *old = lo->memo;
	int old_cap = lo->memo_cap, cap = old_cap ? 2 * old_cap : 256;
	struct lower_memo *fresh = ARENA_ARRAY(&lo->arena, struct lower_memo, cap);
	if (!fresh)
		return old_cap > lo->nmemo + 1;
	lo->memo = fresh;
	lo->memo_cap = cap;
	lower_forget(lo);
	int guard = lo->guard;
	for (int i = 0; i < old_cap; i++) {
		if (old[i].node < 0)
			continue;
		lo->guard = old[i].guard;
		*find(lo, old[i].node, old[i].idx) = old[i];
		lo->nmemo++;
	}
	lo->guard = guard;
	return true;
}

static void remember(struct lower *lo, int node, const int *idx, int value)
{
	if (!grow(lo))
		return;
	struct lower_memo *m = find(lo, node, idx);
	lo->nmemo += m->node < 0;
	m->node = node;
	m->guard = lo->guard;
	m->value = value;
	memcpy(m->idx, idx, sizeof *idx * NODE(lo, node)->rank);
}

int lower_plan_buf(const struct lower *lo, int node)
{
	const struct plan *p = lo->plan;
	int leaf = p->prog.nodes[node].leaf;
	if (p->node_buf[node] >= 0)
		return p->node_buf[node];
	if (leaf < 0 || p->prog.leaves[leaf].cls == LEAF_SCALAR)
		return -1;
	for (int i = 0; i < p->nbufs; i++)
		if (p->bufs[i].cls == BUF_LEAF && p->bufs[i].index == leaf)
			return i;
	return -1;
}

bool lower_loaded(const struct lower *lo, int node)
{
	const struct pnode *n = NODE(lo, node);
	if (n->op == OP_VARIABLE || n->op == OP_DATA)
		return true;
	if (n->op == OP_CONST || n->op == OP_SCALAR)
		return false;
	return lo->plan->node_buf[node] >= 0 && !lo->own[node];
}

int lower_at(struct lower *lo, const struct pbuf *p, const int *idx)
{
	return kb_affine(&lo->b, 0, p->rank, p->strides, idx);
}

static int load(struct lower *lo, int node, const int *idx)
{
	int pb = lower_plan_buf(lo, node);
	if (pb < 0)
		return lower_fail(lo, "pnode %d has no buffer", node);
	const struct pbuf *p = &lo->plan->bufs[pb];
	int rank = NODE(lo, node)->rank, buf = lower_buf(lo, pb);
	if (p->rank != rank && !(p->rank == 1 && rank == 0))
		return lower_fail(lo, "plan buffer %d has rank %d, its pnode %d rank %d", pb, p->rank, node,
		                  rank);
	int at = lower_block_at(lo, node, rank ? lower_at(lo, p, idx) : kb_int(&lo->b, 0), p);
	// What this kernel stored stands still while a nest reads it: it is read once where its index is known.
	int region = lo->b.region, v;
	if (lo->shared || lo->k->bufs[buf].space != SPACE_GLOBAL)
		lo->b.region = lower_deepest(lo, lower_deepest(lo, lo->home, 1, &at), 1, &lo->guard);
	v = kb_load(&lo->b, buf, at, lo->guard, lo->k->bufs[buf].segmented ? lo->seg : K_NONE);
	lo->b.region = region;
	return v;
}

static int scalar(struct lower *lo, int node)
{
	const struct pnode *n = NODE(lo, node);
	struct kernel *k = lo->k;
	for (int i = 0; i < k->nscalars; i++)
		if (k->scalar_leaf[i] == n->leaf)
			return kb_scalar(&lo->b, i);
	if (k->nscalars == TG_COUNT(k->scalar_leaf))
		return lower_fail(lo, "more than %d late scalars in one kernel", TG_COUNT(k->scalar_leaf));
	int i = kernel_scalar(k, n->type);
	k->scalar_leaf[i] = n->leaf;
	return kb_scalar(&lo->b, i);
}

int lower_cast(struct lower *lo, int v, tgc_type t)
{
	return lo->k->insts[v].type == t ? v : kb_op1(&lo->b, OP_CAST, t, v);
}

int lower_inside(struct lower *lo, int v, int64_t from, int64_t to)
{
	int64_t least, most;
	bool known = kernel_interval(lo->k, v, &least, &most);
	int cond = K_NONE;
	if (known && (most < from || least >= to))
		return kb_bool(&lo->b, false);
	if (from != INT64_MIN && (!known || least < from))
		cond = kb_op2(&lo->b, OP_LE, TGC_BOOL, kb_int(&lo->b, from), v);
	if (!known || most >= to)
		cond = kb_and(&lo->b, cond, kb_op2(&lo->b, OP_LT, TGC_BOOL, v, kb_int(&lo->b, to)));
	union number c;
	return cond != K_NONE && kernel_is_const(lo->k, cond, &c) && c.i ? K_NONE : cond;
}

int lower_select(struct lower *lo, int cond, int x, int y)
{
	return cond == K_NONE ? x : kb_select(&lo->b, cond, x, y);
}

bool lower_never(const struct lower *lo, int cond)
{
	union number c;
	return cond != K_NONE && kernel_is_const(lo->k, cond, &c) && !c.i;
}

int lower_with(struct lower *lo, int guard)
{
	int old = lo->guard;
	if (guard != K_NONE)
		lo->guard = kb_and(&lo->b, old, guard);
	return old;
}

static int elementwise(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node);
	int v[3] = {K_NONE, K_NONE, K_NONE};
	if (n->nsrc > 3)
		return lower_fail(lo, "elementwise pnode %d with %d sources", node, n->nsrc);
	for (int i = 0; i < n->nsrc; i++)
		v[i] = lower_value(lo, n->src[i], idx);
	if (n->op == OP_SELECT)
		return kb_select(&lo->b, v[0], v[1], v[2]);
	return kb_op(&lo->b, n->op, n->type, n->nsrc, v);
}

static int compute(struct lower *lo, int node, const int *idx)
{
	const struct pnode *n = NODE(lo, node);
	if (lower_loaded(lo, node))
		return load(lo, node, idx);
	switch (n->op) {
	case OP_CONST:
		if (n->leaf >= 0)
			return scalar(lo, node);
		return kb_const(&lo->b, n->type, (union number){.i = n->attr[0]});
	case OP_SCALAR:
		return scalar(lo, node);
	case OP_IOTA:
		return lower_cast(lo, idx[n->attr[0]], n->type);
	case OP_RANDOM:
		return lower_random(lo, node, idx);
	case OP_SUM:
	case OP_RMAX:
	case OP_RMIN:
		return lower_reduce(lo, node, idx);
	case OP_FOLD:
		return lower_fold(lo, node, idx);
	case OP_CONTRACT:
		return lower_contract(lo, node, idx);
	case OP_GATHER:
		return lower_gather(lo, node, idx);
	case OP_CHECK:
		return lower_check(lo, node, idx);
	default:
		if (op_is_elementwise(n->op))
			return elementwise(lo, node, idx);
		if (op_info[n->op].cls == CLASS_MOVE)
			return lower_move(lo, node, idx);
		return lower_fail(lo, "%s (pnode %d) cannot be computed inside a kernel", op_info[n->op].name,
		                  node);
	}
}

void lower_count(struct lower *lo, double flops, double work)
{
	lo->k->flops += flops;
	lo->k->work += flops * work;
}

// What is not a product reaches about a quarter of its peak.
void lower_count_node(struct lower *lo, int node)
{
	enum { SLOWER = 4 };
	const struct pnode *n = NODE(lo, node);
	int cls = op_info[n->op].cls, of = cls == CLASS_REDUCE ? n->src[0] : node;
	if (lo->counted[node])
		return;
	lo->counted[node] = true;
	if (cls == CLASS_CONTRACT || cls == CLASS_MOVE || cls == CLASS_INDEX) // products: where their loops are made
		return;
	lower_count(lo, (double)prog_elems(&lo->plan->prog, of) * op_flops(n->op, (tgc_type)n->type), SLOWER);
}

int lower_value(struct lower *lo, int node, const int *idx)
{
	if (lo->error || !grow(lo))
		return kb_const(&lo->b, NODE(lo, node)->type, (union number){.i = 0});
	struct lower_memo *m = find(lo, node, idx);
	if (m->node >= 0 && kernel_region_within(lo->k, lo->b.region, lo->k->insts[m->value].region))
		return m->value;
	if (++lo->depth > LOWER_DEPTH)
		return lower_fail(lo, "a group is nested more than %d operations deep", LOWER_DEPTH);
	int v = compute(lo, node, idx);
	lo->depth--;
	if (!lower_loaded(lo, node))
		lower_count_node(lo, node);
	remember(lo, node, idx, v);
	return v;
}
