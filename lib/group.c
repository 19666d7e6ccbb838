// Who computes what: one walk in topological order gives every value to a group or leaves it free.
// In:  a program after the passes. Out: vals[].group (free values: -1) and groups with levels: a group reads
// only groups of lower levels, so that no order has to be searched for. A free value is computed by whoever
// needs it. Elementwise values join the group of an operand where the index is the same (epilogues, rows);
// reductions join a group whose rows they reduce. Not here: which values are stored (group_store.c).
#include "plan.h"

enum { MAX_OPS = 64, MAX_EPILOGUE = 48, MAX_REDUCTIONS = 5, MAX_DEPTH = 128, TINY_ELEMS = 16, FEW_RESULTS = 6144 };
enum {
	NEED_OPERAND = 1, // an operand of a contraction, behind movement
	NEED_REPEAT = 2,  // elements are asked for several times
	NEED_WHOLE = 4,   // not all elements are asked for
};

bool same_space(const struct prog *p, int a, int b)
{
	const struct pnode *x = &p->nodes[a], *y = &p->nodes[b];
	int i = 0, j = 0;

	for (;;) {
		while (i < x->rank && x->dims[i].n == 1)
			i++;
		while (j < y->rank && y->dims[j].n == 1)
			j++;
		if (i == x->rank || j == y->rank)
			return i == x->rank && j == y->rank;
		if (x->dims[i++].n != y->dims[j++].n)
			return false;
	}
}

int prog_stored_as(const struct prog *p, int node)
{
	while (p->nodes[node].op == OP_RESHAPE && !layout_is_copy(p, node))
		node = p->nodes[node].src[0];
	return node;
}

bool prog_widens(const struct prog *p, int node)
{
	const struct pnode *n = &p->nodes[node];
	int from = n->op == OP_CAST ? p->nodes[n->src[0]].type : TGC_BOOL;

	return (from == TGC_F16 || from == TGC_BF16) && (n->type == TGC_F32 || n->type == TGC_F64);
}

double op_flops(int op, tgc_type t)
{
	bool whole = !type_is_float(t);

	switch (op) {
	case OP_EXP:
	case OP_LOG:
		return 12;
	case OP_TANH:
	case OP_ERF:
	case OP_SIN:
	case OP_COS:
		return 20;
	case OP_DIV:
	case OP_MOD:
		return whole ? 16 : 4;
	case OP_SQRT:
	case OP_GATHER:
		return 4;
	case OP_RANDOM:
		return 200; // ten rounds, each element for itself: 20 ns measured for two with a logarithm and a cosine
	default:
		return op_info[op].cls == CLASS_SOURCE || op_info[op].cls == CLASS_MOVE ? 0 : 1;
	}
}

// ---- groups -------------------------------------------------------------------------------------------------
int group_find(const struct grouping *g, int group)
{
	while (group >= 0 && g->groups[group].into >= 0)
		group = g->groups[group].into;
	return group;
}

bool group_before(const struct gbuild *a, const struct gbuild *b)
{
	return a->level != b->level ? a->level < b->level : a->sub < b->sub;
}

int group_open(struct grouping *g, int kind, int main, int space, int level, int sub)
{
	assert(g->ngroups < g->prog->n);
	g->groups[g->ngroups] = (struct gbuild){.kind = (uint8_t)kind,
	                                        .into = -1,
	                                        .main = main,
	                                        .space = space,
	                                        .level = level,
	                                        .sub = sub,
	                                        .split = 1};
	return g->ngroups++;
}

static struct gbuild *owner(const struct grouping *g, int node)
{
	int at = group_find(g, g->vals[node].group);

	return at < 0 ? NULL : &g->groups[at];
}

// Level from which the value may be used; its group becomes fixed.
static int level_of(struct grouping *g, int node, const char *why)
{
	struct gbuild *o = owner(g, node);

	if (!o)
		return g->vals[node].level;
	o->read = true;
	if (!o->why)
		o->why = why;
	return o->level + 1;
}

