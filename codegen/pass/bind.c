// Pass bind: from free loops to machine axes. The outermost PAR loop of a phase becomes its BLOCK loop, other
// PAR and RED loops become SERIAL. A phase that does several things is taken apart where that is sound, else it
// runs as a single block; parts that need no barrier between them, also those of neighbouring phases, share one
// BLOCK loop: each runs its share of its own blocks in every block, so that threads stay balanced. Also fills
// blocks[], scratch offsets and scratch_bytes. Requires the free level, leaves the machine level. The order of
// what depends on each other stays, so values do not change by a bit.
#include "codegen.h"

#include <stdlib.h>

enum { MAX_PIECES = 16, MAX_INNER = 4, ENOUGH_BLOCKS = 64, MOST_SHARED = 1024, WORTH_A_BLOCK = 512 };

// A statement of a phase that writes global memory, or a run of them that runs as one block.
struct piece {
	int phase, from, to; // positions in the phase region, to exclusive
	bool par, whole;     // whole: everything in the phase, in order
	int nest;            // of its loops, 0: none or several
	int joined;          // number of the new phase
};
struct binding {
	struct piece pieces[16 * MAX_PIECES];
	int n;
	uint8_t *access, *around; // by piece, by phase (of statements outside its pieces); k->nbufs each
	// The copy being made:
	int64_t blocks; // of the new phase, 0: those of its only piece
	int index;      // its block
	int64_t off;    // where a piece's share begins
	int block;      // the PAR loop that is spread over blocks, -1: none
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

static int nest_of(const struct kernel *k, int v)
{
	return k->insts[v].op == K_FOR ? k->loops[k->insts[v].aux].nest : 0;
}

// Appends the pieces of a phase; false: too many.
static bool find_pieces(const struct kernel *k, int phase, struct binding *s)
{
	const struct kregion *r = &k->regions[k->phases[phase]];
	int first = s->n;
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i], nest = nest_of(k, v);
		bool par = is_par(k, v);
		struct piece *last = s->n > first ? &s->pieces[s->n - 1] : NULL;
		if (!writes_global(k, v))
			continue;
		if (last && !par && !last->par && last->nest == nest) {
			last->to = i + 1;
			continue;
		}
		if (s->n - first == MAX_PIECES)
			return false;
		s->pieces[s->n++] =
		    (struct piece){.phase = phase, .from = i, .to = i + 1, .par = par, .nest = nest};
	}
	return true;
}

