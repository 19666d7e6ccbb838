// Program to plan: the list of stages, and what grouping found as groups and buffers of the plan.
// In:  a linearised program. Out: a plan whose kernels are not lowered yet.
// Not here: the decisions (group.c, group_store.c, layout.c), steps (order.c), memory (memory.c, remat.c).
#include "plan.h"

#include <stdlib.h>

struct plan *plan_new(const struct host_alloc *h)
{
	struct plan *p = host_realloc(h, NULL, 0, sizeof *p);

	if (p) {
		memset(p, 0, sizeof *p);
		arena_init(&p->arena, h);
	}
	return p;
}

void plan_free(struct plan *p)
{
	const struct host_alloc *h;

	if (!p)
		return;
	h = p->arena.host;
	arena_free(&p->arena);
	host_realloc(h, p, sizeof *p, 0);
}

int plan_buf(struct plan *p, int cls, int index, int node)
{
	const struct pnode *n = &p->prog.nodes[node];
	struct pbuf *b = &p->bufs[p->nbufs];
	int64_t stride = 1;

	*b = (struct pbuf){.cls = (uint8_t)cls,
	                   .type = n->type,
	                   .rank = n->rank,
	                   .index = index,
	                   .node = node,
	                   .bytes = prog_elems(&p->prog, node) * (int64_t)tgc_type_bytes((tgc_type)n->type),
	                   .first = -1,
	                   .last = -1};
	b->dims = arena_dup(&p->arena, n->dims, sizeof *b->dims * n->rank);
	b->strides = ARENA_ARRAY(&p->arena, int64_t, n->rank);
	for (int i = n->rank - 1; i >= 0 && !p->arena.failed; i--) {
		b->strides[i] = stride;
		stride *= n->dims[i].n;
	}
	return p->nbufs++;
}

static bool start(struct grouping *g, struct plan *p, const struct target *t, struct arena *scratch)
{
	int n = p->prog.n;

	*g = (struct grouping){.plan = p, .prog = &p->prog, .target = t, .arena = scratch};
	g->vals = ARENA_ARRAY(scratch, struct gvalue, n);
	g->groups = ARENA_ARRAY(scratch, struct gbuild, n);
	g->reduce_of = ARENA_ARRAY(scratch, int32_t, n);
	g->map_of = ARENA_ARRAY(scratch, int32_t, n);
	if (scratch->failed)
		return false;
	for (int i = 0; i < n; i++)
		g->vals[i].group = g->reduce_of[i] = g->map_of[i] = -1;
	return true;
}

struct ranked {
	const struct gbuild *b;
	int32_t at;
};

static int compare(const void *x, const void *y)
{
	const struct gbuild *a = ((const struct ranked *)x)->b, *b = ((const struct ranked *)y)->b;

	return group_before(a, b) ? -1 : group_before(b, a);
}

// Groups that store something, in order, with room for their roots; number[i] is group i's place.
static bool list_groups(const struct grouping *g, int32_t *number, struct arena *scratch)
{
	struct plan *p = g->plan;
	struct ranked *r = ARENA_ARRAY(scratch, struct ranked, g->ngroups + 1);
	int n = 0;

	if (!r)
		return false;
	for (int i = 0; i < g->ngroups; i++) {
		number[i] = -1;
		if (g->groups[i].into < 0 && g->groups[i].nroots > 0)
			r[n++] = (struct ranked){&g->groups[i], i};
	}
	qsort(r, (size_t)n, sizeof *r, compare);
	p->groups = ARENA_ARRAY(&p->arena, struct group, n + 1);
	for (int i = 0; i < n && !p->arena.failed; i++) {
		const struct gbuild *b = r[i].b;
		struct group *to = &p->groups[i];

		number[r[i].at] = i;
		*to = (struct group){.kind = b->kind, .main = b->main, .split = b->split, .scratch_buf = -1};
		to->roots = ARENA_ARRAY(&p->arena, int32_t, b->nroots);
		to->root_bufs = ARENA_ARRAY(&p->arena, int32_t, b->nroots);
		to->why = b->why ? b->why : "nothing more uses it";
	}
	p->ngroups = n;
	return !p->arena.failed;
}

static int flag_sites(const struct prog *p, int32_t *sites)
{
	int n = 0;

	for (int v = 0; v < p->n; v++) {
		int op = p->nodes[v].op;

		if (op != OP_GATHER && op != OP_SCATTER && op != OP_CHECK)
			continue;
		if (sites)
			sites[n] = v;
		n++;
	}
	return n;
}

bool plan_flag_sites(struct plan *p)
{
	p->nflags = flag_sites(&p->prog, NULL);
	p->flag_nodes = ARENA_ARRAY(&p->arena, int32_t, p->nflags);
	if (p->flag_nodes)
		flag_sites(&p->prog, p->flag_nodes);
	return p->flag_nodes != NULL;
}

static void flags(struct plan *p)
{
	if (!plan_flag_sites(p) || p->nflags == 0)
		return;
	p->bufs[p->nbufs++] = (struct pbuf){.cls = BUF_FLAGS,
	                                    .type = TGC_I32,
	                                    .rank = 1,
	                                    .node = -1,
	                                    .bytes = 4 * (int64_t)p->nflags,
	                                    .first = -1,
	                                    .last = -1};
	p->bufs[p->nbufs - 1].dims = arena_dup(&p->arena, &(struct dim){p->nflags, 0}, sizeof(struct dim));
	p->bufs[p->nbufs - 1].strides = arena_dup(&p->arena, &(int64_t){1}, sizeof(int64_t));
}