static bool is_leaf(const struct pnode *n)
{
	return n->op == OP_VARIABLE || n->op == OP_DATA;
}

static double node_bytes(const struct prog *p, int node)
{
	return (double)prog_elems(p, node) * (double)tgc_type_bytes((tgc_type)p->nodes[node].type);
}

static void own(struct grouping *g, int node, int group, int at)
{
	struct gvalue *v = &g->vals[node];

	v->group = group;
	v->at = (uint8_t)at;
	v->ops = 0;
	v->flops = 0;
	v->bytes = node_bytes(g->prog, g->target->halves && prog_widens(g->prog, node)
	                                   ? g->prog->nodes[node].src[0]
	                                   : node);
	v->base = node;
}

// ---- rows ---------------------------------------------------------------------------------------------------
// Reductions over the same axes of equal shapes.
static bool same_rows(const struct prog *p, int r, int q)
{
	const struct pnode *x = &p->nodes[p->nodes[r].src[0]], *y = &p->nodes[p->nodes[q].src[0]];
	int64_t m = p->nodes[r].attr[0], k = p->nodes[q].attr[0];
	int i = 0, j = 0;

	for (;; i++, j++) {
		while (i < x->rank && x->dims[i].n == 1)
			i++;
		while (j < y->rank && y->dims[j].n == 1)
			j++;
		if (i == x->rank || j == y->rank)
			return i == x->rank && j == y->rank;
		if (x->dims[i].n != y->dims[j].n || (m >> i & 1) != (k >> j & 1))
			return false;
	}
}

// Only the last axes are reduced.
static bool trailing(const struct prog *p, int r)
{
	const struct pnode *x = &p->nodes[p->nodes[r].src[0]];
	bool inside = false;

	for (int i = 0; i < x->rank; i++) {
		bool reduced = p->nodes[r].attr[0] >> i & 1;

		if (x->dims[i].n == 1)
			continue;
		if (inside && !reduced)
			return false;
		inside |= reduced;
	}
	return true;
}

static bool rows_stay(const struct prog *p, int r)
{
	int64_t rows = prog_elems(p, r);

	return trailing(p, r) && (rows >= 16 || prog_elems(p, p->nodes[r].src[0]) <= 32768);
}

// Chunks of the reduced range: enough blocks for any number of threads, none too small; a function of shape and
// target record alone.
static int64_t chunks(const struct prog *p, const struct target *t, int r)
{
	const struct pnode *x = &p->nodes[p->nodes[r].src[0]];
	int64_t kept = prog_elems(p, r), n = prog_elems(p, p->nodes[r].src[0]), limit = 1, want;
	bool tail = trailing(p, r);
	int64_t blocks = tail ? kept : (kept + t->sum_columns - 1) / t->sum_columns;

	for (int i = 0; i < x->rank; i++) {
		if (p->nodes[r].attr[0] >> i & 1 && x->dims[i].n > 1) {
			limit *= x->dims[i].n;
			if (!tail)
				break;
		}
	}
	if (kept == 0 || blocks >= t->sum_blocks / 4 || rows_stay(p, r))
		return 1;
	want = (t->sum_blocks + blocks - 1) / blocks;
	want = want < n / (blocks * t->sum_elems) ? want : n / (blocks * t->sum_elems);
	want = want < limit ? want : limit;
	return want < 2 ? 1 : want;
}

// An expand that repeats a row's value over exactly the reduced axes.
static bool over_rows(const struct prog *p, int main, int e)
{
	const struct pnode *x = &p->nodes[p->nodes[main].src[0]], *y = &p->nodes[e];
	const struct pnode *s = &p->nodes[y->src[0]];
	int i = 0, j = 0;

	for (;; i++, j++) {
		while (i < x->rank && x->dims[i].n == 1)
			i++;
		while (j < y->rank && y->dims[j].n == 1)
			j++;
		if (i == x->rank || j == y->rank)
			return i == x->rank && j == y->rank;
		if (x->dims[i].n != y->dims[j].n ||
		    (p->nodes[main].attr[0] >> i & 1) != (s->dims[j].n != y->dims[j].n))
			return false;
	}
}

