// Pass stage: products whose operands lie badly for register tiles are computed block by block from copies in
// scratch, laid out as the tiles read them.
// Requires the free level. A nest of PAR loops around one sum of products becomes PAR loops over blocks; in
// each the operands are copied, then a nest over the block's tiles multiplies. Long sums go a stretch at a
// time, the block's results waiting in scratch. Keeps the values of everything but these sums, whose terms are
// grouped anew. Not here: what is worth it and how large blocks are (stage_choose.c), the tiles (tile.c).
#include "pass/stage.h"

#include <stdlib.h>

// Where in the product the copy is: indices of its own loops, in the new kernel.
struct place {
	int row, lane, step; // step: K_NONE outside of the sum
};

// ---- values of the product at a place

static void go_to(struct kcopy *cp, const struct place *at)
{
	struct stage *s = cp->user;
	const struct kernel *k = cp->from;
	const struct product *p = &s->p;
	kcopy_forget(cp, p->axis[0]);
	s->preset[p->row] = at->row;
	s->preset[p->lane] = at->lane;
	for (int i = 0; i < p->naxes; i++)
		cp->map[k->loops[p->axis[i]].index] = s->preset[p->axis[i]];
	cp->map[k->loops[p->red].index] = at->step;
}

static int value_at(struct kcopy *cp, int v)
{
	for (int i = 0; cp->map[v] == K_NONE && i < cp->from->insts[v].nsrc; i++)
		if (kernel_src(cp->from, v, i) != K_NONE)
			value_at(cp, kernel_src(cp->from, v, i));
	kcopy_inst(cp, v);
	return kcopy_value(cp, v);
}

// Outside of the results nothing is read or written.
static bool guarded(struct kcopy *cp, int inst)
{
	struct stage *s = cp->user;
	const struct kinst *in = &cp->from->insts[inst];
	int at = in->op == K_STORE ? 2 : 1, src[4] = {K_NONE, K_NONE, K_NONE, K_NONE};
	if (s->guard == K_NONE || (in->op != K_STORE && (in->op != K_LOAD || !s->padded[inst])))
		return false;
	for (int i = 0; i < in->nsrc; i++)
		src[i] = kcopy_value(cp, kernel_src(cp->from, inst, i));
	src[at] = kb_and(cp->b, src[at], s->guard);
	if (in->op == K_STORE)
		kb_store(cp->b, in->aux, src[0], src[1], src[2], src[3]);
	cp->map[inst] = in->op == K_STORE ? 0 : kb_load(cp->b, in->aux, src[0], src[1], src[2]);
	return true;
}

static void guard(struct kcopy *cp, int index, int64_t n)
{
	struct stage *s = cp->user;
	int inside = kb_op2(cp->b, OP_LT, TGC_BOOL, index, kb_int(cp->b, n));
	union number c;
	if (!kernel_is_const(cp->b->k, inside, &c) || !c.i)
		s->guard = kb_and(cp->b, s->guard, inside);
	cp->inst = guarded;
}

static void unguard(struct kcopy *cp)
{
	((struct stage *)cp->user)->guard = K_NONE;
	cp->inst = NULL;
}

// ---- loops

struct loops {
	int open[STAGE_AXES + 8], n;
};

static int par(struct kcopy *cp, struct loops *l, int64_t n)
{
	int zero = kb_int(cp->b, 0);
	if (n == 1)
		return zero;
	l->open[l->n] = kb_for(cp->b, AXIS_PAR, zero, kb_int(cp->b, n), 0, NULL, NULL);
	return kb_index(cp->b, l->open[l->n++]);
}

static void end(struct kcopy *cp, struct loops *l)
{
	while (l->n)
		kb_end(cp->b, l->open[--l->n], NULL);
}

// ---- a block

struct block {
	int row, lane, step; // first ones, values
	int64_t nsteps;
};

static int own_index(struct kcopy *cp, int first, const struct stage_operand *x, int tile, int i)
{
	return kb_affine(cp->b, 0, 3, (int64_t[]){1, x->tile, 1}, (int[]){first, tile, i});
}

static int copy_at(struct kcopy *cp, const struct stage_operand *x, int tile, int step, int i)
{
	return kb_affine(cp->b, 0, 3, (int64_t[]){x->stride, x->pitch, 1}, (int[]){tile, step, i});
}

