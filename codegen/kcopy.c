// Copying a kernel through the builder: what passes are made of.
// In:  a kernel, and a hook that may take over its loops. Out: the same kernel rebuilt: folded, shared, without
// what no store needs. Recursion follows the nesting of loops, which is small.
#include "codegen.h"

#include <stdlib.h>

int kernel_region_stores(const struct kernel *k, int region)
{
	int mask = 0;
	const struct kregion *r = &k->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_STORE || in->op == K_MMA || in->op == K_COPY)
			mask |= 1 << k->bufs[in->aux].space;
		else if (in->op == K_FOR)
			mask |= kernel_region_stores(k, k->loops[in->aux].body);
	}
	return mask;
}

// ---- liveness

static bool has_effect(int op)
{
	return op == K_STORE || op == K_MMA || op == K_COPY || op == K_COMMIT || op == K_WAIT;
}

struct live {
	const struct kernel *k;
	bool *is;
	int32_t *work;
	int n;
	bool all_carries;
};

static void mark(struct live *w, int v)
{
	if (v == K_NONE || w->is[v])
		return;
	w->is[v] = true;
	w->work[w->n++] = v;
}

static void mark_loop(struct live *w, const struct kloop *l)
{
	mark(w, l->inst);
	for (int i = 0; w->all_carries && i < l->ncarry; i++)
		mark(w, l->res[i]);
}

static void mark_carry(struct live *w, const struct kloop *l, int i)
{
	mark_loop(w, l);
	mark(w, l->init[i]);
	mark(w, l->next[i]);
	mark(w, l->arg[i]);
	mark(w, l->res[i]);
}

static void spread(struct live *w, int v)
{
	const struct kernel *k = w->k;
	const struct kinst *in = &k->insts[v];
	for (int i = 0; i < in->nsrc; i++)
		mark(w, k->operands[in->src_at + i]);
	if (in->op == K_ARG || in->op == K_RES) {
		mark_carry(w, &k->loops[in->aux], (int)in->imm);
	} else if (in->op == K_FOR) {
		const struct kloop *l = &k->loops[in->aux];
		mark(w, l->lo);
		mark(w, l->hi);
		mark(w, l->index);
		mark_loop(w, l);
	}
	if (k->regions[in->region].loop >= 0)
		mark_loop(w, &k->loops[k->regions[in->region].loop]);
}

bool *kernel_live(const struct kernel *k, bool all_carries)
{
	size_t n = (size_t)(k->n ? k->n : 1);
	struct live w = {.k = k, .is = calloc(n, sizeof(bool)), .work = malloc(sizeof(int32_t) * n)};
	w.all_carries = all_carries;
	if (w.is && w.work) {
		for (int r = 0; r < k->nregions; r++)
			for (int i = 0; i < k->regions[r].n; i++)
				if (has_effect(k->insts[k->regions[r].insts[i]].op))
					mark(&w, k->regions[r].insts[i]);
		while (w.n)
			spread(&w, w.work[--w.n]);
	} else {
		free(w.is);
		w.is = NULL;
	}
	free(w.work);
	return w.is;
}

// ---- copying

int kcopy_value(const struct kcopy *cp, int v)
{
	assert(v == K_NONE || cp->map[v] != K_NONE || cp->b->k->arena.failed);
	return v == K_NONE || cp->b->k->arena.failed ? v == K_NONE ? K_NONE : 0 : cp->map[v];
}

void kcopy_result(struct kcopy *cp, int loop, int i, int value)
{
	cp->map[cp->from->loops[loop].res[i]] = value;
}

static int operand(const struct kcopy *cp, const struct kinst *in, int i)
{
	return i < in->nsrc ? kcopy_value(cp, cp->from->operands[in->src_at + i]) : K_NONE;
}

