// What is stored, and by which group: one walk against the topological order.
// In:  vals and groups of group.c. Out: vals[].stored, group of stored free values, groups[].nroots, further
// MAP groups. Every value a group takes from a buffer is stored by a group before it (by level, then sub). A
// value that several groups want is computed again in each, or stored, whichever is estimated faster; so is one
// that left its group: its operands may be read instead. Not here: buffers and steps (schedule.c).
#include "plan.h"

enum { MAX_PULLS = 6, MAX_ROOTS = 12, MAX_OPS = 64, MAX_CUT = 16 };

struct pull {
	int32_t group;
	uint8_t at; // index it is wanted at
};
struct pulls { // groups that want a value
	int n;
	bool many; // more than are listed
	struct pull p[MAX_PULLS];
};
struct storing {
	struct grouping *g;
	struct pulls *pulls; // by pnode
	bool *abroad;        // by pnode: another group uses it, perhaps behind movement
};

static void add(struct pulls *l, int group, int at)
{
	for (int i = 0; i < l->n; i++) {
		if (l->p[i].group == group) {
			l->p[i].at = l->p[i].at ? l->p[i].at : (uint8_t)at;
			return;
		}
	}
	if (l->n == MAX_PULLS)
		l->many = true;
	else
		l->p[l->n++] = (struct pull){group, (uint8_t)at};
}

static int others(const struct pulls *l, int group)
{
	int n = l->many ? 2 : 0;

	for (int i = 0; i < l->n; i++)
		n += l->p[i].group != group;
	return n;
}

// The index of operand k if node is wanted at `at` in `group`.
static int pass_at(const struct grouping *g, int node, int group, int at)
{
	const struct prog *p = g->prog;
	const struct pnode *n = &p->nodes[node];
	const struct gbuild *a = &g->groups[group];

	if (at == AT_NONE)
		return AT_NONE;
	if (op_is_elementwise(n->op) || n->op == OP_CHECK)
		return at;
	if (op_info[n->op].cls == CLASS_REDUCE)
		return at == AT_ROW && a->resident && same_space(p, a->space, n->src[0]) ? AT_FULL : AT_NONE;
	if (n->op == OP_RESHAPE)
		return same_space(p, node, n->src[0]) ? at : AT_NONE;
	if (n->op == OP_EXPAND && at == AT_FULL && g->vals[node].group >= 0 &&
	    g->vals[n->src[0]].at == AT_ROW && group_find(g, g->vals[n->src[0]].group) == group)
		return AT_ROW;
	return AT_NONE;
}

static void pass(struct storing *s, int node, int group, int at)
{
	const struct pnode *n = &s->g->prog->nodes[node];
	int below = pass_at(s->g, node, group, at);

	for (int k = 0; k < n->nsrc; k++)
		add(&s->pulls[n->src[k]], group, below);
}

static void pass_all(struct storing *s, int node, const struct pulls *l)
{
	const struct pnode *n = &s->g->prog->nodes[node];

	for (int i = 0; i < l->n; i++)
		pass(s, node, l->p[i].group, l->p[i].at);
	for (int k = 0; k < n->nsrc && l->many; k++)
		s->pulls[n->src[k]].many = true;
}

// ---- estimates ----------------------------------------------------------------------------------------------
static double node_bytes(const struct prog *p, int node)
{
	return (double)prog_elems(p, node) * (double)tgc_type_bytes((tgc_type)p->nodes[node].type);
}

// Elementwise code seldom multiplies and adds at once, nor fills every port: a quarter of the peak.
static double time_ns(const struct grouping *g, double bytes, double flops)
{
	double b = bytes / g->target->bandwidth, f = 4 * flops / g->target->flops;

	return b > f ? b : f;
}

static bool is_source(const struct grouping *g, int node)
{
	return op_info[g->prog->nodes[node].op].cls == CLASS_SOURCE && g->prog->nodes[node].op != OP_RANDOM;
}

struct cut { // values between which and the one in question all is computed again
	int n;
	int32_t node[MAX_CUT];
	double flops; // an element, of what is computed again
};

// What a group takes as it finds it: behind movement of its own.
static int moved_from(const struct grouping *g, int x)
{
	while (op_info[g->prog->nodes[x].op].cls == CLASS_MOVE && g->prog->nodes[x].nsrc == 1 &&
	       g->vals[x].group >= 0)
		x = g->prog->nodes[x].src[0];
	return x;
}