static void copy_operand(struct kcopy *cp, const struct block *o, const struct stage_operand *x, bool lanes)
{
	struct stage *s = cp->user;
	struct loops l = {.n = 0};
	int tile, step, i;
	if (x->far) {
		step = par(cp, &l, o->nsteps);
		tile = par(cp, &l, x->tiles);
	} else {
		tile = par(cp, &l, x->tiles);
		step = par(cp, &l, o->nsteps);
	}
	i = par(cp, &l, x->pitch);
	int zero = kb_int(cp->b, 0), own = own_index(cp, lanes ? o->lane : o->row, x, tile, i);
	struct place at = {.row = lanes ? zero : own, .lane = lanes ? own : zero};
	at.step = kb_iadd(cp->b, o->step, step);
	go_to(cp, &at);
	guard(cp, own, lanes ? s->p.n : s->p.m);
	int v = value_at(cp, x->value);
	unguard(cp);
	kb_store(cp->b, x->scratch, copy_at(cp, x, tile, step, i), v, K_NONE, K_NONE);
	end(cp, &l);
}

static int sums_at(struct kcopy *cp, int row, int lane)
{
	const struct product *p = &((struct stage *)cp->user)->p;
	return kb_affine(cp->b, 0, 2, (int64_t[]){p->b.tile * p->b.tiles, 1}, (int[]){row, lane});
}

// What the nest does with its sum.
static void finish(struct kcopy *cp, const struct block *o, int row, int lane, int result)
{
	struct stage *s = cp->user;
	const struct product *p = &s->p;
	struct place at = {kb_iadd(cp->b, o->row, row), kb_iadd(cp->b, o->lane, lane), K_NONE};
	go_to(cp, &at);
	s->result = result;
	guard(cp, at.row, p->m);
	guard(cp, at.lane, p->n);
	kcopy_body(cp, p->axis[0], s->preset[p->axis[0]], NULL, NULL);
	unguard(cp);
	s->result = K_NONE;
}

static int sum(struct kcopy *cp, const struct block *o, const struct place *in, int mt, int i, int nt, int j)
{
	struct stage *s = cp->user;
	struct kbuild *b = cp->b;
	const struct kernel *k = cp->from;
	const struct product *p = &s->p;
	const struct kloop *l = &k->loops[p->red];
	tgc_type t = (tgc_type)k->insts[l->next[0]].type;
	int init = kb_identity(b, OP_ADD, t);
	int red = kb_for(b, AXIS_RED, kb_int(b, 0), kb_int(b, o->nsteps), 1, &init, l->combine),
	    step = kb_index(b, red), x;
	struct place at = *in;
	at.step = kb_iadd(b, o->step, step);
	go_to(cp, &at);
	x = p->a.copied ? kb_load(b, p->a.scratch, copy_at(cp, &p->a, mt, step, i), K_NONE, K_NONE)
	                : value_at(cp, p->a.value);
	int y = kb_load(b, p->b.scratch, copy_at(cp, &p->b, nt, step, j), K_NONE, K_NONE);
	int next = kb_op(b, OP_FMA, t, 3, (int[]){x, y, kb_arg(b, red, 0)});
	kb_end(b, red, &next);
	return kb_res(b, red, 0);
}

static void multiply(struct kcopy *cp, const struct block *o)
{
	struct stage *s = cp->user;
	struct kbuild *b = cp->b;
	const struct product *p = &s->p;
	struct loops l = {.n = 0};
	int nt = par(cp, &l, p->b.tiles), mt = par(cp, &l, p->a.tiles), i = par(cp, &l, p->a.tile),
	    j = par(cp, &l, p->b.tile);
	int zero = kb_int(b, 0), row = own_index(cp, zero, &p->a, mt, i),
	    lane = own_index(cp, zero, &p->b, nt, j);
	struct place at = {kb_iadd(b, o->row, row), kb_iadd(b, o->lane, lane), K_NONE};
	int r = sum(cp, o, &at, mt, i, nt, j);
	if (p->steps == p->k) {
		finish(cp, o, row, lane, r);
	} else {
		int where = sums_at(cp, row, lane), old = kb_load(b, p->sums, where, K_NONE, K_NONE);
		tgc_type t = (tgc_type)b->k->bufs[p->sums].type;
		kb_store(b, p->sums, where, kb_op2(b, OP_ADD, t, old, r), K_NONE, K_NONE);
	}
	end(cp, &l);
}

// Rows and lanes of the block, each once.
static void block_nest(struct kcopy *cp, const struct block *o, bool last)
{
	struct stage *s = cp->user;
	struct kbuild *b = cp->b;
	const struct product *p = &s->p;
	struct loops l = {.n = 0};
	int row = par(cp, &l, p->a.tiles * p->a.tile), lane = par(cp, &l, p->b.tiles * p->b.tile);
	int at = sums_at(cp, row, lane);
	if (last)
		finish(cp, o, row, lane, kb_load(b, p->sums, at, K_NONE, K_NONE));
	else
		kb_store(b, p->sums, at, kb_identity(b, OP_ADD, b->k->bufs[p->sums].type), K_NONE, K_NONE);
	end(cp, &l);
}

