// The kernel IR as data: instructions, regions, loops, buffers, all in one arena.
// In:  appends by the builder and the parser. Out: struct kernel and questions about its structure.
// Not here: folding and placing (kbuild.c), bounds (interval.c), text (text.c, parse.c).
#include "codegen.h"

#include <stdlib.h>

// Makes room for one more of `n` elements. The old array stays in the arena until the kernel dies.
static bool grow(struct arena *a, void *array, int *cap, int n, size_t bytes)
{
	void *old;
	memcpy(&old, array, sizeof old);
	if (n < *cap)
		return true;
	if (a->failed)
		return false;
	int bigger = *cap ? *cap * 2 : 16;
	while (bigger <= n)
		bigger *= 2;
	void *p = arena_alloc(a, (size_t)bigger * bytes);
	if (!p)
		return false;
	if (n && old)
		memcpy(p, old, (size_t)*cap * bytes);
	memcpy(array, &p, sizeof p);
	*cap = bigger;
	return true;
}

struct kernel *kernel_new(void)
{
	struct kernel *k = calloc(1, sizeof *k);
	if (!k)
		return NULL;
	arena_init(&k->arena, NULL);
	// The first elements exist whatever happens later, so that a failed append may return 0.
	if (!grow(&k->arena, &k->insts, &k->cap, 0, sizeof *k->insts) ||
	    !grow(&k->arena, &k->regions, &k->regions_cap, 0, sizeof *k->regions) ||
	    !grow(&k->arena, &k->loops, &k->loops_cap, 0, sizeof *k->loops) ||
	    !grow(&k->arena, &k->bufs, &k->bufs_cap, 0, sizeof *k->bufs) ||
	    !grow(&k->arena, &k->tables, &k->tables_cap, 0, sizeof *k->tables)) {
		kernel_free(k);
		return NULL;
	}
	return k;
}

void kernel_free(struct kernel *k)
{
	if (!k)
		return;
	arena_free(&k->arena);
	free(k);
}

static void *dup_array(struct arena *a, const void *p, int n, int cap, size_t bytes)
{
	void *q = arena_alloc(a, (size_t)(cap ? cap : 1) * bytes);
	if (q && n)
		memcpy(q, p, (size_t)n * bytes);
	return q;
}

static bool clone_loop(struct arena *a, struct kloop *l)
{
	size_t bytes = sizeof(int32_t) * (size_t)l->ncarry;
	if (!l->ncarry)
		return true;
	l->init = arena_dup(a, l->init, bytes);
	l->arg = arena_dup(a, l->arg, bytes);
	l->next = arena_dup(a, l->next, bytes);
	l->res = arena_dup(a, l->res, bytes);
	l->combine = arena_dup(a, l->combine, (size_t)l->ncarry);
	return !a->failed;
}

struct kernel *kernel_clone(const struct kernel *k)
{
	struct kernel *c = malloc(sizeof *c);
	if (!c)
		return NULL;
	*c = *k;
	struct arena *a = &c->arena;
	arena_init(a, NULL);
	c->insts = dup_array(a, k->insts, k->n, k->cap, sizeof *k->insts);
	c->operands = dup_array(a, k->operands, k->noperands, k->operands_cap, sizeof *k->operands);
	c->coefs = dup_array(a, k->coefs, k->noperands, k->operands_cap, sizeof *k->coefs);
	c->regions = dup_array(a, k->regions, k->nregions, k->regions_cap, sizeof *k->regions);
	c->loops = dup_array(a, k->loops, k->nloops, k->loops_cap, sizeof *k->loops);
	c->bufs = dup_array(a, k->bufs, k->nbufs, k->bufs_cap, sizeof *k->bufs);
	c->tables = dup_array(a, k->tables, k->ntables, k->tables_cap, sizeof *k->tables);
	for (int i = 0; i < k->nregions && !a->failed; i++) {
		struct kregion *r = &c->regions[i];
		r->insts = dup_array(a, r->insts, r->n, r->cap, sizeof *r->insts);
	}
	for (int i = 0; i < k->nloops && !a->failed; i++)
		clone_loop(a, &c->loops[i]);
	for (int i = 0; i < k->nbufs && !a->failed; i++)
		if (k->bufs[i].seg_nodes)
			c->bufs[i].seg_nodes =
			    arena_dup(a, k->bufs[i].seg_nodes, sizeof(int32_t) * (size_t)k->nsegs);
	for (int i = 0; i < k->ntables && !a->failed; i++)
		c->tables[i].values =
		    arena_dup(a, k->tables[i].values, sizeof(int64_t) * (size_t)k->tables[i].n);
	if (a->failed) {
		kernel_free(c);
		return NULL;
	}
	return c;
}

