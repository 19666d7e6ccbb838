// Loops around the roots of a group: nests of PAR loops, each a phase.
// In:  a group. Out: phases. Roots of one shape, and rows beside their elements, share a nest; what fits no
// other root's axes gets a phase of its own, after which it can be read like any buffer.
// Any one-to-one map from loops to elements is right, because values are pulled; the maps chosen here make
// roots share what they have in common.
#include "lower.h"

static bool map_exact(const struct lower *lo, const struct lower_nest *nest, const struct pnode *first,
                      struct lower_root *r)
{
	const struct pnode *n = NODE(lo, r->node);
	if (n->rank != first->rank)
		return false;
	for (int a = 0; a < n->rank; a++) {
		r->axis_of[a] = n->dims[a].n == 1 ? -1 : nest->roots[0].axis_of[a];
		if (n->dims[a].n != 1 && n->dims[a].n != first->dims[a].n)
			return false;
	}
	return true;
}

// Its axes are the nest's first ones.
static bool map_prefix(const struct lower *lo, const struct lower_nest *nest, struct lower_root *r)
{
	const struct pnode *n = NODE(lo, r->node);
	int axis = 0;
	for (int a = 0; a < n->rank; a++) {
		r->axis_of[a] = -1;
		if (n->dims[a].n == 1)
			continue;
		if (axis == nest->naxes || nest->size[axis] != n->dims[a].n)
			return false;
		r->axis_of[a] = axis++;
	}
	return true;
}

static bool map_root(struct lower *lo, const struct lower_nest *nest, struct lower_root *r)
{
	const struct prog *p = &lo->plan->prog;
	const struct pnode *first = NODE(lo, nest->roots[0].node);
	if (map_exact(lo, nest, first, r) || map_prefix(lo, nest, r))
		return true;
	r->linear = !lo->shared && prog_elems(p, r->node) == prog_elems(p, nest->roots[0].node);
	return r->linear;
}

static void first_axes(struct lower *lo, struct lower_nest *nest)
{
	struct lower_root *r = &nest->roots[0];
	const struct pnode *n = NODE(lo, r->node);
	for (int a = 0; a < n->rank; a++) {
		r->axis_of[a] = -1;
		if (n->dims[a].n == 1)
			continue;
		nest->size[nest->naxes] = n->dims[a].n;
		r->axis_of[a] = nest->naxes++;
	}
}

static struct lower_root root_of(const struct lower *lo, int i)
{
	int node = lo->group->roots[i], buf = lo->group->root_bufs[i];
	if (plan_is_part(lo->plan, lo->group, i))
		return (struct lower_root){.node = NODE(lo, node)->src[0], .buf = buf, .sum = node};
	return (struct lower_root){.node = node, .buf = buf, .sum = -1};
}

// A nest of the largest root that is left and of all that fit it.
static void gather(struct lower *lo, const bool *done, struct lower_nest *nest, int *which)
{
	const struct group *g = lo->group;
	int64_t most = -1;
	for (int i = 0; i < g->nroots; i++) {
		int64_t n = prog_elems(&lo->plan->prog, root_of(lo, i).node);
		if (done[i] || n <= most)
			continue;
		most = n;
		which[0] = i;
	}
	nest->roots[0] = root_of(lo, which[0]);
	nest->nroots = 1;
	first_axes(lo, nest);
	for (int i = 0; i < g->nroots; i++) {
		struct lower_root r = root_of(lo, i);
		if (done[i] || i == which[0] || !map_root(lo, nest, &r))
			continue;
		which[nest->nroots] = i;
		nest->roots[nest->nroots++] = r;
	}
}

// ---- emission

static void root_index(struct lower *lo, const struct lower_nest *nest, const struct lower_root *r,
                       const int *axis, int *idx)
{
	const struct pnode *n = NODE(lo, r->node);
	if (r->linear) {
		struct dim d[LOWER_RANK];
		int at;
		for (int a = 0; a < nest->naxes; a++)
			d[a] = (struct dim){.n = nest->size[a]};
		lower_linear(lo, nest->naxes, d, axis, &at);
		lower_unravel(lo, n->rank, n->dims, at, idx);
		return;
	}
	for (int a = 0; a < n->rank; a++)
		idx[a] = r->axis_of[a] < 0 ? kb_int(&lo->b, 0) : axis[r->axis_of[a]];
}