// ---- what users ask of a value ------------------------------------------------------------------------------
// Some axis is repeated outside of one that is not: rows are computed again and again.
static bool repeats_rows(const struct pnode *e, const struct pnode *s)
{
	bool repeated = false;

	for (int i = 0; i < e->rank; i++) {
		if (s->dims[i].n > 1 && repeated)
			return true;
		repeated |= s->dims[i].n != e->dims[i].n;
	}
	return false;
}

static bool crops(const struct pnode *pad)
{
	for (int i = 0; i < pad->nattr; i += 3)
		if (pad->attr[i] < 0 || pad->attr[i + 1] < 0)
			return true;
	return false;
}

static bool has_window(const struct pnode *c)
{
	for (int i = 0; i < c->nattr; i += 8)
		if (c->attr[i] == ROLE_WINDOW)
			return true;
	return false;
}

static int asked(const struct grouping *g, int user, int k)
{
	const struct prog *p = g->prog;
	const struct pnode *n = &p->nodes[user], *s = &p->nodes[n->src[k]];
	int need = g->vals[user].need;

	if (g->target->halves && prog_widens(p, user))
		return need;
	switch (n->op) {
	case OP_CONTRACT:
		return NEED_OPERAND | (has_window(n) ? NEED_WHOLE : 0);
	case OP_RESHAPE:
	case OP_PERMUTE:
	case OP_FLIP:
	case OP_CONCAT:
		return need;
	case OP_EXPAND:
		return need | (repeats_rows(n, s) ? NEED_REPEAT : 0);
	case OP_PAD:
		return k ? 0 : need | (crops(n) ? NEED_WHOLE : 0);
	case OP_SLICE:
		return (need & ~NEED_OPERAND) | NEED_WHOLE;
	case OP_WINDOW:
		return need | NEED_WHOLE | ((n->attr[1] - 1) * n->attr[3] >= n->attr[2] ? NEED_REPEAT : 0);
	case OP_FOLD:
		return (n->attr[1] - 1) * n->attr[3] >= n->attr[2] ? NEED_REPEAT : need & ~NEED_OPERAND;
	case OP_GATHER:
		return k ? NEED_REPEAT
		         : NEED_WHOLE | (prog_elems(p, user) >= prog_elems(p, n->src[0]) ? NEED_REPEAT : 0);
	case OP_SCATTER:
		return k == 1 ? NEED_REPEAT : 0;
	default:
		return 0;
	}
}

static void ask(struct grouping *g)
{
	const struct prog *p = g->prog;

	for (int v = p->n - 1; v >= 0; v--)
		for (int k = 0; k < p->nodes[v].nsrc; k++)
			g->vals[p->nodes[v].src[k]].need |= (uint8_t)asked(g, v, k);
	for (int i = 0; i < p->nouts; i++)
		g->vals[prog_stored_as(p, p->outs[i].node)].must = true;
}

// ---- free values --------------------------------------------------------------------------------------------
static bool earlier_source(const struct pnode *n, int k)
{
	for (int i = 0; i < k; i++)
		if (n->src[i] == n->src[k])
			return true;
	return false;
}

static double scale(const struct prog *p, int v)
{
	const struct pnode *n = &p->nodes[v];
	int64_t to = prog_elems(p, v), from;

	if (n->nsrc == 0 || to == 0)
		return 1;
	from = prog_elems(p, n->src[0]);
	if (n->op == OP_EXPAND && !repeats_rows(n, &p->nodes[n->src[0]]))
		return (double)from / (double)to;
	return n->op == OP_FOLD ? (double)n->attr[1] : 1;
}

