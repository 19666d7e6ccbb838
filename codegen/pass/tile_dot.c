// What the pass tile decides for reductions that have the lanes themselves: a tile of dot products.
// In:  a perfect nest, and what varies with the lanes. Out: how many replicas of each of its loops.
// Each choice is weighed by what one step of it costs: multiplications, loads (one that crosses a cache line
// counts twice), and cache lines, of which neighbouring replicas share some (the taps of a window).
// Not here: lanes along the nest's own loops (tile_choose.c).
#include "pass/tile.h"

enum { MAX_LOADS = 16, MAX_LOOPS = 4, MOST = 8 };

struct dot {
	int nloads, nloops, carries;
	int loop[MAX_LOOPS]; // position in the nest
	int64_t trip[MAX_LOOPS];
	bool varies[MAX_LOADS][MAX_LOOPS]; // the load differs from replica to replica
	bool near[MAX_LOADS][MAX_LOOPS];   // by less than the lanes span
	int room, most;                    // registers; accumulators
	int unroll[MAX_LOOPS], best[MAX_LOOPS];
	double cost;
};

// Loads inside reductions that vary with the lanes; bounds of loops inside must not vary with the loop.
static bool collect(const struct tile *s, int region, const bool *vector, bool in_red, struct dot *d,
                    int *loads)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	bool uniform = true;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_LOAD && in_red && vector[r->insts[i]] && d->nloads < MAX_LOADS)
			loads[d->nloads++] = r->insts[i];
		if (in->op != K_FOR)
			continue;
		const struct kloop *l = &k->loops[in->aux];
		bool red = l->kind == AXIS_RED;
		d->carries = red && l->ncarry > d->carries ? l->ncarry : d->carries;
		uniform &= !s->scratch[l->lo] && !s->scratch[l->hi];
		uniform &= collect(s, l->body, vector, in_red || red, d, loads);
	}
	return uniform;
}

// Takes the nest's loop in, if a load stays the same over it.
static void consider(struct tile *s, const struct tile_axis *axis, int at, int body, int width,
                     const bool *vector, struct dot *d)
{
	int loads[MAX_LOADS], fixed = 0, to = d->nloops;
	int64_t stride;
	if (axis[at].n < 2)
		return;
	kernel_depends(s->k, axis[at].loop, s->scratch);
	d->nloads = 0;
	if (!collect(s, body, vector, false, d, loads))
		return;
	for (int i = 0; i < d->nloads; i++) {
		d->varies[i][to] = s->scratch[loads[i]];
		fixed += !d->varies[i][to];
		d->near[i][to] = d->varies[i][to] &&
		                 kernel_stride(s->k, kernel_src(s->k, loads[i], 0), axis[at].loop, &stride) &&
		                 stride > -width && stride < width;
	}
	if (fixed == 0 || fixed == d->nloads)
		return;
	d->loop[to] = at;
	d->trip[to] = axis[at].n;
	d->nloops++;
}

// Cycles a multiplication, with what is lost in tiles that are not full. 1e30: too large.
static double weigh(const struct tile *s, const struct dot *d)
{
	int tile = d->carries, fewest = MOST * MOST;
	double loads = 0, lines = 0, full = 1;
	for (int j = 0; j < d->nloops; j++) {
		int64_t tiles = (d->trip[j] + d->unroll[j] - 1) / d->unroll[j];
		tile *= d->unroll[j];
		full *= (double)(tiles * d->unroll[j]) / (double)d->trip[j];
	}
	for (int i = 0; i < d->nloads; i++) {
		int n = 1, apart = 1, across = 0;
		for (int j = 0; j < d->nloops; j++) {
			n *= d->varies[i][j] ? d->unroll[j] : 1;
			apart *= d->varies[i][j] && !d->near[i][j] ? d->unroll[j] : 1;
			across |= d->near[i][j];
		}
		loads += n * (across ? 1 : 0.5);
		lines += apart * 1.5;
		fewest = n < fewest ? n : fewest;
	}
	if (tile > d->most || tile + fewest + 2 > d->room)
		return 1e30;
	double cost = (double)tile / s->t->fma_ports;
	cost = cost > loads ? cost : loads;
	cost = cost > lines ? cost : lines;
	return (cost + 1) * full / tile;
}

static void search(const struct tile *s, struct dot *d, int at)
{
	if (at < d->nloops) {
		for (int u = 1; u <= MOST && u <= d->trip[at]; u++) {
			d->unroll[at] = u;
			search(s, d, at + 1);
		}
		return;
	}
	double cost = weigh(s, d);
	if (cost >= d->cost)
		return;
	d->cost = cost;
	memcpy(d->best, d->unroll, sizeof d->best);
}

void tile_dot(struct tile *s, struct tile_axis *axis, int n, const bool *vector)
{
	int body = s->k->loops[axis[n - 1].loop].body, regs = s->t->vector_regs;
	struct dot d = {.room = regs, .most = regs, .carries = 1, .cost = 1e29};
	int width = s->t->vector_bytes / 4;
	if (tile_heaviest(s->k, body, false) > 8) // registers for what operands are computed from
		d.most = regs / 2;
	for (int i = n - 1; i >= 0 && d.nloops < MAX_LOOPS; i--)
		consider(s, axis, i, body, width, vector, &d);
	search(s, &d, 0);
	for (int j = 0; j < d.nloops && d.cost < 1e29; j++)
		axis[d.loop[j]].unroll = d.best[j];
}