void plan_split(struct plan *p, struct group *g)
{
	const struct pnode *n = &p->prog.nodes[g->main];
	int at = plan_buf(p, BUF_ARENA, 0, g->main);
	struct pbuf *b = &p->bufs[at];

	b->node = -1;
	b->rank = 1;
	b->bytes *= g->split;
	b->dims = arena_dup(&p->arena, &(struct dim){prog_elems(&p->prog, g->main) * g->split, 0},
	                    sizeof(struct dim));
	b->strides = arena_dup(&p->arena, &(int64_t){1}, sizeof(int64_t));
	b->type = n->type;
	g->scratch_buf = at;
}

// Groups, their roots, and a buffer for each leaf, root, scratch; all roots in the arena for now.
static bool fill(const struct grouping *g, struct arena *scratch)
{
	struct plan *p = g->plan;
	struct prog *prog = &p->prog;
	int32_t *number = ARENA_ARRAY(scratch, int32_t, g->ngroups + 1);

	p->node_buf = ARENA_ARRAY(&p->arena, int32_t, prog->n);
	p->bufs =
	    ARENA_ARRAY(&p->arena, struct pbuf, prog->n + prog->nleaves + 5 * prog->nouts + g->ngroups + 2);
	if (!number || p->arena.failed || !list_groups(g, number, scratch))
		return false;
	for (int v = 0; v < prog->n; v++) {
		const struct pnode *n = &prog->nodes[v];

		p->node_buf[v] = -1;
		if (n->op == OP_VARIABLE || n->op == OP_DATA)
			p->node_buf[v] = plan_buf(p, BUF_LEAF, n->leaf, v);
	}
	for (int v = 0; v < prog->n; v++) {
		struct group *to;
		int at;

		if (!g->vals[v].stored)
			continue;
		to = &p->groups[number[g->vals[v].group]];
		at = plan_buf(p, BUF_ARENA, 0, v);
		to->roots[to->nroots] = v;
		to->root_bufs[to->nroots++] = at;
		if (op_info[prog->nodes[v].op].cls != CLASS_SOURCE || prog->nodes[v].op == OP_RANDOM)
			p->node_buf[v] = at;
	}
	for (int i = 0; i < p->ngroups; i++)
		if (p->groups[i].split > 1)
			plan_split(p, &p->groups[i]);
	flags(p);
	return !p->arena.failed;
}

static bool build(struct plan *p, const struct linear *l, const struct target *t, bool beside, struct arena *scratch)
{
	struct grouping g;

	if (!prog_copy(&p->prog, &p->arena, &l->prog))
		return false;
	for (int i = 0; i < p->prog.n; i++)
		p->prog.nodes[i].origin = i + 1;
	pass_argmax(&p->prog);
	pass_widen(&p->prog);
	pass_permute(&p->prog);
	pass_fma(&p->prog);
	prog_compact(&p->prog);
	layout_weights(&p->prog, t);
	if (p->arena.failed || !start(&g, p, t, scratch) || !group_build(&g) || !group_store(&g) ||
	    !fill(&g, scratch) || !group_merge(p, scratch) || !group_columns(p, t) || !group_chain(p, t, scratch) ||
	    !plan_order(p, scratch) || !layout_activations(p, scratch) || !plan_partial(p, t, scratch))
		return false;
	if (beside && (!plan_part(p, t) || !plan_beside(p, t, scratch) || !plan_halve(p, t, scratch)))
		return false;
	if (beside)
		plan_finish_parts(p);
	return plan_products(p, t) && plan_place(p) && !p->arena.failed;
}

// Within the memory budget, if there is one. false: MEMORY is recorded.
static bool fit(struct tgc_context *c, struct plan *p, const struct target *t, struct arena *scratch)
{
	int64_t budget = c->memory_budget_bytes, peak = p->peak_bytes;
	int steps = p->nsteps;

	if (budget > 0 && peak > budget) {
		if (!plan_fit(p, t, budget, scratch)) {
			context_fail(c, TGC_ERROR_MEMORY, "schedule", "out of memory");
			return false;
		}
		if (p->peak_bytes > budget) {
			context_fail(c, TGC_ERROR_MEMORY, "schedule",
			             "intermediate values need %lld bytes, %lld where they are computed again; "
			             "memory_budget_bytes is %lld: %lld too few",
			             (long long)peak, (long long)p->peak_bytes, (long long)budget,
			             (long long)(p->peak_bytes - budget));
			return false;
		}
		context_log(c, 'p', "memory: %d of %d steps run again, %lld bytes instead of %lld, budget %lld",
		            p->nsteps - steps, steps, (long long)p->peak_bytes, (long long)peak, (long long)budget);
	}
	c->stats.planned_peak_bytes = (uint64_t)p->peak_bytes;
	c->stats.planned_lower_bound_bytes = (uint64_t)p->lower_bound_bytes;
	return true;
}

// Steps that may have to run again stand alone.
struct plan *schedule_build(struct tgc_context *c, const struct linear *l, const struct target *t)
{
	struct plan *p = NULL;
	struct arena scratch;
	bool ok = false;

	arena_init(&scratch, &c->host);
	for (bool beside = true;; beside = false) {
		p = plan_new(&c->host);
		ok = p && build(p, l, t, beside, &scratch);
		if (!ok || !beside || c->memory_budget_bytes <= 0 || p->peak_bytes <= c->memory_budget_bytes)
			break;
		plan_free(p);
	}
	if (!ok)
		context_fail(c, TGC_ERROR_MEMORY, "schedule", "out of memory");
	ok = ok && fit(c, p, t, &scratch);
	arena_free(&scratch);
	if (ok)
		return p;
	plan_free(p);
	return NULL;
}