static void leave_free(struct grouping *g, int v)
{
	const struct prog *p = g->prog;
	const struct pnode *n = &p->nodes[v];
	struct gvalue *x = &g->vals[v];
	double part = n->op == OP_SLICE ? (double)prog_elems(p, v) / (double)(prog_elems(p, n->src[0]) + 1) : 1;

	x->group = -1;
	x->level = 1;
	x->base = -1;
	x->flag = n->op == OP_CHECK || n->op == OP_GATHER;
	x->ops = op_info[n->op].cls != CLASS_MOVE && op_info[n->op].cls != CLASS_SOURCE;
	x->flops = op_flops(n->op, (tgc_type)n->type);
	for (int k = 0; k < n->nsrc; k++) {
		const struct gvalue *s = &g->vals[n->src[k]];
		int level = level_of(g, n->src[k], "its users read it at other indices");

		x->level = level > x->level ? level : x->level;
		x->flag |= s->group < 0 && s->flag;
		x->depth = s->depth >= x->depth && s->group < 0 ? s->depth + 1 : x->depth;
		if (earlier_source(n, k))
			continue;
		x->ops += s->ops;
		x->flops += s->flops * scale(p, v);
		x->bytes += s->bytes * part;
		if (s->base >= 0 && (x->base < 0 || prog_elems(p, s->base) > prog_elems(p, x->base)))
			x->base = s->base;
	}
	x->flops += n->op == OP_FOLD ? 8 * (double)n->attr[1] : 0; // whether a tap counts is a division
	x->flops += n->op == OP_PAD;                               // whether an index lies outside
}

// Rules that store a free value as soon as it is met.
static const char *too_dear(const struct grouping *g, int v)
{
	const struct gvalue *x = &g->vals[v];
	const struct pnode *n = &g->prog->nodes[v];

	if (layout_is_copy(g->prog, v))
		return "a copy in another order";
	if (x->ops >= MAX_OPS || x->depth >= MAX_DEPTH)
		return n->op == OP_RESHAPE ? NULL : "64 operations";
	if (x->flag && x->need & NEED_WHOLE && op_info[n->op].cls != CLASS_MOVE)
		return "an error site whose users skip elements";
	if (op_info[n->op].cls == CLASS_SOURCE || (op_info[n->op].cls == CLASS_MOVE && n->op != OP_FOLD) ||
	    prog_elems(g->prog, v) <= TINY_ELEMS || (g->target->halves && prog_widens(g->prog, v)))
		return NULL;
	if (x->need & NEED_OPERAND && x->flops > 2)
		return "an operand of a contraction, more than 2 flops";
	if (x->need & NEED_REPEAT && x->flops > 4)
		return "used several times an element, more than 4 flops";
	return NULL;
}

static void settle(struct grouping *g, int v)
{
	const char *why;

	leave_free(g, v);
	why = too_dear(g, v);
	if (why) {
		int level = g->vals[v].level, ops = g->vals[v].ops;
		int at = group_open(g, GROUP_MAP, -1, v, level, g->ngroups);

		g->groups[at].ops = ops;
		g->groups[at].why = why;
		if (g->vals[v].base >= 0)
			g->map_of[g->vals[v].base] = at;
		own(g, v, at, AT_FULL);
		g->vals[v].depth = 0;
	}
}

// ---- joining ------------------------------------------------------------------------------------------------
// M's values can be computed in G's loops as they are.
static bool mergeable(const struct grouping *g, const struct gbuild *a, const struct gbuild *m)
{
	const struct prog *p = g->prog;

	if (m->read || m->level > a->level || a->ops + m->ops > MAX_OPS)
		return false;
	if (m->kind == GROUP_MAP)
		return (a->kind != GROUP_REDUCE || a->resident) && a->kind != GROUP_SCATTER &&
		       same_space(p, a->space, m->space);
	return m->kind == GROUP_REDUCE && a->kind == GROUP_REDUCE && m->resident == a->resident &&
	       m->split == 1 && a->split == 1 && a->nred + m->nred <= MAX_REDUCTIONS &&
	       same_rows(p, a->main, m->main);
}