static int copy_affine(struct kcopy *cp, const struct kinst *in)
{
	struct ksum s = {.imm = in->imm};
	for (int i = 0; i < in->nsrc; i++)
		ksum_add(cp->b, &s, cp->from->coefs[in->src_at + i], operand(cp, in, i));
	return ksum_value(cp->b, &s);
}

static int copy_op(struct kcopy *cp, const struct kinst *in)
{
	int src[3] = {operand(cp, in, 0), operand(cp, in, 1), operand(cp, in, 2)};
	assert(in->nsrc <= 3);
	return kb_op(cp->b, in->op, in->type, in->nsrc, src);
}

void kcopy_inst(struct kcopy *cp, int inst)
{
	struct kbuild *b = cp->b;
	const struct kinst *in = &cp->from->insts[inst];
	if (cp->map[inst] != K_NONE || !cp->live[inst] || b->k->arena.failed)
		return;
	if (cp->inst && cp->inst(cp, inst))
		return;
	int v = 0; // of stores and loops: done
	switch (in->op) {
	case K_CONST:
		v = kb_const(b, in->type, (union number){.i = in->imm});
		break;
	case K_SCALAR:
		v = kb_scalar(b, in->aux);
		break;
	case K_AFFINE:
		v = copy_affine(cp, in);
		break;
	case K_IDIV:
		v = kb_idiv(b, operand(cp, in, 0), in->imm);
		break;
	case K_IMOD:
		v = kb_imod(b, operand(cp, in, 0), in->imm);
		break;
	case K_TABLE:
		v = kb_table(b, in->aux, operand(cp, in, 0));
		break;
	case K_LOAD:
		v = kb_load(b, in->aux, operand(cp, in, 0), operand(cp, in, 1), operand(cp, in, 2));
		break;
	case K_STORE:
		kb_store(b, in->aux, operand(cp, in, 0), operand(cp, in, 1), operand(cp, in, 2),
		         operand(cp, in, 3));
		break;
	case K_MMA: {
		struct kmma m = kernel_mma(cp->from, inst);
		kb_mma(b, in->aux, &m, (int[]){operand(cp, in, 0), operand(cp, in, 1)});
		break;
	}
	case K_COPY: {
		struct kcopied c = kernel_copied(cp->from, inst);
		kb_copy(b, in->aux, operand(cp, in, 0), c.from, operand(cp, in, 1), c.n, operand(cp, in, 2));
		break;
	}
	case K_COMMIT:
		kb_commit(b);
		break;
	case K_WAIT:
		kb_wait(b, (int)in->imm);
		break;
	case K_FOR:
		if (!cp->loop || !cp->loop(cp, in->aux))
			kcopy_loop(cp, in->aux);
		break;
	case K_INDEX:
	case K_ARG:
	case K_RES:
		return; // mapped with their loop
	default:
		v = copy_op(cp, in);
	}
	cp->map[inst] = v;
}

void kcopy_operands(struct kcopy *cp, int v)
{
	const struct kinst *in = &cp->from->insts[v];
	for (int i = 0; i < in->nsrc; i++)
		if (kernel_src(cp->from, v, i) != K_NONE)
			kcopy_expression(cp, kernel_src(cp->from, v, i));
}

void kcopy_expression(struct kcopy *cp, int v)
{
	if (cp->map[v] != K_NONE || cp->b->k->arena.failed)
		return;
	kcopy_operands(cp, v);
	kcopy_inst(cp, v);
}

void kcopy_region(struct kcopy *cp, int region)
{
	const struct kregion *r = &cp->from->regions[region];
	for (int i = 0; i < r->n; i++)
		kcopy_inst(cp, r->insts[i]);
}

// Values of an earlier copy of this body are none of the next one's.
static void forget(struct kcopy *cp, int region)
{
	const struct kregion *r = &cp->from->regions[region];
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &cp->from->insts[r->insts[i]];
		cp->map[r->insts[i]] = K_NONE;
		if (in->op == K_FOR)
			forget(cp, cp->from->loops[in->aux].body);
	}
}