// A loop over the block's rows counts from the block's first one.
static void into_block(struct lower *lo, int *axis, const struct lower_nest *nest, int from, int to)
{
	for (int i = from; i < to && lo->shared; i++)
		if (nest->order[i] == lo->shared - 1)
			axis[lo->shared - 1] = kb_iadd(&lo->b, axis[lo->shared - 1], lo->block[lo->shared - 1]);
}

static int open_loop(struct lower *lo, struct lower_nest *nest, int at, int *axis, int *end)
{
	int64_t total = nest->size[nest->order[at]];
	for (*end = at + 1; *end < nest->naxes && nest->merges >> *end & 1; ++*end)
		total *= nest->size[nest->order[*end]];
	enum axis_kind kind = lower_sums(nest) && at == lo->shared - 1 && !lo->dry ? AXIS_SERIAL : AXIS_PAR;
	int loop = kb_for(&lo->b, kind, kb_int(&lo->b, 0), kb_int(&lo->b, total), 0, NULL, NULL);
	int v = kb_index(&lo->b, loop);
	for (int i = *end - 1; i > at; i--) {
		axis[nest->order[i]] = kb_imod(&lo->b, v, nest->size[nest->order[i]]);
		v = kb_idiv(&lo->b, v, nest->size[nest->order[i]]);
	}
	axis[nest->order[at]] = v;
	nest->loop[nest->order[at]] = loop;
	into_block(lo, axis, nest, at, *end);
	return loop;
}

static int value_of(struct lower *lo, const struct lower_nest *nest, const struct lower_root *r,
                    const int *axis)
{
	int idx[LOWER_RANK];
	if (r->partial)
		lo->chunk = kb_iadd(&lo->b, axis[0], kb_int(&lo->b, nest->chunk_from));
	root_index(lo, nest, r, axis, idx);
	int v = lower_value(lo, r->node, idx);
	lo->chunk = K_NONE;
	return v;
}

static void store(struct lower *lo, const struct lower_nest *nest, const struct lower_root *r, const int *axis,
                  int value)
{
	const struct pnode *n = NODE(lo, r->node);
	const struct pbuf *p = &lo->plan->bufs[r->buf];
	int idx[LOWER_RANK], at, buf = lower_buf(lo, r->buf);
	root_index(lo, nest, r, axis, idx);
	if (r->sum >= 0) {
		lower_part_add(lo, r, idx, value);
		return;
	}
	if (r->partial) {
		int64_t elems = lower_linear(lo, n->rank, n->dims, idx, &at);
		at =
		    kb_affine(&lo->b, elems * nest->chunk_from, 2, (int64_t[]){elems, 1}, (int[]){axis[0], at});
	} else {
		at = n->rank ? lower_at(lo, p, idx) : kb_int(&lo->b, 0);
		at = lower_block_at(lo, r->node, at, p);
	}
	kb_store(&lo->b, buf, at, value, lo->guard, lo->k->bufs[buf].segmented ? lo->seg : K_NONE);
}

static void values_at(struct lower *lo, const struct lower_nest *nest, int level, const int *axis, int *value)
{
	for (int i = 0; i < nest->nroots; i++)
		if (nest->roots[i].level == level)
			value[i] = value_of(lo, nest, &nest->roots[i], axis);
}

static void stores_at(struct lower *lo, const struct lower_nest *nest, int level, const int *axis,
                      const int *value)
{
	for (int i = 0; i < nest->nroots; i++)
		if (nest->roots[i].level == level)
			store(lo, nest, &nest->roots[i], axis, value[i]);
}

bool lower_sums(const struct lower_nest *nest)
{
	for (int i = 0; i < nest->nroots; i++)
		if (nest->roots[i].sum >= 0)
			return true;
	return false;
}

// All values are taken before the first store, so that a root may overwrite what another one reads at the
// same place.
void lower_emit(struct lower *lo, struct lower_nest *nest)
{
	int axis[LOWER_RANK], loops[LOWER_RANK], levels[LOWER_RANK + 1], nloops = 0, at = 0;
	int *value = ARENA_ARRAY(&lo->arena, int, nest->nroots);
	if (!value)
		return;
	lo->home = lo->b.region;
	lower_forget(lo);
	for (; !lo->dry && at < lo->shared - 1; at++)
		axis[at] = lo->block[at];
	for (int i = 0; i < nest->nroots && !lo->dry; i++)
		if (nest->roots[i].sum >= 0)
			lower_part_clear(lo, &nest->roots[i]);
	while (at < nest->naxes) {
		levels[nloops] = at;
		values_at(lo, nest, at, axis, value);
		loops[nloops++] = open_loop(lo, nest, at, axis, &at);
		if (nloops == 1)
			lo->home = lo->b.region;
	}
	values_at(lo, nest, at, axis, value);
	stores_at(lo, nest, at, axis, value);
	while (nloops--) {
		kb_end(&lo->b, loops[nloops], NULL);
		stores_at(lo, nest, levels[nloops], axis, value);
	}
	lower_forget(lo);
}