static int ops_of_sources(const struct grouping *g, const struct pnode *n)
{
	int ops = 1;

	for (int k = 0; k < n->nsrc; k++)
		if (g->vals[n->src[k]].group < 0 && !earlier_source(n, k))
			ops += g->vals[n->src[k]].ops;
	return ops;
}

// The lowest level at which group `at` could take v; -1 if it cannot.
static int level_with(const struct grouping *g, const struct pnode *n, int at)
{
	const struct gbuild *a = &g->groups[at];
	int level = a->level, ops = a->ops + ops_of_sources(g, n);

	for (int k = 0; k < n->nsrc; k++) {
		const struct gvalue *s = &g->vals[n->src[k]];
		int from = group_find(g, s->group), needs;

		if (from == at)
			continue;
		needs = from < 0 ? s->level : g->groups[from].level + 1;
		if (from >= 0 && mergeable(g, a, &g->groups[from])) {
			ops += g->groups[from].ops;
			needs = g->groups[from].level;
		}
		level = needs > level ? needs : level;
	}
	if (ops > (a->kind == GROUP_CONTRACT ? MAX_EPILOGUE : MAX_OPS) || (level > a->level && a->read))
		return -1;
	return level;
}

static void take(struct grouping *g, int v, int at, int level)
{
	const struct pnode *n = &g->prog->nodes[v];
	struct gbuild *a = &g->groups[at];
	int where = AT_ROW, depth = 0;

	a->ops += ops_of_sources(g, n);
	for (int k = 0; k < n->nsrc; k++) {
		struct gvalue *s = &g->vals[n->src[k]];
		int from = group_find(g, s->group);

		if (from >= 0 && from != at && mergeable(g, a, &g->groups[from])) {
			g->groups[from].into = at;
			a->ops += g->groups[from].ops;
			a->nred += g->groups[from].nred;
			from = at;
		}
		if (from == at && s->at == AT_FULL)
			where = AT_FULL;
		if (from >= 0 && from != at)
			level_of(g, n->src[k], "another group joins it with more");
		if ((from < 0 || from == at) && s->depth >= depth)
			depth = s->depth + 1;
		g->vals[v].flag |= from < 0 && s->flag;
	}
	a->level = level;
	g->vals[v].flag |= n->op == OP_CHECK;
	own(g, v, at, where);
	g->vals[v].depth = depth;
}

static int best_group(const struct grouping *g, const struct pnode *n)
{
	int best = -1;

	for (int k = 0; k < n->nsrc; k++) {
		const struct gvalue *s = &g->vals[n->src[k]];
		int at = group_find(g, s->group);

		if (at < 0 || s->at == AT_NONE || s->depth >= MAX_DEPTH)
			continue;
		if (best < 0 || g->groups[at].level > g->groups[best].level ||
		    (g->groups[at].level == g->groups[best].level && g->groups[best].kind == GROUP_MAP))
			best = at;
	}
	return best;
}

static bool join(struct grouping *g, int v)
{
	const struct pnode *n = &g->prog->nodes[v];
	int at = best_group(g, n), level;

	if (at < 0)
		return false;
	for (int k = 0; k < n->nsrc; k++)
		if (g->vals[n->src[k]].group < 0 && g->vals[n->src[k]].depth >= MAX_DEPTH)
			return false;
	level = level_with(g, n, at);
	if (level < 0)
		return false;
	take(g, v, at, level);
	return true;
}

// A movement that keeps its operand's index in the group, or repeats a row's value along the row.
static bool join_view(struct grouping *g, int v)
{
	const struct prog *p = g->prog;
	const struct pnode *n = &p->nodes[v];
	const struct gvalue *s = &g->vals[n->src[0]];
	const struct gbuild *a = owner(g, n->src[0]);
	int at = s->at, depth = s->depth + 1;

	if (!a || at == AT_NONE || layout_is_copy(p, v) || depth >= MAX_DEPTH)
		return false;
	if (n->op == OP_EXPAND && at == AT_ROW && a->resident && over_rows(p, a->main, v))
		at = AT_FULL;
	else if ((n->op != OP_RESHAPE && n->op != OP_EXPAND) || !same_space(p, v, n->src[0]))
		return false;
	own(g, v, group_find(g, s->group), at);
	g->vals[v].depth = depth;
	return true;
}

