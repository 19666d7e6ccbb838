// Pass bind: from free loops to machine axes. The outermost PAR loop of a phase becomes its BLOCK loop, other
// PAR and RED loops become SERIAL; a phase that does several things is split where a barrier between them is
// sound, else it runs as a single block. Also fills blocks[], scratch offsets and scratch_bytes. Requires the
// free level, leaves the machine level. Order stays, so values do not change by a bit.
#include "codegen.h"

#include <stdlib.h>

enum { MAX_PIECES = 16, MAX_INNER = 4, ENOUGH_BLOCKS = 64, WORTH_A_BLOCK = 512 };

// A statement of the phase that writes global memory, or a run of them that runs as one block.
struct piece {
	int from, to; // positions in the phase region, to exclusive
	bool par;
};
struct binding {
	struct piece pieces[MAX_PIECES];
	int n;
	int block; // the PAR loop that becomes the BLOCK loop, -1: none
	int inner[MAX_INNER], ninner; // the PAR loops collapsed into it
	int at[MAX_INNER];            // values of their indices
};

static bool writes_global(const struct kernel *k, int v)
{
	const struct kinst *in = &k->insts[v];
	if (in->op == K_STORE)
		return k->bufs[in->aux].space == SPACE_GLOBAL;
	return in->op == K_FOR && (kernel_region_stores(k, k->loops[in->aux].body) & (1 << SPACE_GLOBAL));
}

static bool is_par(const struct kernel *k, int v)
{
	const struct kinst *in = &k->insts[v];
	int64_t trip;
	return in->op == K_FOR && k->loops[in->aux].kind == AXIS_PAR && kernel_trip(k, in->aux, &trip);
}

static bool find_pieces(const struct kernel *k, const struct kregion *r, struct binding *s)
{
	s->n = 0;
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i];
		bool par = is_par(k, v);
		if (!writes_global(k, v))
			continue;
		if (s->n && !par && !s->pieces[s->n - 1].par) {
			s->pieces[s->n - 1].to = i + 1;
			continue;
		}
		if (s->n == MAX_PIECES)
			return false;
		s->pieces[s->n++] = (struct piece){.from = i, .to = i + 1, .par = par};
	}
	return true;
}

// The piece whose writing statement stands at `at`; -1: it is none's.
static int piece_of(const struct kernel *k, const struct kregion *r, const struct binding *s, int at)
{
	if (!writes_global(k, r->insts[at]))
		return -1;
	for (int i = 0; i < s->n; i++)
		if (at >= s->pieces[i].from && at < s->pieces[i].to)
			return i;
	return -1;
}

// A statement outside the pieces is computed again in every phase that needs it, once a call. Does that break
// it, because it reads what piece `other`, behind it, writes?
static bool reads_late(const struct binding *s, int other, uint8_t mine, uint8_t theirs)
{
	bool again = other < s->n - 1 || s->pieces[other].par;
	return again && (mine & ACCESS_READ) && (theirs & ACCESS_WRITE);
}

// May statements i and j stand in different phases?
static bool parts(const struct kernel *k, const struct binding *s, const uint8_t *access, int i, int j, int pi,
                  int pj)
{
	const uint8_t *x = access + (size_t)i * (size_t)k->nbufs, *y = access + (size_t)j * (size_t)k->nbufs;
	for (int b = 0; b < k->nbufs; b++) {
		bool scratch = k->bufs[b].space != SPACE_GLOBAL;
		if (scratch && pi >= 0 && (x[b] & ACCESS_WRITE) && y[b])
			return false;
		if (!scratch && pi < 0 && pj >= 0 && j > i && reads_late(s, pj, x[b], y[b]))
			return false;
	}
	return true;
}

// Pieces are phases of their own if they do not speak through scratch or results, and what stands outside of
// them may be computed again.
static bool may_split(const struct kernel *k, const struct kregion *r, const struct binding *s)
{
	uint8_t *access = calloc((size_t)r->n * (size_t)k->nbufs + 1, 1);
	bool ok = access != NULL;
	for (int i = 0; ok && i < r->n; i++)
		kernel_access(k, r->insts[i], access + (size_t)i * (size_t)k->nbufs);
	for (int i = 0; ok && i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int mine = piece_of(k, r, s, i);
		ok = mine < 0 || in->op != K_FOR || !k->loops[in->aux].ncarry;
		for (int j = 0; ok && j < r->n; j++) {
			int other = piece_of(k, r, s, j);
			ok = j == i || (mine >= 0 && other == mine) || parts(k, s, access, i, j, mine, other);
		}
	}
	free(access);
	return ok;
}

// ---- the block loop

// The only loop in l's body, if it is PAR from 0, all else there is cheap, and each of its iterations is worth
// a block.
static int inner_par(const struct kernel *k, const struct kloop *l)
{
	const struct kregion *r = &k->regions[l->body];
	int inner = -1;
	int64_t trip;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_STORE || (in->op == K_FOR && inner >= 0))
			return -1;
		if (in->op == K_FOR)
			inner = in->aux;
	}
	if (inner < 0 || k->loops[inner].kind != AXIS_PAR || !kernel_trip(k, inner, &trip) || trip < 2 ||
	    kernel_int(k, k->loops[inner].lo) != 0 ||
	    kernel_region_work(k, k->loops[inner].body) < WORTH_A_BLOCK)
		return -1;
	return inner;
}

