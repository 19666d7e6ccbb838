// Pass keep: what a later loop over the same row would compute again is kept, where it costs much: the
// exponentials of a softmax, which its sum and its quotient need. The first loop stores them in scratch, the
// later one loads them. A long row lies where the later loop's result will: its lines are on their way while
// the first loop computes, and the caches hold one row less. Requires the free level, before tile: loops that
// stand side by side inside PAR or SERIAL loops, over one constant range. Keeps every bit: a value of the same type
// comes back.
#include "codegen.h"

#include <stdlib.h>

enum { MIN_TRIP = 64, MAX_BODY = 256, MAX_KEPT = 4, LIBRARY_WORK = 16, WORTH = 12 };

struct kept {
	int inst; // in the first loop
	int buf;  // in the new kernel; K_NONE: not made yet
	int into; // the later loop's store whose place it takes; K_NONE: scratch
	int64_t elems, bytes;
};
struct keep {
	const struct kernel *k;
	const struct target *t;
	bool *written; // by buffer
	int32_t *uses; // by buffer: loads and stores
	int32_t *same; // by instruction of a later loop: its equal in the first one, K_NONE
	int32_t *seen; // by instruction: the last root whose work it was counted for, plus one
	int32_t *held; // by instruction of a later loop: which of kept it is, plus one
	struct kept kept[MAX_KEPT];
	int n, busy; // busy: the instruction that is being copied as it is
};

static bool in_body(const struct kernel *k, int v, int loop)
{
	return k->insts[v].region == k->loops[loop].body;
}

// The value of the first loop that is v in the later one; K_NONE: there is none.
static int counterpart(const struct keep *s, int v, int later)
{
	if (v == K_NONE)
		return K_NONE;
	return in_body(s->k, v, later) ? s->same[v] : v;
}

static bool pure(const struct keep *s, const struct kinst *in)
{
	if (in->op == K_LOAD)
		return s->k->bufs[in->aux].space == SPACE_GLOBAL && !s->written[in->aux];
	return in->op < OP_COUNT || in->op == K_AFFINE || in->op == K_IDIV || in->op == K_IMOD ||
	       in->op == K_TABLE;
}

static bool equal(const struct keep *s, int a, int b, int later)
{
	const struct kernel *k = s->k;
	const struct kinst *x = &k->insts[a], *y = &k->insts[b];
	bool same =
	    x->op == y->op && x->type == y->type && x->nsrc == y->nsrc && x->aux == y->aux && x->imm == y->imm;
	for (int i = 0; same && i < x->nsrc; i++)
		same = kernel_src(k, a, i) == counterpart(s, kernel_src(k, b, i), later) &&
		       (x->op != K_AFFINE || k->coefs[x->src_at + i] == k->coefs[y->src_at + i]);
	return same;
}

// Fills same for the instructions of the later loop's body.
static void match(struct keep *s, int first, int later)
{
	const struct kernel *k = s->k;
	const struct kregion *a = &k->regions[k->loops[first].body], *b = &k->regions[k->loops[later].body];
	for (int i = 0; i < b->n; i++) {
		int v = b->insts[i];
		const struct kinst *in = &k->insts[v];
		s->same[v] = in->op == K_INDEX ? k->loops[first].index : K_NONE;
		for (int j = 0; j < a->n && pure(s, in) && s->same[v] == K_NONE; j++)
			if (equal(s, a->insts[j], v, later))
				s->same[v] = a->insts[j];
	}
}

// Instructions that make v, in the body of its loop.
static int64_t work_of(struct keep *s, int v, int loop, int root)
{
	const struct kinst *in = &s->k->insts[v];
	if (!in_body(s->k, v, loop) || in->op == K_INDEX || in->op == K_LOAD || s->seen[v] == root + 1)
		return 0;
	s->seen[v] = root + 1;
	int64_t work = kernel_expands(in) ? LIBRARY_WORK : 1;
	for (int i = 0; i < in->nsrc; i++)
		work += work_of(s, kernel_src(s->k, v, i), loop, root);
	return work;
}

// An instruction of the later loop that has no equal in the first needs v, or a carry does.
static bool needed(const struct keep *s, int v, int later)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[k->loops[later].body];
	const struct kloop *l = &k->loops[later];
	for (int i = 0; i < r->n; i++)
		for (int j = 0; s->same[r->insts[i]] == K_NONE && j < k->insts[r->insts[i]].nsrc; j++)
			if (kernel_src(k, r->insts[i], j) == v)
				return true;
	for (int i = 0; i < l->ncarry; i++)
		if (l->next[i] == v)
			return true;
	return false;
}

