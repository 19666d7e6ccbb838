// Pass gather: phases side by side whose loops are alike become one, so that merge can read once what both read.
// Requires the free level. A phase joins an earlier one where no barrier stands between them, both are one nest of
// PAR loops over the same ranges, they read a common buffer, and neither touches what the other stores. Values stay.
#include "codegen.h"

#include <stdlib.h>

struct gather {
	int into[16]; // by phase: the one that takes it, itself
};

// The phase's only loop; -1: none or several, or it stores outside of it.
static int only_loop(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	int loop = -1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_STORE || (in->op == K_FOR && loop >= 0))
			return -1;
		loop = in->op == K_FOR ? in->aux : loop;
	}
	return loop;
}

static bool alike(const struct kernel *k, int a, int b)
{
	int x = only_loop(k, k->phases[a]), y = only_loop(k, k->phases[b]);
	int64_t n, m;
	bool any = false;
	for (; x >= 0 && y >= 0 && k->loops[x].kind == AXIS_PAR && k->loops[y].kind == AXIS_PAR; any = true) {
		if (!kernel_trip(k, x, &n) || !kernel_trip(k, y, &m) || n != m ||
		    kernel_int(k, k->loops[x].lo) != kernel_int(k, k->loops[y].lo))
			return false;
		x = only_loop(k, k->loops[x].body);
		y = only_loop(k, k->loops[y].body);
	}
	return any && (x < 0 || k->loops[x].kind != AXIS_PAR) && (y < 0 || k->loops[y].kind != AXIS_PAR);
}

static bool accesses(const struct kernel *k, const struct gather *g, int phase, uint8_t *access)
{
	memset(access, 0, (size_t)k->nbufs + 1);
	for (int p = 0; p < k->nphases; p++) {
		const struct kregion *r = &k->regions[k->phases[p]];
		for (int i = 0; g->into[p] == phase && i < r->n; i++)
			kernel_access(k, r->insts[i], access);
	}
	return true;
}

static bool memory_allows(const struct kernel *k, const struct gather *g, int a, int b)
{
	uint8_t *x = calloc(2 * ((size_t)k->nbufs + 1), 1), *y = x ? x + k->nbufs + 1 : NULL;
	bool shared = false, ok = x && accesses(k, g, a, x) && accesses(k, g, b, y);
	for (int i = 0; ok && i < k->nbufs; i++) {
		shared |= (x[i] & y[i] & ACCESS_READ) != 0;
		ok = !((x[i] | y[i]) & ACCESS_WRITE) || !x[i] || !y[i];
	}
	free(x);
	return ok && shared;
}

static void find(const struct kernel *k, struct gather *g)
{
	for (int p = 0; p < k->nphases; p++) {
		g->into[p] = p;
		for (int q = p - 1; q >= 0 && k->beside[q + 1] && g->into[p] == p; q--)
			if (g->into[q] == q && alike(k, q, p) && memory_allows(k, g, q, p))
				g->into[p] = q;
	}
}

static void copy(struct kcopy *cp, int phase)
{
	const struct gather *g = cp->user;
	struct kernel *to = cp->b->k;
	if (g->into[phase] != phase)
		return;
	kcopy_phase_begin(cp);
	to->beside[to->nphases - 1] = cp->from->beside[phase];
	for (int p = phase; p < cp->from->nphases; p++)
		if (g->into[p] == phase)
			kcopy_region(cp, cp->from->phases[p]);
	kcopy_phase_end(cp);
}

void kpass_gather(struct kernel *k, const struct target *t)
{
	struct gather g;
	bool any = false;
	(void)t;
	find(k, &g);
	for (int p = 0; p < k->nphases; p++)
		any |= g.into[p] != p;
	if (any)
		kernel_rebuild_phases(k, copy, NULL, &g);
}