int kernel_buf(struct kernel *k, tgc_type type, enum space space, int64_t elems)
{
	if (!grow(&k->arena, &k->bufs, &k->bufs_cap, k->nbufs, sizeof *k->bufs))
		return 0;
	k->bufs[k->nbufs] =
	    (struct kbuf){.type = (uint8_t)type, .space = (uint8_t)space, .elems = elems, .node = -1};
	return k->nbufs++;
}

int kernel_scalar(struct kernel *k, tgc_type type)
{
	assert(k->nscalars < TG_COUNT(k->scalar_types));
	k->scalar_types[k->nscalars] = type;
	k->scalar_leaf[k->nscalars] = -1;
	return k->nscalars++;
}

int kernel_table(struct kernel *k, const int64_t *values, int n)
{
	for (int i = 0; i < k->ntables; i++)
		if (k->tables[i].n == n && !memcmp(k->tables[i].values, values, sizeof *values * (size_t)n))
			return i;
	if (!grow(&k->arena, &k->tables, &k->tables_cap, k->ntables, sizeof *k->tables))
		return 0;
	int64_t *copy = arena_dup(&k->arena, values, sizeof *values * (size_t)n);
	k->tables[k->ntables] = (struct ktable){.values = copy, .n = copy ? n : 0};
	return k->ntables++;
}

static int region_new(struct kernel *k, int parent, int loop)
{
	if (!grow(&k->arena, &k->regions, &k->regions_cap, k->nregions, sizeof *k->regions))
		return 0;
	k->regions[k->nregions] = (struct kregion){.parent = parent, .loop = loop};
	return k->nregions++;
}

int kernel_phase(struct kernel *k)
{
	assert(k->nphases < TG_COUNT(k->phases));
	int r = region_new(k, -1, -1);
	k->phases[k->nphases++] = r;
	return r;
}

bool kernel_is_const(const struct kernel *k, int v, union number *out)
{
	if (v < 0 || k->insts[v].op != K_CONST)
		return false;
	if (out)
		out->i = k->insts[v].imm;
	return true;
}

int64_t kernel_int(const struct kernel *k, int v)
{
	assert(k->insts[v].op == K_CONST && !type_is_float(k->insts[v].type));
	return k->insts[v].imm;
}

int kernel_src(const struct kernel *k, int inst, int i)
{
	assert(i < k->insts[inst].nsrc);
	return k->operands[k->insts[inst].src_at + i];
}

int kernel_region_depth(const struct kernel *k, int region)
{
	int depth = 0;
	for (int r = k->regions[region].parent; r >= 0; r = k->regions[r].parent)
		depth++;
	return depth;
}

bool kernel_region_within(const struct kernel *k, int region, int outer)
{
	for (int r = region; r >= 0; r = k->regions[r].parent)
		if (r == outer)
			return true;
	return false;
}

bool kernel_trip(const struct kernel *k, int loop, int64_t *n)
{
	const struct kloop *l = &k->loops[loop];
	union number lo, hi;
	if (!kernel_is_const(k, l->lo, &lo) || !kernel_is_const(k, l->hi, &hi))
		return false;
	*n = hi.i > lo.i ? hi.i - lo.i : 0;
	return true;
}

bool kernel_apart(const struct kernel *k, int loop, int64_t *n)
{
	const struct kloop *l = &k->loops[loop];
	const struct kinst *lo = &k->insts[l->lo], *hi = &k->insts[l->hi];
	bool sum = lo->op == K_AFFINE, same = hi->op == K_AFFINE && hi->nsrc == (sum ? lo->nsrc : 1);
	if (kernel_trip(k, loop, n))
		return true;
	for (int i = 0; same && i < hi->nsrc; i++)
		same = kernel_src(k, l->hi, i) == (sum ? kernel_src(k, l->lo, i) : l->lo) &&
		       k->coefs[hi->src_at + i] == (sum ? k->coefs[lo->src_at + i] : 1);
	*n = same ? hi->imm - (sum ? lo->imm : 0) : 0;
	return *n > 0;
}

bool kernel_expands(const struct kinst *in)
{
	bool expands = in->op < OP_COUNT && type_is_float(in->type) && op_info[in->op].llvm_f[0] == '*';
	return expands && in->op != OP_MAX && in->op != OP_MIN;
}