static struct kept *kept_of(struct keep *s, int inst)
{
	for (int i = 0; i < s->n; i++)
		if (s->kept[i].inst == inst)
			return &s->kept[i];
	return NULL;
}

static void choose(struct keep *s, int later, int64_t elems)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[k->loops[later].body];
	for (int i = 0; i < r->n; i++) {
		int v = r->insts[i];
		if (s->same[v] == K_NONE || !type_is_float(k->insts[v].type) || s->held[v] ||
		    s->held[s->same[v]] || !needed(s, v, later) || work_of(s, v, later, v) < WORTH)
			continue;
		struct kept *x = kept_of(s, s->same[v]);
		int64_t bytes = elems * (int64_t)tgc_type_bytes((tgc_type)k->insts[v].type);
		if (!x && s->n < MAX_KEPT && bytes <= s->t->l2_bytes / 2) {
			x = &s->kept[s->n++];
			*x = (struct kept){s->same[v], K_NONE, K_NONE, elems, bytes};
		}
		s->held[v] = x ? (int32_t)(x - s->kept) + 1 : 0;
	}
}

// The one statement that reads what is kept; K_NONE: several do.
static int reader_of(const struct keep *s, int kept)
{
	int reader = K_NONE;
	for (int i = 0; i < s->k->n; i++)
		if (s->held[i] == kept + 1) {
			if (reader != K_NONE)
				return K_NONE;
			reader = i;
		}
	return reader;
}

// Stores the same type, behind the reader, one element an iteration, at a place that loops around both loops
// tell; nothing else touches its buffer.
static bool may_take(const struct keep *s, int store, const struct kept *x)
{
	const struct kernel *k = s->k;
	const struct kinst *in = &k->insts[store];
	int loop = k->regions[in->region].loop, at = kernel_src(k, store, 0);
	int64_t stride;
	if (in->op != K_STORE || in->nsrc > 2 || s->uses[in->aux] != 1 || k->bufs[in->aux].segmented ||
	    k->bufs[in->aux].type != k->insts[x->inst].type || k->insts[at].op != K_AFFINE ||
	    !kernel_stride(k, at, loop, &stride) || stride != 1)
		return false;
	for (int i = 0; i < k->insts[at].nsrc; i++) {
		int v = kernel_src(k, at, i);
		if (v != k->loops[loop].index &&
		    (k->insts[v].op != K_INDEX ||
		     !kernel_region_within(k, k->insts[x->inst].region, k->insts[v].region)))
			return false;
	}
	return true;
}

static bool is_taken(const struct keep *s, int store)
{
	for (int i = 0; i < s->n; i++)
		if (s->kept[i].into == store)
			return true;
	return false;
}

static void take_results_place(struct keep *s)
{
	const struct kernel *k = s->k;
	for (int i = 0; i < s->n && !kernel_streams(k, s->t); i++) {
		struct kept *x = &s->kept[i];
		int reader = reader_of(s, i);
		if (reader == K_NONE || x->bytes <= s->t->l1_bytes)
			continue;
		const struct kregion *r = &k->regions[k->insts[reader].region];
		bool behind = false;
		for (int j = 0; j < r->n && x->into == K_NONE; j++) {
			if (behind && !is_taken(s, r->insts[j]) && may_take(s, r->insts[j], x))
				x->into = r->insts[j];
			behind |= r->insts[j] == reader;
		}
	}
}

// Scratch holds a quarter of the second cache; what it does not hold is computed again.
static void drop_what_does_not_fit(struct keep *s)
{
	int64_t bytes = 0;
	for (int i = 0; i < s->n; i++) {
		struct kept *x = &s->kept[i];
		if (x->into != K_NONE)
			continue;
		if (bytes + x->bytes <= s->t->l2_bytes / 4) {
			bytes += x->bytes;
			continue;
		}
		x->inst = K_NONE;
		for (int v = 0; v < s->k->n; v++)
			s->held[v] = s->held[v] == i + 1 ? 0 : s->held[v];
	}
}

static bool row_loop(const struct keep *s, int inst, int64_t *trip)
{
	const struct kernel *k = s->k;
	const struct kinst *in = &k->insts[inst];
	if (in->op != K_FOR || !kernel_trip(k, in->aux, trip) || *trip < MIN_TRIP ||
	    kernel_int(k, k->loops[in->aux].lo))
		return false;
	return k->regions[k->loops[in->aux].body].n <= MAX_BODY;
}

