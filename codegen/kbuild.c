// The builder: places instructions as far out as their operands allow, shares equal ones, opens loops.
// In:  calls in program order. Out: a kernel without loop-invariant or repeated code.
// Not here: folding (kfold.c), index algebra (kindex.c), copying whole regions (kcopy.c).
#include "codegen.h"

#include <math.h>
#include <stdlib.h>

struct kcse {
	int32_t *slots; // open addressing; instruction + 1, 0 is empty
	int cap, used;
	int root;    // nothing is placed outside of it
	int *stores; // by buffer: stores seen in this phase
	int nstores;
	bool failed; // out of memory: sharing is off, the kernel says so
};

static int phase_of(const struct kernel *k, int region)
{
	while (k->regions[region].parent >= 0)
		region = k->regions[region].parent;
	return region;
}

static int *stores_of(struct kbuild *b, int buf)
{
	struct kcse *c = b->cse;
	if (buf >= c->nstores) {
		int n = buf + 16;
		int *p = realloc(c->stores, sizeof *p * (size_t)n);
		if (!p) {
			b->k->arena.failed = true;
			return NULL;
		}
		memset(p + c->nstores, 0, sizeof *p * (size_t)(n - c->nstores));
		c->stores = p;
		c->nstores = n;
	}
	return &c->stores[buf];
}

void kbuild_init(struct kbuild *b, struct kernel *k, int region)
{
	*b = (struct kbuild){.k = k, .region = region, .cse = calloc(1, sizeof *b->cse)};
	if (!b->cse) {
		k->arena.failed = true;
		return;
	}
	b->cse->root = region;
	int phase = phase_of(k, region);
	for (int i = 0; i < k->n; i++)
		if (k->insts[i].op == K_STORE && phase_of(k, k->insts[i].region) == phase) {
			int *n = stores_of(b, k->insts[i].aux);
			if (n)
				++*n;
		}
}

void kbuild_done(struct kbuild *b)
{
	if (b->cse) {
		free(b->cse->slots);
		free(b->cse->stores);
		free(b->cse);
	}
	b->cse = NULL;
}

// ---- sharing

static uint64_t mix(uint64_t h, uint64_t x)
{
	h = (h ^ x) * 0x9E3779B97F4A7C15u;
	return h ^ (h >> 29);
}

static uint64_t hash_of(const struct kernel *k, int i)
{
	const struct kinst *in = &k->insts[i];
	uint64_t h = mix((uint64_t)in->op << 8 | in->type, (uint64_t)in->imm);
	h = mix(h, (uint64_t)(uint32_t)in->region << 32 | (uint32_t)in->aux);
	for (int s = 0; s < in->nsrc; s++)
		h = mix(mix(h, (uint64_t)k->operands[in->src_at + s]), (uint64_t)k->coefs[in->src_at + s]);
	return h;
}

static bool equal(const struct kernel *k, int i, int j)
{
	const struct kinst *x = &k->insts[i], *y = &k->insts[j];
	size_t n = x->nsrc;
	return x->op == y->op && x->type == y->type && x->nsrc == y->nsrc && x->region == y->region &&
	       x->aux == y->aux && x->imm == y->imm &&
	       (!n || (!memcmp(k->operands + x->src_at, k->operands + y->src_at, n * sizeof *k->operands) &&
	               !memcmp(k->coefs + x->src_at, k->coefs + y->src_at, n * sizeof *k->coefs)));
}

static bool rehash(struct kbuild *b)
{
	struct kcse *c = b->cse;
	int cap = c->cap ? c->cap * 2 : 256;
	int32_t *slots = calloc((size_t)cap, sizeof *slots);
	if (!slots) {
		b->k->arena.failed = true;
		return false;
	}
	for (int i = 0; i < c->cap; i++) {
		if (!c->slots[i])
			continue;
		unsigned at = (unsigned)hash_of(b->k, c->slots[i] - 1) & (unsigned)(cap - 1);
		while (slots[at])
			at = (at + 1) & (unsigned)(cap - 1);
		slots[at] = c->slots[i];
	}
	free(c->slots);
	c->slots = slots;
	c->cap = cap;
	return true;
}

