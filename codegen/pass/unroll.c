// Pass unroll: short loops with constant bounds become straight code (the taps of a 3x3 window, say).
// Requires constant bounds; SERIAL and RED loops of 2 to 4 iterations that hold no longer loop.
// Keeps order, so values do not change by a bit. Runs after tile, which wants to see the reductions.
#include "codegen.h"

enum { MAX_TRIP = 4, MAX_CODE = 256, EXPANDED = 16 };

static bool short_loop(const struct kernel *k, int loop, int64_t *trip)
{
	int kind = k->loops[loop].kind;
	return (kind == AXIS_SERIAL || kind == AXIS_RED) && kernel_trip(k, loop, trip) && *trip >= 2 &&
	       *trip <= MAX_TRIP;
}

static bool replicates(int kind)
{
	return kind == AXIS_UNROLL || kind == AXIS_LANE;
}

// Instructions of the region once unrolled; more than MAX_CODE if a longer loop is inside.
static int64_t code_size(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	int64_t size = 0;
	for (int i = 0; i < r->n && size <= MAX_CODE; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int64_t trip = 1;
		if (in->op != K_FOR) {
			size += kernel_expands(in) ? EXPANDED : 1; // what `expand` will make of it counts
			continue;
		}
		const struct kloop *l = &k->loops[in->aux];
		if (!short_loop(k, in->aux, &trip) && !replicates(l->kind))
			return MAX_CODE + 1;
		if (l->kind == AXIS_UNROLL)
			kernel_trip(k, in->aux, &trip);
		size += l->kind == AXIS_LANE ? code_size(k, l->body) : trip * code_size(k, l->body);
	}
	return size;
}

// How often the loops around replicate what stands in this region.
static int64_t replicas(const struct kernel *k, int region)
{
	int64_t n = 1, trip;
	for (; k->regions[region].loop >= 0; region = k->regions[region].parent) {
		int loop = k->regions[region].loop;
		if (k->loops[loop].kind == AXIS_UNROLL && kernel_trip(k, loop, &trip))
			n *= trip;
	}
	return n;
}

static bool unroll(struct kcopy *cp, int loop)
{
	const struct kernel *k = cp->from;
	const struct kloop *l = &k->loops[loop];
	int64_t trip;
	if (!short_loop(k, loop, &trip) ||
	    code_size(k, l->body) * trip * replicas(k, k->regions[l->body].parent) > MAX_CODE)
		return false;
	int *values = ARENA_ARRAY(&cp->b->k->arena, int, 2 * l->ncarry + 1),
	    *next = values ? values + l->ncarry : NULL;
	if (!values)
		return true;
	for (int i = 0; i < l->ncarry; i++)
		values[i] = kcopy_value(cp, l->init[i]);
	for (int64_t at = 0; at < trip; at++) {
		kcopy_body(cp, loop, kb_int(cp->b, kernel_int(k, l->lo) + at), values, next);
		memcpy(values, next, sizeof *values * (size_t)l->ncarry);
	}
	for (int i = 0; i < l->ncarry; i++)
		kcopy_result(cp, loop, i, values[i]);
	return true;
}

void kpass_unroll(struct kernel *k, const struct target *t)
{
	(void)t;
	kernel_rebuild(k, unroll, NULL);
}