void kernel_finish(struct kernel *k)
{
	for (int i = 0; i < k->nbufs; i++)
		k->bufs[i].read = k->bufs[i].written = false;
	for (int r = 0; r < k->nregions; r++)
		for (int i = 0; i < k->regions[r].n; i++) {
			const struct kinst *in = &k->insts[k->regions[r].insts[i]];
			if (in->op == K_COPY)
				k->bufs[kernel_copied(k, k->regions[r].insts[i]).from].read = true;
			if (in->op == K_LOAD || in->op == K_MMA)
				k->bufs[in->aux].read = true;
			else if (in->op == K_STORE)
				k->bufs[in->aux].written = true;
		}
}

static bool region_push(struct kernel *k, int region, int inst)
{
	struct kregion *r = &k->regions[region];
	if (!grow(&k->arena, &r->insts, &r->cap, r->n, sizeof *r->insts))
		return false;
	r->insts[r->n++] = inst;
	return true;
}

static bool push_operands(struct kernel *k, int n, const int *src, const int64_t *coef)
{
	int cap = k->operands_cap;
	if (!n)
		return true;
	if (!grow(&k->arena, &k->operands, &cap, k->noperands + n - 1, sizeof *k->operands) ||
	    !grow(&k->arena, &k->coefs, &k->operands_cap, k->noperands + n - 1, sizeof *k->coefs))
		return false;
	for (int i = 0; i < n; i++) {
		k->operands[k->noperands + i] = src[i];
		k->coefs[k->noperands + i] = coef ? coef[i] : 0;
	}
	k->noperands += n;
	return true;
}

int kernel_append(struct kernel *k, int region, int op, tgc_type type, int aux, int64_t imm, int nsrc,
                  const int *src, const int64_t *coef)
{
	int at = k->noperands;
	if (!grow(&k->arena, &k->insts, &k->cap, k->n, sizeof *k->insts) ||
	    !push_operands(k, nsrc, src, coef) || !region_push(k, region, k->n))
		return 0;
	k->insts[k->n] = (struct kinst){.op = (uint8_t)op,
	                                .type = (uint8_t)type,
	                                .nsrc = (uint16_t)nsrc,
	                                .region = region,
	                                .aux = aux,
	                                .src_at = at,
	                                .imm = imm};
	kernel_bounds(k, k->n);
	return k->n++;
}

static int32_t *carry_array(struct kernel *k, int n, const int *from)
{
	int32_t *p = n ? ARENA_ARRAY(&k->arena, int32_t, n) : NULL;
	if (p && from)
		memcpy(p, from, sizeof *p * (size_t)n);
	return p;
}

int kernel_loop_open(struct kernel *k, enum axis_kind kind, int region, int lo, int hi, int ncarry,
                     const int *init, const uint8_t *combine)
{
	if (!grow(&k->arena, &k->loops, &k->loops_cap, k->nloops, sizeof *k->loops))
		return 0;
	int loop = k->nloops;
	struct kloop l = {.kind = (uint8_t)kind, .inst = K_NONE, .lo = lo, .hi = hi, .ncarry = ncarry};
	l.init = carry_array(k, ncarry, init);
	l.arg = carry_array(k, ncarry, NULL);
	l.next = carry_array(k, ncarry, NULL);
	l.res = carry_array(k, ncarry, NULL);
	l.combine = ncarry ? arena_alloc(&k->arena, (size_t)ncarry) : NULL;
	if (ncarry && l.combine && combine)
		memcpy(l.combine, combine, (size_t)ncarry);
	if (k->arena.failed)
		l.ncarry = 0;
	l.body = region_new(k, region, loop);
	k->loops[k->nloops++] = l;
	k->loops[loop].index = kernel_append(k, l.body, K_INDEX, TGC_I64, loop, 0, 0, NULL, NULL);
	for (int i = 0; i < l.ncarry; i++)
		k->loops[loop].arg[i] =
		    kernel_append(k, l.body, K_ARG, k->insts[init[i]].type, loop, i, 0, NULL, NULL);
	return loop;
}

void kernel_loop_close(struct kernel *k, int loop, const int *next)
{
	struct kloop *l = &k->loops[loop];
	int parent = k->regions[l->body].parent;
	if (parent < 0) // only when out of memory
		return;
	for (int i = 0; i < l->ncarry; i++)
		l->next[i] = next[i];
	l->inst = kernel_append(k, parent, K_FOR, TGC_I64, loop, 0, 0, NULL, NULL);
	for (int i = 0; i < l->ncarry; i++)
		l->res[i] = kernel_append(k, parent, K_RES, k->insts[l->init[i]].type, loop, i, 0, NULL, NULL);
}