// Takes the instruction just appended back if an equal one stands in the same region.
static int share(struct kbuild *b, int i)
{
	struct kernel *k = b->k;
	struct kcse *c = b->cse;
	if (k->arena.failed || (c->used * 2 >= c->cap && !rehash(b)))
		return i;
	unsigned at = (unsigned)hash_of(k, i) & (unsigned)(c->cap - 1);
	for (; c->slots[at]; at = (at + 1) & (unsigned)(c->cap - 1)) {
		int j = c->slots[at] - 1;
		if (!equal(k, i, j))
			continue;
		k->regions[k->insts[i].region].n--;
		k->noperands -= k->insts[i].nsrc;
		k->n--;
		return j;
	}
	c->slots[at] = i + 1;
	c->used++;
	return i;
}

// ---- placing

// The outermost region that sees all operands.
static int home_of(const struct kbuild *b, int nsrc, const int *src)
{
	const struct kernel *k = b->k;
	int home = b->cse ? b->cse->root : b->region, depth = kernel_region_depth(k, home);
	for (int i = 0; i < nsrc; i++) {
		if (src[i] == K_NONE)
			continue;
		int r = k->insts[src[i]].region, d = kernel_region_depth(k, r);
		if (d > depth) {
			home = r;
			depth = d;
		}
	}
	assert(k->arena.failed || kernel_region_within(k, b->region, home));
	return home;
}

int kb_place(struct kbuild *b, int op, tgc_type type, int aux, int64_t imm, int nsrc, const int *src,
             const int64_t *coef)
{
	if (b->k->arena.failed)
		return 0;
	return share(b, kernel_append(b->k, home_of(b, nsrc, src), op, type, aux, imm, nsrc, src, coef));
}

int kb_const(struct kbuild *b, tgc_type t, union number v)
{
	return kb_place(b, K_CONST, t, 0, number_round(t, v).i, 0, NULL, NULL);
}

int kb_int(struct kbuild *b, int64_t v)
{
	return kb_const(b, TGC_I64, (union number){.i = v});
}

int kb_bool(struct kbuild *b, bool v)
{
	return kb_const(b, TGC_BOOL, (union number){.i = v});
}

int kb_scalar(struct kbuild *b, int index)
{
	return kb_place(b, K_SCALAR, b->k->scalar_types[index], index, 0, 0, NULL, NULL);
}

int kb_table(struct kbuild *b, int table, int index)
{
	const struct ktable *t = &b->k->tables[table];
	union number at;
	if (kernel_is_const(b->k, index, &at) && at.i >= 0 && at.i < t->n)
		return kb_int(b, t->values[at.i]);
	return kb_place(b, K_TABLE, TGC_I64, table, 0, 1, &index, NULL);
}

// ---- memory

static bool may_be_empty(const struct kernel *k, int loop)
{
	const struct kloop *l = &k->loops[loop];
	return k->insts[l->hi].lo <= k->insts[l->lo].hi;
}

// A load leaves a loop that may be empty only if its index is in bounds whatever happens.
static int load_home(const struct kbuild *b, int buf, int index, int home)
{
	const struct kernel *k = b->k;
	int64_t lo, hi;
	if (kernel_interval(k, index, &lo, &hi) && lo >= 0 && hi < k->bufs[buf].elems)
		return home;
	int r = b->region;
	while (r != home && !may_be_empty(k, k->regions[r].loop))
		r = k->regions[r].parent;
	return r;
}

int kb_load(struct kbuild *b, int buf, int index, int guard, int seg)
{
	struct kernel *k = b->k;
	tgc_type type = k->bufs[buf].type;
	union number g;
	if (k->arena.failed)
		return 0;
	if (kernel_is_const(k, guard, &g)) {
		if (!g.i)
			return kb_const(b, type, (union number){.i = 0});
		guard = K_NONE;
	}
	int src[3] = {index, guard, seg}, n = seg != K_NONE ? 3 : guard != K_NONE ? 2 : 1;
	const int *stores = stores_of(b, buf);
	int seen = stores ? *stores : 0, home = b->region;
	if (!seen && k->bufs[buf].space == SPACE_GLOBAL)
		home = load_home(b, buf, index, home_of(b, n, src));
	// imm tells loads apart that stores stand between; it means nothing to others.
	return share(b, kernel_append(k, home, K_LOAD, type, buf, seen, n, src, NULL));
}