// Loops right inside one another join until there are blocks enough; returns how many blocks that makes.
static int64_t collapse(const struct kernel *k, int loop, struct binding *s)
{
	int64_t blocks, trip;
	kernel_trip(k, loop, &blocks);
	for (s->ninner = 0; blocks < ENOUGH_BLOCKS && s->ninner < MAX_INNER; s->ninner++) {
		loop = inner_par(k, &k->loops[loop]);
		if (loop < 0 || !kernel_trip(k, loop, &trip))
			break;
		s->inner[s->ninner] = loop;
		blocks *= trip;
	}
	return blocks;
}

static void copy_block(struct kcopy *cp, int loop)
{
	struct binding *s = cp->user;
	struct kbuild *b = cp->b;
	const struct kernel *k = cp->from;
	int64_t blocks = collapse(k, loop, s), trip;
	s->block = -1;
	int fresh = kb_for(b, AXIS_BLOCK, kb_int(b, 0), kb_int(b, blocks), 0, NULL, NULL);
	int outer = kb_index(b, fresh);
	for (int i = s->ninner - 1; i >= 0; i--) {
		kernel_trip(k, s->inner[i], &trip);
		s->at[i] = kb_imod(b, outer, trip);
		outer = kb_idiv(b, outer, trip);
	}
	kcopy_body(cp, loop, kb_iadd(b, outer, kcopy_value(cp, k->loops[loop].lo)), NULL, NULL);
	kb_end(b, fresh, NULL);
	b->k->blocks[b->k->nphases - 1] = blocks;
}

static bool bind_loop(struct kcopy *cp, int loop)
{
	struct binding *s = cp->user;
	int kind = cp->from->loops[loop].kind;
	if (loop == s->block) {
		copy_block(cp, loop);
		return true;
	}
	for (int i = 0; i < s->ninner; i++) {
		if (loop != s->inner[i])
			continue;
		kcopy_body(cp, loop, s->at[i], NULL, NULL);
		return true;
	}
	if (kind != AXIS_PAR && kind != AXIS_RED)
		return false;
	kcopy_loop_as(cp, loop, AXIS_SERIAL);
	return true;
}

// ---- phases

// One new phase: piece `which` of the old one (-1: all of it) and whatever stands outside pieces before its
// end.
static void emit(struct kcopy *cp, const struct kregion *r, int which)
{
	struct binding *s = cp->user;
	const struct piece *p = which >= 0 ? &s->pieces[which] : NULL;
	int loop = -1, to = p ? p->to : r->n;
	kcopy_phase_begin(cp);
	s->block = -1;
	s->ninner = 0;
	if (p && p->par)
		s->block = cp->from->insts[r->insts[p->from]].aux;
	else
		loop = kb_for(cp->b, AXIS_BLOCK, kb_int(cp->b, 0), kb_int(cp->b, 1), 0, NULL, NULL);
	for (int i = 0; i < to; i++) {
		int in = p ? piece_of(cp->from, r, s, i) : -1;
		if (in < 0 || in == which)
			kcopy_inst(cp, r->insts[i]);
	}
	if (loop >= 0) {
		kb_end(cp->b, loop, NULL);
		cp->b->k->blocks[cp->b->k->nphases - 1] = 1;
	}
	kcopy_phase_end(cp);
}

static void bind_phase(struct kcopy *cp, int phase)
{
	struct binding *s = cp->user;
	const struct kernel *k = cp->from;
	const struct kregion *r = &k->regions[k->phases[phase]];
	bool found = find_pieces(k, r, s);
	int room = TG_COUNT(k->phases) - cp->b->k->nphases - (k->nphases - phase - 1);
	if (found && s->n == 0)
		return;
	if (found && s->n <= room && may_split(k, r, s))
		for (int i = 0; i < s->n; i++)
			emit(cp, r, i);
	else
		emit(cp, r, -1);
}

static void place_scratch(struct kernel *k)
{
	int64_t at = 0;
	for (int i = 0; i < k->nbufs; i++) {
		struct kbuf *b = &k->bufs[i];
		if (b->space == SPACE_GLOBAL)
			continue;
		b->offset_bytes = at;
		at += (b->elems * (int64_t)tgc_type_bytes(b->type) + 63) & ~INT64_C(63);
	}
	k->scratch_bytes = at;
}

void kpass_bind(struct kernel *k, const struct target *t)
{
	struct binding s = {.block = -1};
	int before = k->nphases;
	kernel_rebuild_phases(k, bind_phase, bind_loop, &s);
	if (k->nphases > before) // loops outside may carry what only another phase needs
		kpass_simplify(k, t);
	place_scratch(k);
}