// ---- reductions, contractions -------------------------------------------------------------------------------
static bool join_rows(struct grouping *g, int v)
{
	const struct prog *p = g->prog;
	int s = p->nodes[v].src[0];
	struct gbuild *a = owner(g, s);

	if (!a || g->vals[s].at != AT_FULL || !rows_stay(p, v) || a->nred == MAX_REDUCTIONS ||
	    a->ops >= MAX_OPS || g->vals[s].depth >= MAX_DEPTH)
		return false;
	if (a->kind == GROUP_MAP) {
		a->kind = GROUP_REDUCE;
		a->resident = true;
		a->main = v;
	} else if (a->kind != GROUP_REDUCE || !a->resident || !same_rows(p, a->main, v)) {
		return false;
	}
	a->nred++;
	a->ops++;
	own(g, v, group_find(g, g->vals[s].group), AT_ROW);
	g->vals[v].depth = g->vals[s].depth + 1;
	return true;
}

static int sibling(const struct grouping *g, int v, int base)
{
	const struct prog *p = g->prog;
	const struct gvalue *s = &g->vals[p->nodes[v].src[0]];
	int at = base < 0 ? -1 : group_find(g, g->reduce_of[base]);
	int level = s->group < 0 ? s->level : owner(g, p->nodes[v].src[0])->level + 1;
	const struct gbuild *a = at < 0 ? NULL : &g->groups[at];

	if (!a || a->kind != GROUP_REDUCE || a->split > 1 || a->nred == MAX_REDUCTIONS ||
	    a->ops + s->ops >= MAX_OPS || !same_rows(p, a->main, v) || (level > a->level && a->read))
		return -1;
	return at;
}

static int base_of(const struct grouping *g, int node, int k)
{
	const struct pnode *n = &g->prog->nodes[node];

	if (k == 0)
		return g->vals[node].base;
	return k <= n->nsrc && g->vals[node].group < 0 ? g->vals[n->src[k - 1]].base : -1;
}

static void reduce(struct grouping *g, int v)
{
	int s = g->prog->nodes[v].src[0], at = -1, level;
	struct gbuild *a;

	if (join_rows(g, v))
		return;
	for (int k = 0; k < 4 && at < 0; k++)
		at = sibling(g, v, base_of(g, s, k));
	level = level_of(g, s, "a reduction over other axes reads it");
	if (at < 0) {
		at = group_open(g, GROUP_REDUCE, v, s, level, g->ngroups);
		g->groups[at].resident = rows_stay(g->prog, v);
		g->groups[at].split = chunks(g->prog, g->target, v);
	}
	a = &g->groups[at];
	a->level = level > a->level ? level : a->level;
	a->nred++;
	a->ops += 1 + g->vals[s].ops;
	own(g, v, at, AT_ROW);
	g->vals[v].depth = g->vals[s].group < 0 ? g->vals[s].depth + 1 : 1;
	for (int k = 0; k < 4; k++)
		if (base_of(g, s, k) >= 0)
			g->reduce_of[base_of(g, s, k)] = at;
}

static int64_t axis_size(const struct prog *p, const struct pnode *n, const struct tg_caxis *x)
{
	return x->a >= 0 ? p->nodes[n->src[0]].dims[x->a].n : p->nodes[n->src[1]].dims[x->b].n;
}

// The number of equal chunks that comes next, if there is one at all near.
static int64_t even(int64_t chunks, int64_t axis)
{
	for (int64_t n = chunks; n <= 2 * chunks && n <= axis; n++)
		if (axis % n == 0)
			return n;
	return chunks;
}

static double bytes_of(const struct prog *p, int v)
{
	return (double)prog_elems(p, v) * (double)tgc_type_bytes((tgc_type)p->nodes[v].type);
}