void kcopy_forget(struct kcopy *cp, int loop)
{
	forget(cp, cp->from->loops[loop].body);
}

void kcopy_body(struct kcopy *cp, int loop, int index, const int *args, int *next)
{
	const struct kloop *l = &cp->from->loops[loop];
	forget(cp, l->body);
	cp->map[l->index] = index;
	for (int i = 0; i < l->ncarry; i++)
		cp->map[l->arg[i]] = args ? args[i] : K_NONE;
	kcopy_region(cp, l->body);
	for (int i = 0; next && i < l->ncarry; i++)
		next[i] = cp->map[l->next[i]];
}

static bool carry_live(const struct kcopy *cp, const struct kloop *l, int i)
{
	return cp->live[l->res[i]];
}

// A carry that the body hands on unchanged.
static bool carry_idle(const struct kloop *l, int i)
{
	return l->next[i] == l->arg[i] && (l->kind == AXIS_SERIAL || l->kind == AXIS_RED);
}

static void copy_once(struct kcopy *cp, int loop, const int *init, int *next)
{
	const struct kloop *l = &cp->from->loops[loop];
	bool lanes = l->kind == AXIS_LANE || l->kind == AXIS_UNROLL;
	kcopy_body(cp, loop, kcopy_value(cp, l->lo), init, next);
	for (int i = 0; i < l->ncarry; i++) {
		if (!carry_live(cp, l, i))
			continue;
		int v = next[i];
		if (lanes)
			v = kb_op2(cp->b, l->combine[i], cp->from->insts[l->arg[i]].type, init[i], v);
		kcopy_result(cp, loop, i, v);
	}
}

static void copy_many(struct kcopy *cp, int loop, enum axis_kind kind, int *init, int *next, int *kept)
{
	const struct kloop *l = &cp->from->loops[loop];
	int n = 0;
	uint8_t *combine = (uint8_t *)(kept + l->ncarry);
	for (int i = 0; i < l->ncarry; i++) {
		if (!carry_live(cp, l, i))
			continue;
		if (carry_idle(l, i)) {
			kcopy_result(cp, loop, i, init[i]);
			continue;
		}
		combine[n] = l->combine[i];
		next[n] = init[i];
		kept[n++] = i;
	}
	int fresh = kb_for(cp->b, kind, kcopy_value(cp, l->lo), kcopy_value(cp, l->hi), n, next, combine);
	cp->b->k->loops[fresh].nest = l->nest;
	for (int i = 0; i < n; i++)
		init[kept[i]] = kb_arg(cp->b, fresh, i);
	kcopy_body(cp, loop, kb_index(cp->b, fresh), init, NULL);
	for (int i = 0; i < n; i++)
		next[i] = kcopy_value(cp, l->next[kept[i]]);
	kb_end(cp->b, fresh, next);
	for (int i = 0; i < n; i++)
		kcopy_result(cp, loop, kept[i], kb_res(cp->b, fresh, i));
}

void kcopy_loop_as(struct kcopy *cp, int loop, enum axis_kind kind)
{
	const struct kloop *l = &cp->from->loops[loop];
	int64_t trip;
	if (cp->b->k->arena.failed)
		return;
	int *init = ARENA_ARRAY(&cp->b->k->arena, int, l->ncarry * 4 + 1);
	if (!init)
		return;
	for (int i = 0; i < l->ncarry; i++)
		init[i] = carry_live(cp, l, i) ? kcopy_value(cp, l->init[i]) : K_NONE;
	bool known = kind != AXIS_BLOCK && kernel_trip(cp->from, loop, &trip);
	if (known && trip == 0) {
		for (int i = 0; i < l->ncarry; i++)
			kcopy_result(cp, loop, i, init[i]);
	} else if (known && trip == 1) {
		copy_once(cp, loop, init, init + l->ncarry);
	} else {
		copy_many(cp, loop, kind, init, init + l->ncarry, init + 2 * l->ncarry);
	}
}

