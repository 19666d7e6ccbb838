// What the pass threads decides: who shares what.
// In:  a kernel at the free level and the target. Out: choices; the kernel is only read.
// Threads next to one another should read neighbouring memory: rows that a reduction runs along are shared by
// threads, columns have a thread each. Then there should be threads enough to fill the device.
#include "pass/threads.h"

enum {
	VECTOR_WORK = 64,    // instructions of a body worth several elements a thread
	VECTOR_UNITS = 8192, // threads that are left then
	FEW_RESULTS = 2048,  // fewer do not fill a device: what they are made of is shared
	SHORT_ROW = 8,       // shorter ones are a thread's
	EACH = 4,            // elements of a row that a thread should have, in a group of a warp
	EACH_OF_BLOCK = 8,   // in a block
	AGAIN = 4096,        // terms that every block may reduce again
	MUCH = 1 << 17,      // terms of all columns that are worth taking some at once,
	MOST_SUMS = 8,       // at most so many
	FILL = 512,          // threads a multiprocessor
};

static int power_of_two(int64_t n) // at least n
{
	int p = 1;
	while (p < n && p < MAX_THREADS)
		p *= 2;
	return p;
}

// ---- nests

static bool known_outside(const struct kernel *k, int first, int loop)
{
	int region = k->insts[k->loops[first].inst].region;
	return kernel_region_within(k, region, k->insts[k->loops[loop].lo].region) &&
	       kernel_region_within(k, region, k->insts[k->loops[loop].hi].region);
}

// Loops whose iterations share scratch and others do not meet in one nest; such a one ends with the last of
// them.
void threads_axes(const struct kcopy *cp, int loop, struct axes *a)
{
	const struct threads *s = cp->user;
	int first = loop, last = 0;
	int64_t n;
	*a = (struct axes){.total = 1};
	for (; loop >= 0 && a->count < TILE_AXES; loop = tile_inner(cp, loop)) {
		bool known = kernel_trip(cp->from, loop, &n);
		if ((a->count && !known) || !known_outside(cp->from, first, loop) ||
		    (s->tile.whole[loop] && !s->tile.whole[first]))
			break;
		a->loop[a->count] = loop;
		a->n[a->count++] = known ? n : -1;
		last = s->tile.whole[loop] ? a->count : last;
		if (!known)
			break;
	}
	a->count = last ? last : a->count;
	for (int i = 0; i < a->count; i++)
		a->total = a->n[i] < 0 ? -1 : a->total * a->n[i];
}

// ---- what a nest's body does

struct content {
	bool par, red, ordered;    // ordered: loops that store one after the other
	int64_t longest;           // of its PAR and RED loops
	bool along_red, along_par; // memory is read contiguously along reductions, along the nest's last axis
	int bytes;                 // of the widest element that the last axis goes along; 0: none
	int loaded;                // of the narrowest that is loaded so
};

static void look_at_access(const struct kernel *k, int v, int red, int last, struct content *c)
{
	int64_t stride;
	int at = kernel_src(k, v, 0), bytes = (int)tgc_type_bytes(k->bufs[k->insts[v].aux].type);
	if (kernel_stride(k, at, last, &stride) && (stride == 1 || stride == -1)) {
		c->along_par |= k->insts[v].op == K_LOAD;
		c->bytes = stride == 1 && bytes > c->bytes ? bytes : c->bytes;
		if (stride == 1 && k->insts[v].op == K_LOAD && (!c->loaded || bytes < c->loaded))
			c->loaded = bytes;
	}
	for (; red >= 0 && k->insts[v].op == K_LOAD; red = tile_chained(k, red))
		c->along_red |= kernel_stride(k, at, red, &stride) && (stride == 1 || stride == -1);
}

// red: the outermost reduction around, -1.
static void look(const struct kernel *k, int region, int red, int last, struct content *c)
{
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i];
		const struct kinst *in = &k->insts[v];
		if (in->op == K_LOAD || in->op == K_STORE)
			look_at_access(k, v, red, last, c);
		if (in->op != K_FOR)
			continue;
		const struct kloop *l = &k->loops[in->aux];
		bool is_red = l->kind == AXIS_RED;
		int64_t n = is_red ? tile_terms(k, in->aux) : l->kind == AXIS_PAR ? tile_trip(k, in->aux) : 0;
		c->red |= is_red;
		c->par |= l->kind == AXIS_PAR;
		c->ordered |= l->kind == AXIS_SERIAL && kernel_region_stores(k, l->body);
		c->longest = n > c->longest ? n : c->longest;
		look(k, l->body, is_red && red < 0 ? in->aux : red, last, c);
	}
}

// ---- choices

// A part of a segment has no constant length: what is left of it are single elements.
static int vector_of(const struct threads *s, const struct axes *a, const struct content *c, int body)
{
	int v = c->bytes ? s->tile.t->vector_bytes / c->bytes : 1;
	int64_t least = s->place == IN_GRID ? VECTOR_UNITS : s->width, total = a->total;
	bool whole = a->count == 1 || a->n[a->count - 1] % v == 0;
	if (total < 0 && s->tile.k->nsegs)
		total = tile_trip(s->tile.k, a->loop[0]);
	if (c->par || c->red || c->ordered || !whole || total / v < least ||
	    kernel_region_work(s->tile.k, body) > VECTOR_WORK)
		return 1;
	return v;
}