// Windows' products for few results, the gradient of a convolution's weights: each register tile of results goes
// through both operands. A chunk of them that stays in half the second cache is gone through from there; operands of
// less than an eighth of the last cache are near enough without.
static int64_t chunks_in_cache(const struct prog *p, const struct target *t, int v, int64_t limit)
{
	const struct pnode *n = &p->nodes[v];
	double bytes = bytes_of(p, n->src[0]) + bytes_of(p, n->src[1]), half = (double)t->l2_bytes / 2;

	if (t->family != FAMILY_CPU || !has_window(n) || limit < 2 || bytes_of(p, v) > half ||
	    bytes < (double)t->l3_bytes / 8)
		return 1;
	int64_t want = (int64_t)(bytes / half) + 1;
	return want < limit ? even(want, limit) : limit;
}

// The same for a contraction with few results: its outermost contracted axis. A last, shorter chunk would be loops
// of its own.
static int64_t chunks_of_contraction(const struct prog *p, const struct target *t, int v)
{
	const struct pnode *n = &p->nodes[v];
	const struct tg_caxis *x = (const struct tg_caxis *)(const void *)n->attr;
	int64_t blocks = (prog_elems(p, v) + t->product_results - 1) / t->product_results, limit = 0, want;
	double products = (double)prog_elems(p, v);

	for (int i = 0; i < n->nattr / 8; i++) {
		if (x[i].role == ROLE_WINDOW)
			products *= (double)p->nodes[n->src[1]].dims[x[i].b].n;
		if (x[i].role != ROLE_CONTRACTED || axis_size(p, n, &x[i]) == 1)
			continue;
		products *= (double)axis_size(p, n, &x[i]);
		limit = limit ? limit : axis_size(p, n, &x[i]);
	}
	if (blocks == 0 || blocks >= t->product_blocks / 2 || products < 4 * t->product_terms ||
	    (t->products && !has_window(n) && prog_elems(p, v) > FEW_RESULTS)) // a library may take it
		return chunks_in_cache(p, t, v, limit);
	want = (t->product_blocks + blocks - 1) / blocks;
	want = want < (int64_t)(products / t->product_terms) ? want : (int64_t)(products / t->product_terms);
	want = want < limit ? want : limit;
	return want < 2 ? 1 : even(want, limit);
}

static void head(struct grouping *g, int v, int kind)
{
	const struct pnode *n = &g->prog->nodes[v];
	int level = 1, at, ops = 1;

	for (int k = 0; k < n->nsrc; k++) {
		int l = level_of(g, n->src[k],
		                 kind == GROUP_CONTRACT ? "a contraction reads it" : "a scatter reads it");

		level = l > level ? l : level;
		ops += g->vals[n->src[k]].ops;
	}
	at = group_open(g, kind, v, v, level, g->ngroups);
	g->groups[at].ops = ops;
	g->groups[at].split = kind == GROUP_CONTRACT ? chunks_of_contraction(g->prog, g->target, v) : 1;
	own(g, v, at, kind == GROUP_CONTRACT ? AT_FULL : AT_NONE);
	g->vals[v].depth = 0;
}

bool group_build(struct grouping *g)
{
	const struct prog *p = g->prog;

	ask(g);
	for (int v = 0; v < p->n; v++) {
		const struct pnode *n = &p->nodes[v];

		if (is_leaf(n)) {
			own(g, v, -1, AT_NONE);
			g->vals[v].level = 1;
		} else if (op_info[n->op].cls == CLASS_REDUCE) {
			reduce(g, v);
		} else if (n->op == OP_CONTRACT || n->op == OP_SCATTER) {
			head(g, v, n->op == OP_CONTRACT ? GROUP_CONTRACT : GROUP_SCATTER);
		} else if (op_is_elementwise(n->op) || n->op == OP_CHECK) {
			if (!join(g, v))
				settle(g, v);
		} else if (n->nsrc != 1 || !join_view(g, v)) {
			settle(g, v);
		}
	}
	return !g->arena->failed;
}