void kcopy_loop(struct kcopy *cp, int loop)
{
	kcopy_loop_as(cp, loop, cp->from->loops[loop].kind);
}

// ---- the whole kernel

// Takes what no store needs out of the regions: operands of what was folded.
static void sweep(struct kernel *k)
{
	bool *live = kernel_live(k, true);
	for (int i = 0; live && i < k->nregions; i++) {
		struct kregion *r = &k->regions[i];
		int n = 0;
		for (int j = 0; j < r->n; j++)
			if (live[r->insts[j]])
				r->insts[n++] = r->insts[j];
		r->n = n;
	}
	k->arena.failed |= !live;
	free(live);
}

// What a kernel has beside its instructions.
static void copy_frame(struct kernel *to, const struct kernel *from)
{
	for (int i = 0; i < from->nbufs; i++) {
		int at = kernel_buf(to, from->bufs[i].type, from->bufs[i].space, from->bufs[i].elems);
		to->bufs[at] = from->bufs[i];
		if (from->bufs[i].seg_nodes)
			to->bufs[at].seg_nodes = arena_dup(&to->arena, from->bufs[i].seg_nodes,
			                                   sizeof(int32_t) * (size_t)from->nsegs);
	}
	for (int i = 0; i < from->ntables; i++)
		kernel_table(to, from->tables[i].values, from->tables[i].n);
	memcpy(to->scalar_types, from->scalar_types, sizeof to->scalar_types);
	memcpy(to->scalar_leaf, from->scalar_leaf, sizeof to->scalar_leaf);
	to->nscalars = from->nscalars;
	to->nsegs = from->nsegs;
	to->flops = from->flops;
	to->work = from->work;
	to->scratch_bytes = from->scratch_bytes;
}

void kcopy_phase_begin(struct kcopy *cp)
{
	struct kernel *to = cp->b->k;
	memset(cp->map, 0xff, sizeof *cp->map * (size_t)(cp->from->n + 1));
	kbuild_init(cp->b, to, kernel_phase(to));
}

void kcopy_phase_end(struct kcopy *cp)
{
	kbuild_done(cp->b);
}

static void copy_phases(struct kcopy *cp, kcopy_phase_hook *phase)
{
	for (int i = 0; i < cp->from->nphases && !cp->b->k->arena.failed; i++) {
		if (phase) {
			phase(cp, i);
			continue;
		}
		kcopy_phase_begin(cp);
		cp->b->k->blocks[cp->b->k->nphases - 1] = cp->from->blocks[i];
		cp->b->k->beside[cp->b->k->nphases - 1] = cp->from->beside[i];
		kcopy_region(cp, cp->from->phases[i]);
		kcopy_phase_end(cp);
	}
}

void kernel_rebuild(struct kernel *k, kcopy_hook *hook, void *user)
{
	kernel_rebuild_phases(k, NULL, hook, user);
}

void kernel_rebuild_phases(struct kernel *k, kcopy_phase_hook *phase, kcopy_hook *hook, void *user)
{
	if (k->arena.failed)
		return;
	struct kernel *to = kernel_new();
	struct kbuild b = {.k = to};
	struct kcopy cp = {
	    .from = k, .b = &b, .loop = hook, .user = user, .live = kernel_live(k, hook != NULL)};
	cp.map = malloc(sizeof *cp.map * (size_t)(k->n + 1));
	bool failed = !to || !cp.live || !cp.map;
	if (!failed) {
		copy_frame(to, k);
		copy_phases(&cp, phase);
		sweep(to);
		kernel_finish(to);
		failed = to->arena.failed;
	}
	free(cp.live);
	free(cp.map);
	if (failed) {
		kernel_free(to);
		k->arena.failed = true;
		return;
	}
	struct kernel old = *k;
	*k = *to;
	*to = old;
	kernel_free(to);
}