// Puts the operands of cut->node[at] in its place; false: there are too many.
static bool widen_cut(const struct grouping *g, struct cut *cut, int at)
{
	const struct pnode *n = &g->prog->nodes[cut->node[at]];

	cut->flops += op_flops(n->op, (tgc_type)n->type);
	cut->node[at] = cut->node[--cut->n];
	for (int i = 0; i < n->nsrc; i++) {
		int x = moved_from(g, n->src[i]), k = 0;

		while (k < cut->n && cut->node[k] != x)
			k++;
		if (k == MAX_CUT)
			return false;
		cut->node[k] = x;
		cut->n += k == cut->n;
	}
	return true;
}

// What k groups read and compute of it; what only this cut wants must be written too. Of deep ones not all users
// have been met.
static double cut_ns(const struct storing *s, const struct cut *cut, int group, int k, double elems, bool deep)
{
	const struct grouping *g = s->g;
	double bytes = 0, flops = cut->flops;

	for (int i = 0; i < cut->n; i++) {
		int x = cut->node[i];

		if (g->vals[x].group < 0) {
			bytes += k * g->vals[x].bytes;
			flops += g->vals[x].flops;
		} else if (g->vals[x].must || others(&s->pulls[x], group) || (deep && s->abroad[x])) {
			bytes += k * node_bytes(g->prog, x);
		} else {
			bytes += (1 + k) * node_bytes(g->prog, x);
		}
	}
	return time_ns(g, bytes, k * flops * elems);
}

// The last value of the cut that the group computes, of the same shape as v, and nobody stores anyway; -1.
static int deepest(const struct grouping *g, const struct cut *cut, int group, int v)
{
	int best = -1;

	for (int i = 0; i < cut->n; i++) {
		int x = cut->node[i];

		if (g->vals[x].group >= 0 && group_find(g, g->vals[x].group) == group && !g->vals[x].must &&
		    !g->vals[x].flag && op_is_elementwise(g->prog->nodes[x].op) && same_space(g->prog, x, v) &&
		    (best < 0 || x > cut->node[best]))
			best = i;
	}
	return best;
}

// Value of a group, wanted by k others: is it faster for them to compute it again, from what it is made of?
static bool lifts(const struct storing *s, int v, int group, int k)
{
	const struct grouping *g = s->g;
	const struct prog *p = g->prog;
	const struct pnode *n = &p->nodes[v];
	double elems = (double)prog_elems(p, v), store = time_ns(g, (1 + k) * node_bytes(p, v), 0);
	struct cut cut = {.n = 1, .node = {v}};
	int at = 0;

	if (op_info[n->op].cls == CLASS_MOVE)
		return !layout_is_copy(p, v);
	if (g->target->halves && prog_widens(p, v))
		return true;
	if (!op_is_elementwise(n->op) || g->vals[v].need || g->vals[v].flag)
		return false;
	for (int i = 0; i < g->target->again_ops && at >= 0; i++) {
		if (!widen_cut(g, &cut, at) || cut.flops > 2 * g->target->again_ops)
			return false;
		if (cut_ns(s, &cut, group, k, elems, i > 0) < 0.75 * store)
			return true;
		at = deepest(g, &cut, group, v);
	}
	return false;
}

// A free value wanted by k groups: is it faster to store it? `extra`: a kernel of its own is needed.
static bool pays(const struct grouping *g, int v, int k, bool extra, const char **why)
{
	const struct gvalue *x = &g->vals[v];
	double elems = (double)prog_elems(g->prog, v), out = node_bytes(g->prog, v), again, store;

	again = k * time_ns(g, x->bytes, x->flops * elems);
	store = time_ns(g, x->bytes + out, x->flops * elems) + (extra ? g->target->launch_ns : 0) +
	        (extra ? k : k - 1) * time_ns(g, out, 0);
	if (store >= 0.75 * again)
		return false;
	*why = arena_printf(&g->plan->arena, "estimate for %d users: stored %.4g us, computed again %.4g us", k,
	                    1e-3 * store, 1e-3 * again);
	return true;
}

// ---- homes of stored free values ----------------------------------------------------------------------------
static bool takes_root(const struct gbuild *a, int at)
{
	if (a->nroots >= MAX_ROOTS)
		return false;
	switch (a->kind) {
	case GROUP_MAP:
	case GROUP_CONTRACT:
		return at == AT_FULL;
	case GROUP_REDUCE:
		return at == AT_ROW || (at == AT_FULL && a->resident);
	default:
		return false;
	}
}