// From bit 0 on: buffers of 12 bits, tiles and depth of 4, which side is turned, pitches of 13.
struct kmma kernel_mma(const struct kernel *k, int inst)
{
	uint64_t imm = (uint64_t)k->insts[inst].imm;
	return (struct kmma){.a = (int)(imm & 0xfff),
	                     .b = (int)(imm >> 12 & 0xfff),
	                     .rows = (int)(imm >> 24 & 15) * MMA_WARP,
	                     .columns = (int)(imm >> 28 & 15) * MMA_WARP,
	                     .depth = (int)(imm >> 32 & 15) * MMA_DEPTH,
	                     .terms_first = {imm >> 36 & 1, imm >> 37 & 1},
	                     .pitch = {(int)(imm >> 38 & 0x1fff) * MMA_PITCH_UNIT, (int)(imm >> 51) * MMA_PITCH_UNIT}};
}

int64_t kernel_mma_imm(const struct kmma *m)
{
	uint64_t pitch[2] = {(uint64_t)m->pitch[0] / MMA_PITCH_UNIT, (uint64_t)m->pitch[1] / MMA_PITCH_UNIT};
	return (int64_t)((uint64_t)m->a | (uint64_t)m->b << 12 | (uint64_t)(m->rows / MMA_WARP) << 24 |
	                 (uint64_t)(m->columns / MMA_WARP) << 28 | (uint64_t)(m->depth / MMA_DEPTH) << 32 |
	                 (uint64_t)m->terms_first[0] << 36 | (uint64_t)m->terms_first[1] << 37 | pitch[0] << 38 |
	                 pitch[1] << 51);
}

struct kcopied kernel_copied(const struct kernel *k, int inst)
{
	uint64_t imm = (uint64_t)k->insts[inst].imm;
	return (struct kcopied){(int)(imm & 0xffff), (int)(imm >> 16)};
}

bool kernel_multiple(const struct kernel *k, int v, int64_t n)
{
	const struct kinst *in = &k->insts[v];
	bool ok = (in->op == K_AFFINE || in->op == K_CONST) && in->imm % n == 0;
	for (int i = 0; in->op == K_AFFINE && i < in->nsrc; i++)
		ok &= k->coefs[in->src_at + i] % n == 0;
	return ok || n == 1;
}

int64_t kernel_mma_sum(const struct kmma *m, int row, int column)
{
	int warp = row / MMA_WARP * (m->columns / MMA_WARP) + column / MMA_WARP;
	int r = row % MMA_WARP, c = column % MMA_WARP, lane = warp * 32 + r % 8 * 4 + c % 8 / 2;
	return (int64_t)lane * MMA_WARP + r / 16 * 16 + c / 8 * 4 + r / 8 % 2 * 2 + c % 2;
}

void kernel_access(const struct kernel *k, int inst, uint8_t *access)
{
	const struct kinst *in = &k->insts[inst];
	if (in->op == K_LOAD)
		access[in->aux] |= ACCESS_READ;
	else if (in->op == K_STORE)
		access[in->aux] |= ACCESS_WRITE;
	if (in->op == K_MMA) {
		struct kmma m = kernel_mma(k, inst);
		access[in->aux] |= ACCESS_READ | ACCESS_WRITE;
		access[m.a] |= ACCESS_READ;
		access[m.b] |= ACCESS_READ;
	}
	if (in->op == K_COPY) {
		access[in->aux] |= ACCESS_WRITE | ACCESS_COPY;
		access[kernel_copied(k, inst).from] |= ACCESS_READ;
	}
	if (in->op != K_FOR)
		return;
	const struct kregion *r = &k->regions[k->loops[in->aux].body];
	for (int i = 0; i < r->n; i++)
		kernel_access(k, r->insts[i], access);
}

// Where a kernel moves less than the last level cache holds, what it stores is often read again before it is evicted.
bool kernel_streams(const struct kernel *k, const struct target *t)
{
	int64_t bytes = 0;
	for (int i = 0; i < k->nbufs; i++)
		if (k->bufs[i].space == SPACE_GLOBAL && !k->bufs[i].segmented)
			bytes += k->bufs[i].elems * (int64_t)tgc_type_bytes((tgc_type)k->bufs[i].type);
	return bytes >= t->l3_bytes && t->vector_bytes >= 32 && strncmp(t->name, "x86-64", 6) == 0;
}

double kernel_region_work(const struct kernel *k, int region)
{
	const struct kregion *r = &k->regions[region];
	double work = 0;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		int64_t trip;
		if (in->op == K_FOR)
			work += (kernel_trip(k, in->aux, &trip) ? (double)trip : 16) *
			        kernel_region_work(k, k->loops[in->aux].body);
		else if (in->op != K_INDEX && in->op != K_ARG && in->op != K_RES && in->op != K_CONST)
			work++;
	}
	return work;
}