static struct spread share_row(const struct threads *s, const struct axes *a, const struct content *c)
{
	struct spread flat = {.kind = SPREAD_FLAT, .vector = 1};
	bool inside = s->place == IN_BLOCK;
	bool few = a->total * WARP < (int64_t)s->tile.t->processors * BLOCK_THREADS;
	int w = power_of_two((c->longest + EACH - 1) / EACH);
	if (inside && a->total >= s->threads)
		return flat;
	if (inside && w > WARP && a->total * WARP >= s->threads)
		w = WARP;
	if (!inside && w > WARP && c->longest <= 4096 && !few)
		w = WARP;
	while (inside && w < WARP && w < c->longest && a->total * w * 2 <= s->threads)
		w *= 2;
	if (w < 2)
		return flat;
	if (w <= WARP && !(few && c->longest > 4 * WARP && !inside))
		return (struct spread){.kind = SPREAD_ROWS, .width = w, .vector = 1};
	int t = power_of_two((c->longest + EACH_OF_BLOCK - 1) / EACH_OF_BLOCK);
	return (struct spread){.kind = SPREAD_BLOCKS, .width = t < 2 * WARP ? 2 * WARP : t, .vector = 1};
}

// Sums of columns: a thread has some columns that lie together, and every so manyth row; threads that share those
// columns add up then. vector 0: the columns do not lie so.
static struct spread share_columns(const struct threads *s, const struct axes *a, const struct content *c)
{
	int v = c->loaded ? s->tile.t->vector_bytes / c->loaded : 1, w = 1;
	v = v < MOST_SUMS ? v : MOST_SUMS;
	if (v < 2 || a->n[a->count - 1] % v || s->place != IN_GRID || a->total * c->longest < MUCH)
		return (struct spread){.vector = 0};
	int64_t units = a->total / v, fill = (int64_t)s->tile.t->processors * FILL;
	while (w < BLOCK_THREADS && 2 * w * units <= fill && 2 * w * EACH <= c->longest)
		w *= 2;
	return (struct spread){.kind = w == 1      ? SPREAD_FLAT
	                               : w <= WARP ? SPREAD_ROWS
	                                           : SPREAD_BLOCKS,
	                       .width = w,
	                       .vector = v};
}

struct spread threads_spread(struct threads *s, const struct axes *a)
{
	const struct kernel *k = s->tile.k;
	struct content c = {0};
	int last = a->loop[a->count - 1], body = k->loops[last].body;
	if (s->tile.whole[a->loop[0]])
		return (struct spread){.kind = SPREAD_BLOCKS, .width = s->threads, .vector = 1};
	look(k, body, -1, last, &c);
	struct spread flat = {.kind = SPREAD_FLAT, .vector = vector_of(s, a, &c, body)};
	if ((!c.par && !c.red) || c.ordered || s->place == IN_ROW || a->total < 0 || c.longest < SHORT_ROW)
		return flat;
	bool columns = !c.along_red || c.along_par;
	if (!c.par && columns) {
		struct spread how = share_columns(s, a, &c);
		if (how.vector)
			return how;
	}
	if (!c.par && columns && a->total >= (s->place == IN_GRID ? FEW_RESULTS : s->threads))
		return flat;
	return share_row(s, a, &c);
}

// Neighbours along the reduction that a thread takes as one access; the loops that store along the same rows give it
// the same elements (strided), so that their values may stay in registers.
static int packed(const struct threads *s, int loop, const struct content *c)
{
	int64_t n, v = c->bytes ? s->tile.t->vector_bytes / c->bytes : 1;
	bool fits = kernel_trip(s->tile.k, loop, &n) && n % v == 0 && n >= v * s->width;
	return fits && c->along_par && v > 1 ? (int)v : 0;
}

// The loop of the chain that reads contiguous memory and has an iteration for every thread, if there is one.
void threads_lanes_of_red(struct threads *s, int loop)
{
	const struct kernel *k = s->tile.k;
	int best = -1, width = s->width;
	int64_t most = 0;
	s->tile.packed = 0;
	bool enough = tile_terms(k, loop) >= (width > WARP ? 2 * WARP : 2);
	for (int l = loop; l >= 0; l = tile_chained(k, l)) {
		struct content c = {0};
		int64_t n,
		    score = 0; // of bounds that differ from row to row the verifier could not follow the index
		if (kernel_apart(k, l, &n))
			score = n < width ? n : width;
		look(k, k->loops[l].body, -1, l, &c);
		score *= c.along_par ? 4 : 1;
		s->tile.lane[l] = false;
		s->tile.width[l] = width;
		if (score > most)
			s->tile.packed = packed(s, l, &c);
		best = score > most ? l : best;
		most = score > most ? score : most;
	}
	if (best >= 0 && enough && width > 1)
		s->tile.lane[best] = true;
}

int threads_one_block(const struct threads *s, int region)
{
	const struct kernel *k = s->tile.k;
	const struct kregion *r = &k->regions[region];
	int64_t terms = 0;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR && k->loops[in->aux].kind == AXIS_RED)
			terms += tile_terms(k, in->aux);
	}
	if (terms <= AGAIN)
		return 0;
	return terms >= 2 * AGAIN ? MAX_THREADS : BLOCK_THREADS;
}

int threads_of_flat(const struct threads *s, int64_t units)
{
	int t = BLOCK_THREADS;
	while (t > WARP && units < (int64_t)2 * t * s->tile.t->processors)
		t /= 2;
	return t;
}