// The first of the groups that want v, if v can be one more root of it; -1 otherwise.
static int first_taker(const struct grouping *g, const struct pulls *l, int *at)
{
	int best = -1;

	for (int i = 0; i < l->n; i++)
		if (best < 0 || group_before(&g->groups[l->p[i].group], &g->groups[l->p[best].group]))
			best = i;
	if (best < 0 || l->many || !takes_root(&g->groups[l->p[best].group], l->p[best].at))
		return -1;
	*at = l->p[best].at;
	return l->p[best].group;
}

// A MAP group over the same data and shape that comes before everybody who wants v.
static int sibling(const struct grouping *g, int v, const struct pulls *l)
{
	const struct gvalue *x = &g->vals[v];
	int at = x->base < 0 || l->many ? -1 : group_find(g, g->map_of[x->base]);
	const struct gbuild *a = at < 0 ? NULL : &g->groups[at];

	if (!a || a->kind != GROUP_MAP || a->level < x->level || a->ops + x->ops > MAX_OPS ||
	    !takes_root(a, AT_FULL) || !same_space(g->prog, a->space, v))
		return -1;
	for (int i = 0; i < l->n; i++)
		if (l->p[i].group != at && !group_before(a, &g->groups[l->p[i].group]))
			return -1;
	return at;
}

static void store_in(struct storing *s, int v, int group, int at)
{
	struct grouping *g = s->g;

	g->vals[v].group = group;
	g->vals[v].at = (uint8_t)at;
	g->vals[v].stored = true;
	g->groups[group].nroots++;
	pass(s, v, group, at);
}

static void free_value(struct storing *s, int v)
{
	struct grouping *g = s->g;
	struct gvalue *x = &g->vals[v];
	struct pulls *l = &s->pulls[v];
	int cls = op_info[g->prog->nodes[v].op].cls, at = AT_NONE, home, k = l->many ? MAX_PULLS + 2 : l->n;
	const char *why = NULL;
	bool worth;

	home = first_taker(g, l, &at);
	worth = k > 1 && cls != CLASS_MOVE && !is_source(g, v) && prog_elems(g->prog, v) >= 64 &&
	        !(g->target->halves && prog_widens(g->prog, v)) &&
	        pays(g, v, k, home < 0, &why);
	if (!x->must && !worth) {
		pass_all(s, v, l);
		return;
	}
	if (home < 0 || is_source(g, v)) {
		home = sibling(g, v, l);
		at = AT_FULL;
	}
	if (home < 0) {
		home = group_open(g, GROUP_MAP, -1, v, x->level, --g->sub);
		g->groups[home].why = why ? why : "an output";
		if (x->base >= 0)
			g->map_of[x->base] = home;
	}
	g->groups[home].ops += x->ops;
	store_in(s, v, home, at);
	if (is_source(g, v)) // others go on using it directly
		pass_all(s, v, l);
}

static void member(struct storing *s, int v)
{
	struct grouping *g = s->g;
	struct gvalue *x = &g->vals[v];
	struct pulls *l = &s->pulls[v];
	int home = group_find(g, x->group), k = others(l, home);

	x->group = home;
	if (x->must || (k && !lifts(s, v, home, k))) {
		store_in(s, v, home, x->at);
		return;
	}
	pass(s, v, home, x->at);
	if (k)
		pass_all(s, v, l);
}

static void look_abroad(struct storing *s)
{
	const struct grouping *g = s->g;
	const struct prog *p = g->prog;

	for (int v = p->n - 1; v >= 0; v--) {
		const struct pnode *n = &p->nodes[v];
		bool passes = s->abroad[v] && (op_info[n->op].cls == CLASS_MOVE || prog_widens(p, v));

		for (int k = 0; k < n->nsrc; k++)
			s->abroad[n->src[k]] |= passes || group_find(g, g->vals[v].group) !=
			                                      group_find(g, g->vals[n->src[k]].group);
	}
}

bool group_store(struct grouping *g)
{
	const struct prog *p = g->prog;
	struct storing s = {.g = g};

	s.pulls = ARENA_ARRAY(g->arena, struct pulls, p->n + 1);
	s.abroad = ARENA_ARRAY(g->arena, bool, p->n + 1);
	if (!s.pulls || !s.abroad)
		return false;
	look_abroad(&s);
	for (int v = p->n - 1; v >= 0; v--) {
		const struct pnode *n = &p->nodes[v];

		if (n->op == OP_VARIABLE || n->op == OP_DATA)
			continue;
		if (g->vals[v].group >= 0)
			member(&s, v);
		else
			free_value(&s, v);
	}
	return !g->arena->failed;
}