static void phase(struct lower *lo, struct lower_nest *nest)
{
	if (lo->k->nphases == TG_COUNT(lo->k->phases)) {
		lower_fail(lo, "a group needs more than %d phases", TG_COUNT(lo->k->phases));
		return;
	}
	kbuild_init(&lo->b, lo->k, kernel_phase(lo->k));
	lower_pre(lo);
	lower_emit(lo, nest);
	kbuild_done(&lo->b);
}

// ---- a split reduction: chunks first

// Its nest: the chunks, then main's axes. Afterwards main comes from the scratch buffer.
static int64_t choose_chunks(struct lower *lo, struct lower_root *root, struct lower_nest *nest)
{
	const struct group *g = lo->group;
	const struct pnode *n = NODE(lo, g->main);
	*root = (struct lower_root){.node = g->main, .buf = g->scratch_buf, .partial = true, .sum = -1};
	*nest = (struct lower_nest){.naxes = 1, .size = {g->split}, .nroots = 1, .roots = root};
	for (int a = 0; a < n->rank; a++) {
		root->axis_of[a] = n->dims[a].n == 1 ? -1 : nest->naxes;
		if (n->dims[a].n != 1)
			nest->size[nest->naxes++] = n->dims[a].n;
	}
	bool own = lo->own[g->main];
	lo->own[g->main] = true;
	lo->chunk_len = 1;
	lower_choose(lo, nest);
	lo->own[g->main] = own;
	int64_t extent = lower_split_extent(lo);
	lo->chunk_len = (extent + g->split - 1) / g->split;
	lo->chunks = (extent + lo->chunk_len - 1) / lo->chunk_len;
	if (extent < 2)
		lower_fail(lo, "pnode %d has no axis that can be split", g->main);
	return extent;
}

void lower_chunks(struct lower *lo)
{
	struct lower_root root;
	struct lower_nest nest;
	lo->combine = false;
	if (lo->group->rows) // parts, which blocks of rows left
		lo->chunks = lo->group->split;
	else
		choose_chunks(lo, &root, &nest);
	lo->combine = true;
	lo->counted[lo->group->main] = true; // where the chunks are
}

// Whole chunks, then what is left: so every range is known.
static void partials(struct lower *lo)
{
	struct lower_root root;
	struct lower_nest nest;
	int64_t extent = choose_chunks(lo, &root, &nest);
	bool own = lo->own[root.node];
	lo->own[root.node] = true;
	nest.size[0] = extent / lo->chunk_len;
	phase(lo, &nest);
	if (extent % lo->chunk_len) {
		nest.chunk_from = nest.size[0];
		nest.size[0] = 1;
		phase(lo, &nest);
		lo->k->beside[lo->k->nphases - 1] = true; // every chunk has a place of its own
	}
	lo->own[root.node] = own;
	lo->combine = true;
}

void lower_left(struct lower *lo, bool *done)
{
	const struct group *g = lo->group;
	int *which = ARENA_ARRAY(&lo->arena, int, g->nroots), left = 0;
	struct lower_root *roots = ARENA_ARRAY(&lo->arena, struct lower_root, g->nroots);
	if (!which || !roots)
		return;
	for (int i = 0; i < g->nroots; i++)
		left += !done[i];
	while (left > 0 && !lo->error && !lo->k->arena.failed) {
		struct lower_nest nest = {.roots = roots};
		gather(lo, done, &nest, which);
		if (lo->shared)
			nest.size[lo->shared - 1] = lo->rows;
		lower_choose(lo, &nest);
		if (lo->shared || lo->inside)
			lower_emit(lo, &nest);
		else
			phase(lo, &nest);
		for (int i = 0; i < nest.nroots; i++) {
			if (nest.roots[i].level < 0)
				continue;
			done[which[i]] = true;
			lo->own[g->roots[which[i]]] = false;
			left--;
		}
	}
}

void lower_nests(struct lower *lo)
{
	bool *done = ARENA_ARRAY(&lo->arena, bool, lo->group->nroots);
	if (!done)
		return;
	if (lo->group->half == HALF_FINISH)
		lower_chunks(lo);
	else if (lo->group->split > 1)
		partials(lo);
	if (lo->group->half != HALF_CHUNKS)
		lower_left(lo, done);
}