// Loops of one region: each with those before it.
static void look(struct keep *s, int region)
{
	const struct kernel *k = s->k;
	const struct kregion *r = &k->regions[region];
	int64_t trip, other;
	for (int i = 0; i < r->n; i++)
		for (int j = 0; j < i && row_loop(s, r->insts[i], &trip); j++) {
			int first = k->insts[r->insts[j]].aux, later = k->insts[r->insts[i]].aux;
			if (!row_loop(s, r->insts[j], &other) || other != trip)
				continue;
			match(s, first, later);
			choose(s, later, trip);
		}
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR && (k->loops[in->aux].kind == AXIS_PAR || k->loops[in->aux].kind == AXIS_SERIAL))
			look(s, k->loops[in->aux].body);
	}
}

static int place_of(const struct keep *s, struct kcopy *cp, struct kept *x)
{
	if (x->buf == K_NONE && x->into != K_NONE)
		x->buf = s->k->insts[x->into].aux;
	if (x->buf == K_NONE)
		x->buf = kernel_buf(cp->b->k, (tgc_type)s->k->insts[x->inst].type, SPACE_LOCAL, x->elems);
	return x->buf;
}

// Where it lies, in the loop of `inst`.
static int index_of(const struct keep *s, const struct kcopy *cp, const struct kept *x, int inst)
{
	const struct kernel *k = s->k;
	int index = kcopy_value(cp, k->loops[k->regions[k->insts[inst].region].loop].index);
	if (x->into == K_NONE)
		return index;
	int at = kernel_src(k, x->into, 0), own = k->loops[k->regions[k->insts[x->into].region].loop].index;
	struct ksum sum = {.imm = k->insts[at].imm};
	for (int i = 0; i < k->insts[at].nsrc; i++) {
		int v = kernel_src(k, at, i);
		ksum_add(cp->b, &sum, k->coefs[k->insts[at].src_at + i], v == own ? index : kcopy_value(cp, v));
	}
	return ksum_value(cp->b, &sum);
}

static bool copy(struct kcopy *cp, int inst)
{
	struct keep *s = cp->user;
	struct kept *x = s->held[inst] ? &s->kept[s->held[inst] - 1] : NULL;
	if (x) {
		cp->map[inst] = kb_load(cp->b, place_of(s, cp, x), index_of(s, cp, x, inst), K_NONE, K_NONE);
		return true;
	}
	x = inst == s->busy ? NULL : kept_of(s, inst);
	if (!x)
		return false;
	s->busy = inst;
	kcopy_inst(cp, inst);
	s->busy = K_NONE;
	kb_store(cp->b, place_of(s, cp, x), index_of(s, cp, x, inst), kcopy_value(cp, inst), K_NONE, K_NONE);
	return true;
}

static void phase(struct kcopy *cp, int at)
{
	cp->inst = copy;
	kcopy_phase_begin(cp);
	cp->b->k->beside[cp->b->k->nphases - 1] = cp->from->beside[at];
	kcopy_region(cp, cp->from->phases[at]);
	kcopy_phase_end(cp);
}

void kpass_keep(struct kernel *k, const struct target *t)
{
	struct kernel old = *k;
	size_t n = (size_t)k->n + 1;
	struct keep s = {.k = &old, .t = t, .busy = K_NONE};
	s.written = calloc((size_t)k->nbufs + 1, sizeof *s.written);
	s.uses = calloc((size_t)k->nbufs + 1, sizeof *s.uses);
	s.same = malloc(n * sizeof *s.same);
	s.seen = calloc(n, sizeof *s.seen);
	s.held = calloc(n, sizeof *s.held);
	if (s.written && s.uses && s.same && s.seen && s.held) {
		for (int i = 0; i < k->n; i++) {
			bool stores = k->insts[i].op == K_STORE;
			if (!stores && k->insts[i].op != K_LOAD)
				continue;
			s.written[k->insts[i].aux] |= stores;
			s.uses[k->insts[i].aux]++;
		}
		for (int i = 0; i < k->nphases; i++)
			for (int j = 0; j < k->regions[k->phases[i]].n; j++) {
				const struct kinst *in = &k->insts[k->regions[k->phases[i]].insts[j]];
				if (in->op == K_FOR && k->loops[in->aux].kind == AXIS_PAR)
					look(&s, k->loops[in->aux].body);
			}
		take_results_place(&s);
		drop_what_does_not_fit(&s);
		if (s.n)
			kernel_rebuild_phases(k, phase, NULL, &s);
	} else {
		k->arena.failed = true;
	}
	free(s.written);
	free(s.uses);
	free(s.same);
	free(s.seen);
	free(s.held);
}