// The piece from `first` on whose writing statement stands at `at` of its phase; -1: it is none's.
static int piece_of(const struct kernel *k, const struct binding *s, int first, int at)
{
	int phase = s->pieces[first].phase;
	if (!writes_global(k, k->regions[k->phases[phase]].insts[at]))
		return -1;
	for (int i = first; i < s->n && s->pieces[i].phase == phase; i++)
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

// The pieces from `first` on, of one phase, are phases of their own if they do not speak through scratch or
// results, and what stands outside of them may be computed again.
static bool may_split(const struct kernel *k, const struct binding *s, int first)
{
	const struct kregion *r = &k->regions[k->phases[s->pieces[first].phase]];
	uint8_t *access = calloc((size_t)r->n * (size_t)k->nbufs + 1, 1);
	bool ok = access != NULL;
	for (int i = 0; ok && i < r->n; i++)
		kernel_access(k, r->insts[i], access + (size_t)i * (size_t)k->nbufs);
	for (int i = 0; ok && i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int mine = piece_of(k, s, first, i);
		ok = mine < 0 || in->op != K_FOR || !k->loops[in->aux].ncarry;
		for (int j = 0; ok && j < r->n; j++) {
			int other = piece_of(k, s, first, j);
			ok = j == i || (mine >= 0 && other == mine) || parts(k, s, access, i, j, mine, other);
		}
	}
	free(access);
	return ok;
}

// ---- what needs a barrier

static void find_access(const struct kernel *k, struct binding *s, int first)
{
	const struct kregion *r = &k->regions[k->phases[s->pieces[first].phase]];
	size_t n = (size_t)k->nbufs;
	for (int i = 0; i < r->n; i++) {
		int at = s->pieces[first].whole ? first : piece_of(k, s, first, i);
		kernel_access(k, r->insts[i], at < 0 ? s->around + (size_t)s->pieces[first].phase * n
		                                     : s->access + (size_t)at * n);
	}
}

static bool related(const struct kernel *k, const struct piece *x, const struct piece *y)
{
	bool beside = y->phase > x->phase;
	for (int i = x->phase + 1; i <= y->phase; i++)
		beside &= k->beside[i];
	return beside || (x->phase == y->phase && x->nest && x->nest == y->nest);
}

// Must all of piece x, before y, be done before y begins? What stands outside of pieces comes before both.
static bool barrier(const struct kernel *k, const struct binding *s, int x, int y)
{
	size_t n = (size_t)k->nbufs;
	const struct piece *p = &s->pieces[x], *q = &s->pieces[y];
	const uint8_t *a = s->access + (size_t)x * n, *b = s->access + (size_t)y * n;
	const uint8_t *before_a = s->around + (size_t)p->phase * n, *before_b = s->around + (size_t)q->phase * n;
	bool free = related(k, p, q);
	for (size_t i = 0; i < n; i++) {
		bool scratch = k->bufs[i].space != SPACE_GLOBAL;
		uint8_t rest = p->phase == q->phase ? 0 : before_b[i] | b[i];
		if ((a[i] | b[i]) & ACCESS_WRITE && !scratch &&
		    ((!free && a[i] && b[i]) || before_a[i] || before_b[i]))
			return true;
		if (scratch && ((before_a[i] & ACCESS_WRITE && rest) ||
		                (before_b[i] & ACCESS_WRITE && p->phase != q->phase && (a[i] | before_a[i]))))
			return true;
	}
	return false;
}

// The new phase of each piece from `first` on; returns how many there are then.
static int join(const struct kernel *k, struct binding *s, int first, int phases)
{
	for (int i = first; i < s->n; i++) {
		bool fits = i > 0;
		for (int j = i - 1; j >= 0 && s->pieces[j].joined == phases - 1 && fits; j--)
			fits = !barrier(k, s, j, i);
		s->pieces[i].joined = fits ? phases - 1 : phases++;
	}
	return phases;
}

// Takes every phase apart and puts together what may run at once.
static bool plan(const struct kernel *k, struct binding *s)
{
	size_t n = (size_t)k->nbufs;
	int phases = 0;
	s->access = calloc(TG_COUNT(s->pieces) * n + 1, 1);
	s->around = calloc((size_t)k->nphases * n + 1, 1);
	if (!s->access || !s->around)
		return false;
	for (int i = 0; i < k->nphases; i++) {
		int first = s->n, room = TG_COUNT(k->phases) - (k->nphases - i - 1), now = room + 1;
		bool found = find_pieces(k, i, s);
		if (found && s->n == first)
			continue;
		if (found && may_split(k, s, first)) {
			find_access(k, s, first);
			now = join(k, s, first, phases);
		}
		if (now > room) { // as a whole
			memset(s->access + (size_t)first * n, 0, (size_t)(s->n - first) * n);
			memset(s->around + (size_t)i * n, 0, n);
			s->n = first + 1;
			s->pieces[first] =
			    (struct piece){.phase = i, .to = k->regions[k->phases[i]].n, .whole = true};
			find_access(k, s, first);
			now = join(k, s, first, phases);
		}
		phases = now;
	}
	return true;
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

// Opens the loop over this block's share of n blocks; returns the index of one, -1: there is no loop to be ended.
static int open_share(struct kcopy *cp, int64_t n, int *loop)
{
	struct binding *s = cp->user;
	struct kbuild *b = cp->b;
	*loop = -1;
	if (s->blocks == 0) {
		*loop = kb_for(b, AXIS_BLOCK, kb_int(b, 0), kb_int(b, n), 0, NULL, NULL);
		b->k->blocks[b->k->nphases - 1] = n;
		return kb_index(b, *loop);
	}
	if (n == s->blocks)
		return s->index;
	int from = kb_idiv(b, kb_affine(b, s->off, 1, &n, &s->index), s->blocks);
	int to = kb_idiv(b, kb_affine(b, s->off + n, 1, &n, &s->index), s->blocks);
	*loop = kb_for(b, AXIS_SERIAL, from, to, 0, NULL, NULL);
	return kb_index(b, *loop);
}

static void copy_block(struct kcopy *cp, int loop)
{
	struct binding *s = cp->user;
	struct kbuild *b = cp->b;
	const struct kernel *k = cp->from;
	int64_t blocks = collapse(k, loop, s), trip;
	int share, outer = open_share(cp, blocks, &share);
	s->block = -1;
	for (int i = s->ninner - 1; i >= 0; i--) {
		kernel_trip(k, s->inner[i], &trip);
		s->at[i] = kb_imod(b, outer, trip);
		outer = kb_idiv(b, outer, trip);
	}
	kcopy_body(cp, loop, kb_iadd(b, outer, kcopy_value(cp, k->loops[loop].lo)), NULL, NULL);
	if (share >= 0)
		kb_end(b, share, NULL);
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

// Statements [from, to) of the piece's phase: those of the piece, those outside of all pieces, or both.
static void copy_some(struct kcopy *cp, const struct piece *p, int from, int to, bool mine, bool others)
{
	const struct kernel *k = cp->from;
	const struct kregion *r = &k->regions[k->phases[p->phase]];
	for (int i = from; i < to; i++) {
		bool writes = p->whole || writes_global(k, r->insts[i]);
		if (writes ? mine && i >= p->from : others)
			kcopy_inst(cp, r->insts[i]);
	}
}

static void choose_block(struct kcopy *cp, const struct piece *p)
{
	struct binding *s = cp->user;
	const struct kernel *k = cp->from;
	s->block = p->par ? k->insts[k->regions[k->phases[p->phase]].insts[p->from]].aux : -1;
	s->ninner = 0;
}

// A phase of one piece, and of whatever stands before it.
static void emit_alone(struct kcopy *cp, const struct piece *p)
{
	struct binding *s = cp->user;
	int loop = -1;
	s->blocks = 0;
	choose_block(cp, p);
	if (!p->par)
		open_share(cp, 1, &loop);
	copy_some(cp, p, 0, p->to, true, true);
	if (loop >= 0)
		kb_end(cp->b, loop, NULL);
}

static void copy_piece(struct kcopy *cp, const struct piece *p)
{
	int share = -1;
	choose_block(cp, p);
	if (!p->par)
		open_share(cp, 1, &share);
	copy_some(cp, p, p->from, p->to, true, false);
	if (share >= 0)
		kb_end(cp->b, share, NULL);
}

static int64_t blocks_of(const struct kernel *k, struct binding *s, const struct piece *p)
{
	return p->par ? collapse(k, k->insts[k->regions[k->phases[p->phase]].insts[p->from]].aux, s) : 1;
}

// One loop over blocks for n pieces. Those of one block go to blocks far from each other.
static void emit_joined(struct kcopy *cp, const struct piece *p, int n)
{
	struct binding *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t most = 1;
	int single = 0, at = 0;
	s->block = -1;
	s->ninner = 0;
	for (int i = 0; i < n; i++)
		copy_some(cp, &p[i], 0, p[i].to, false, true);
	for (int i = 0; i < n; i++) {
		int64_t blocks = blocks_of(cp->from, s, &p[i]);
		single += blocks == 1;
		most = blocks > most ? blocks : most;
	}
	s->blocks = most > MOST_SHARED ? MOST_SHARED : most;
	int loop = kb_for(b, AXIS_BLOCK, kb_int(b, 0), kb_int(b, s->blocks), 0, NULL, NULL);
	s->index = kb_index(b, loop);
	b->k->blocks[b->k->nphases - 1] = s->blocks;
	for (int i = 0; i < n; i++) {
		bool one = blocks_of(cp->from, s, &p[i]) == 1;
		s->off = one ? s->blocks - 1 - s->blocks * at++ / single : 0;
		copy_piece(cp, &p[i]);
	}
	kb_end(b, loop, NULL);
}

// All phases at once, when the first one's turn is.
static void bind_phase(struct kcopy *cp, int phase)
{
	struct binding *s = cp->user;
	for (int from = 0, to; phase == 0 && from < s->n; from = to) {
		for (to = from + 1; to < s->n && s->pieces[to].joined == s->pieces[from].joined;)
			to++;
		kcopy_phase_begin(cp);
		if (to - from == 1)
			emit_alone(cp, &s->pieces[from]);
		else
			emit_joined(cp, &s->pieces[from], to - from);
		kcopy_phase_end(cp);
	}
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
	struct binding *s = calloc(1, sizeof *s);
	int before = k->nphases;
	if (s && plan(k, s)) {
		kernel_rebuild_phases(k, bind_phase, bind_loop, s);
		for (int i = 0; i < k->nloops; i++)
			k->loops[i].nest = 0;
	} else {
		k->arena.failed = true;
	}
	if (k->nphases > before) // loops outside may carry what only another phase needs
		kpass_simplify(k, t);
	place_scratch(k);
	if (s) {
		free(s->access);
		free(s->around);
	}
	free(s);
}