void kb_store(struct kbuild *b, int buf, int index, int value, int guard, int seg)
{
	struct kernel *k = b->k;
	union number g;
	if (k->arena.failed)
		return;
	if (kernel_is_const(k, guard, &g)) {
		if (!g.i)
			return;
		guard = K_NONE;
	}
	int src[4] = {index, value, guard, seg}, n = seg != K_NONE ? 4 : guard != K_NONE ? 3 : 2;
	int *stores = stores_of(b, buf);
	assert(k->insts[value].type == k->bufs[buf].type);
	kernel_append(k, b->region, K_STORE, k->bufs[buf].type, buf, 0, n, src, NULL);
	if (stores)
		++*stores;
}

void kb_mma(struct kbuild *b, int sums, const struct kmma *m, const int *at)
{
	int *stores = stores_of(b, sums);
	if (b->k->arena.failed)
		return;
	kernel_append(b->k, b->region, K_MMA, TGC_F32, sums, kernel_mma_imm(m), 2, at, NULL);
	if (stores)
		++*stores;
}

void kb_copy(struct kbuild *b, int to, int at, int from, int index, int64_t n, int guard)
{
	int *stores = stores_of(b, to);
	union number g;
	if (b->k->arena.failed)
		return;
	if (kernel_is_const(b->k, guard, &g) && g.i)
		guard = K_NONE;
	kernel_append(b->k, b->region, K_COPY, b->k->bufs[to].type, to, (int64_t)from | n << 16, guard != K_NONE ? 3 : 2,
	              (int[]){at, index, guard}, NULL);
	if (stores)
		++*stores;
}

void kb_commit(struct kbuild *b)
{
	if (!b->k->arena.failed)
		kernel_append(b->k, b->region, K_COMMIT, TGC_I64, 0, 0, 0, NULL, NULL);
}

void kb_wait(struct kbuild *b, int groups)
{
	if (!b->k->arena.failed)
		kernel_append(b->k, b->region, K_WAIT, TGC_I64, 0, groups, 0, NULL, NULL);
}

// ---- loops

int kb_for(struct kbuild *b, enum axis_kind kind, int lo, int hi, int ncarry, const int *init,
           const uint8_t *combine)
{
	int loop = kernel_loop_open(b->k, kind, b->region, lo, hi, ncarry, init, combine);
	if (!b->k->arena.failed)
		b->region = b->k->loops[loop].body;
	return loop;
}

int kb_index(const struct kbuild *b, int loop)
{
	return b->k->loops[loop].index;
}

int kb_arg(const struct kbuild *b, int loop, int i)
{
	return b->k->arena.failed ? 0 : b->k->loops[loop].arg[i];
}

void kb_end(struct kbuild *b, int loop, const int *next)
{
	struct kernel *k = b->k;
	if (k->arena.failed)
		return;
	assert(b->region == k->loops[loop].body);
	b->region = k->regions[b->region].parent;
	kernel_loop_close(k, loop, next);
}

int kb_res(struct kbuild *b, int loop, int i)
{
	return b->k->arena.failed ? 0 : b->k->loops[loop].res[i];
}

int kb_identity(struct kbuild *b, int combine_op, tgc_type t)
{
	bool is_float = type_is_float(t);
	union number v = {.i = 0};
	switch (combine_op) {
	case OP_MUL:
		v = number_from_double(t, 1);
		break;
	case OP_MAX:
	case OP_MIN: {
		double inf = combine_op == OP_MAX ? -(double)INFINITY : (double)INFINITY;
		v = number_from_double(t, inf); // saturates for integers
		break;
	}
	case OP_AND:
		v.i = t == TGC_BOOL ? 1 : -1;
		break;
	default:
		break;
	}
	if (is_float && combine_op == OP_ADD)
		v.f = 0;
	return kb_const(b, t, v);
}
