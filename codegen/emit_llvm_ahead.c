// What is loaded behind a long loop is asked for ahead of it, so that it is near when the loop ends: a register tile's
// rows of what its sums are combined with (the moments of an optimizer, say) are many short pieces, which no processor
// foresees.
// In:  a loop with carried values that is about to be emitted. Out: prefetches, no more than one a cache line.
// Not here: loads whose place only the loop or what is behind it knows.
#include "emit_llvm.h"

enum { LONG = 32, MAX_LINES = 64, LINE = 64 };

// Known ahead of the statement at `to` of the region?
static bool known_ahead(const struct emit *e, int v, int region, int to)
{
	const struct kregion *r = &e->k->regions[region];
	bool ahead = e->k->insts[v].region != region || e->k->insts[v].op == K_INDEX || e->k->insts[v].op == K_CONST;
	for (int i = 0; i < to && !ahead; i++)
		ahead = r->insts[i] == v;
	return ahead;
}

static bool place_known(const struct emit *e, const struct address *a, int region, int to)
{
	bool known = !a->nlane && !a->nunroll && a->lane_step == 1;
	for (int i = 0; i < a->nfixed && known; i++)
		known = known_ahead(e, a->fixed[i].v, region, to);
	return known;
}

// Asks for the load's lines that are not among the n of `lines`; returns how many there are then.
static int ask_all(struct emit *e, int load, const struct address *a, int64_t *lines, int n)
{
	const struct kbuf *b = &e->k->bufs[e->k->insts[load].aux];
	struct ecombo c = {0};
	int first = n;
	do {
		int64_t at = a->imm;
		for (int x = 0; x < EMIT_AXES; x++)
			at += a->axis_step[x] * c.i[x];
		int64_t line = at >= 0 ? at / LINE : (at + 1) / LINE - 1;
		bool asked = n == MAX_LINES;
		for (int i = first; i < n && !asked; i++)
			asked = lines[i] == line;
		if (asked)
			continue;
		lines[n++] = line;
		emit_prefetch(e, emit_pointer(e, a, e->k->insts[load].aux, K_NONE, &c), 0, b->written, CACHE_FIRST);
	} while (emit_next(e, e->values[load].deps, &c));
	return n;
}

void emit_ahead(struct emit *e, int loop)
{
	const struct kernel *k = e->k;
	const struct kloop *l = &k->loops[loop];
	int region = k->insts[l->inst].region, at = 0, n = 0;
	const struct kregion *r = &k->regions[region];
	int64_t trip, lines[MAX_LINES];
	if (e->lanes < 2 || !l->ncarry || !kernel_trip(k, loop, &trip) ||
	    (double)trip * kernel_region_work(k, l->body) < LONG)
		return;
	while (r->insts[at] != l->inst)
		at++;
	for (int i = at + 1; i < r->n && !e->arena.failed; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op != K_LOAD || k->bufs[in->aux].space != SPACE_GLOBAL || k->bufs[in->aux].segmented)
			continue;
		struct address a =
		    emit_address(e, kernel_src(k, r->insts[i], 0), (int64_t)tgc_type_bytes(k->bufs[in->aux].type));
		if (!e->arena.failed && place_known(e, &a, region, at))
			n = ask_all(e, r->insts[i], &a, lines, n);
	}
}