static void steps(struct kcopy *cp, const struct block *o)
{
	const struct product *p = &((struct stage *)cp->user)->p;
	copy_operand(cp, o, &p->b, true);
	if (p->a.copied)
		copy_operand(cp, o, &p->a, false);
	multiply(cp, o);
}

static void all_steps(struct kcopy *cp, struct block *o)
{
	struct kbuild *b = cp->b;
	const struct product *p = &((struct stage *)cp->user)->p;
	int64_t full = p->k / p->steps;
	o->step = kb_int(b, 0);
	o->nsteps = p->steps;
	if (full == 1 && p->steps == p->k) {
		steps(cp, o);
		return;
	}
	block_nest(cp, o, false);
	int loop = kb_for(b, AXIS_SERIAL, kb_int(b, 0), kb_int(b, full), 0, NULL, NULL);
	o->step = kb_imul(b, kb_index(b, loop), p->steps);
	steps(cp, o);
	kb_end(b, loop, NULL);
	o->step = kb_int(b, full * p->steps);
	o->nsteps = p->k - full * p->steps;
	if (o->nsteps)
		steps(cp, o);
	block_nest(cp, o, true);
}

// Tiles are an odd number of cache lines apart: written in turn they do not meet in one set of the cache.
static void scratch(struct kcopy *cp, struct stage_operand *x, int64_t steps)
{
	enum { LINE = 64 };
	tgc_type t = (tgc_type)cp->from->insts[x->value].type;
	int64_t line = LINE / (int64_t)tgc_type_bytes(t);
	x->stride = x->tiles == 1 ? x->pitch * steps : ((x->pitch * steps + line - 1) / line | 1) * line;
	x->scratch = kernel_buf(cp->b->k, t, SPACE_LOCAL, x->tiles * x->stride);
}

static void product(struct kcopy *cp)
{
	struct stage *s = cp->user;
	struct kbuild *b = cp->b;
	struct product *p = &s->p;
	struct loops l = {.n = 0};
	struct block o;
	int64_t rows = p->a.tiles * p->a.tile, lanes = p->b.tiles * p->b.tile, n;
	tgc_type t = (tgc_type)cp->from->insts[p->b.value].type;
	scratch(cp, &p->b, p->steps);
	if (p->a.copied)
		scratch(cp, &p->a, p->steps);
	if (p->steps < p->k)
		p->sums = kernel_buf(b->k, t, SPACE_LOCAL, rows * lanes);
	for (int i = 0; i < p->naxes; i++) {
		if (p->axis[i] == p->row || p->axis[i] == p->lane)
			continue;
		kernel_trip(cp->from, p->axis[i], &n);
		s->preset[p->axis[i]] = par(cp, &l, n);
	}
	o.lane = kb_imul(b, par(cp, &l, (p->n + lanes - 1) / lanes), lanes);
	o.row = kb_imul(b, par(cp, &l, (p->m + rows - 1) / rows), rows);
	kernel_depends(cp->from, p->row, s->dep);
	kernel_depends(cp->from, p->lane, s->padded);
	for (int i = 0; i < cp->from->n; i++)
		s->padded[i] |= s->dep[i];
	all_steps(cp, &o);
	end(cp, &l);
	for (int i = 0; i < p->naxes; i++)
		s->preset[p->axis[i]] = K_NONE;
}

static bool stage_loop(struct kcopy *cp, int loop)
{
	struct stage *s = cp->user;
	if (s->preset[loop] != K_NONE) {
		kcopy_body(cp, loop, s->preset[loop], NULL, NULL);
		return true;
	}
	if (s->result != K_NONE && loop == s->p.red) {
		kcopy_result(cp, loop, 0, s->result);
		return true;
	}
	if (cp->from->loops[loop].kind != AXIS_PAR || !stage_choose(s, cp, loop))
		return false;
	product(cp);
	return true;
}

void kpass_stage(struct kernel *k, const struct target *t)
{
	size_t insts = (size_t)k->n + 1, loops = (size_t)k->nloops + 1;
	struct stage s = {.t = t, .result = K_NONE, .guard = K_NONE};
	for (int i = 0; i < k->nloops; i++)
		if (k->loops[i].kind == AXIS_LANE) // tiled before
			return;
	s.dep = calloc(insts, sizeof *s.dep);
	s.padded = calloc(insts, sizeof *s.padded);
	s.preset = malloc(loops * sizeof *s.preset);
	if (s.dep && s.padded && s.preset) {
		memset(s.preset, 0xff, loops * sizeof *s.preset);
		kernel_rebuild(k, stage_loop, &s);
	} else {
		k->arena.failed = true;
	}
	free(s.dep);
	free(s.padded);
	free(s.preset);
}
