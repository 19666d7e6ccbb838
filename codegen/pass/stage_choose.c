// What the pass stage decides: which products are worth copies of their operands, and in blocks of which size.
// In:  a kernel at the free level and the target. Out: choices; the kernel is only read.
#include "pass/stage.h"

enum { WORTH = 1 << 15, MAX_TILES = 64, WHOLE_STEPS = 1024, MAX_STEPS = 384, MAX_OPS = 64, PAGE = 4096 };
#define FAR INT64_MAX

// Rows side by side in memory are read where they lie if they and all steps fit the second cache, for tiles of this
// height: a line holds some tiles' rows, the more the lower they are.
enum { ROWS_A_LINE = 6 };

// Cycles an element: copied along the lanes, to tiles of rows (parts of vectors), turned, read from beyond the
// second cache. What is lost with few blocks: so many over their number. The most a product may take for the time
// of its multiplications.
#define COPY_CYCLES 0.25
#define ROWS_CYCLES 0.6
#define TURN_CYCLES 1.0
#define READ_CYCLES 0.25
#define UNEVEN 2
#define WORST 2.2
// What the lanes of one result's dot product take to be added up: so many multiplications.
#define ADD_UP 288

// The only thing in the loop's body that is no plain code and no store, if it is a loop; -1.
static int only_inner(const struct kcopy *cp, int loop)
{
	const struct kregion *r = &cp->from->regions[cp->from->loops[loop].body];
	int inner = -1;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &cp->from->insts[r->insts[i]];
		if (in->op != K_FOR || !cp->live[r->insts[i]])
			continue;
		if (inner >= 0)
			return -1;
		inner = in->aux;
	}
	return inner;
}

static bool from_zero(const struct kernel *k, int loop, int64_t *n)
{
	return kernel_trip(k, loop, n) && kernel_is_const(k, k->loops[loop].lo, NULL) &&
	       kernel_int(k, k->loops[loop].lo) == 0;
}

// A sum of products from 0: its two factors.
static bool is_sum(const struct kernel *k, struct product *p)
{
	const struct kloop *l = &k->loops[p->red];
	union number zero;
	if (l->kind != AXIS_RED || l->ncarry != 1 || l->combine[0] != OP_ADD || !from_zero(k, p->red, &p->k) ||
	    !kernel_is_const(k, l->init[0], &zero) || zero.i != 0)
		return false;
	const struct kinst *next = &k->insts[l->next[0]];
	const struct kregion *r = &k->regions[l->body];
	for (int i = 0; i < r->n; i++)
		if (k->insts[r->insts[i]].op == K_FOR || k->insts[r->insts[i]].op == K_STORE)
			return false;
	if (next->op != OP_FMA || kernel_src(k, l->next[0], 2) != l->arg[0])
		return false;
	p->a.value = kernel_src(k, l->next[0], 0);
	p->b.value = kernel_src(k, l->next[0], 1);
	return true;
}

static bool find_nest(const struct kcopy *cp, int loop, struct product *p)
{
	const struct kernel *k = cp->from;
	int64_t n;
	p->naxes = 0;
	for (; loop >= 0 && k->loops[loop].kind == AXIS_PAR; loop = only_inner(cp, loop)) {
		if (p->naxes == STAGE_AXES || !from_zero(k, loop, &n))
			return false;
		p->axis[p->naxes++] = loop;
	}
	p->red = loop;
	if (p->naxes < 2 || loop < 0)
		return false;
	for (int i = 0; i < p->naxes - 1; i++) { // stores only in the innermost
		const struct kregion *r = &k->regions[k->loops[p->axis[i]].body];
		for (int j = 0; j < r->n; j++)
			if (k->insts[r->insts[j]].op == K_STORE)
				return false;
	}
	return is_sum(k, p);
}

static bool stores_along(const struct kernel *k, const struct product *p, int loop)
{
	const struct kregion *r = &k->regions[k->loops[p->axis[p->naxes - 1]].body];
	int64_t stride;
	bool any = false;
	for (int i = 0; i < r->n; i++) {
		if (k->insts[r->insts[i]].op != K_STORE)
			continue;
		if (!kernel_stride(k, kernel_src(k, r->insts[i], 0), loop, &stride) || stride != 1)
			return false;
		any = true;
	}
	return any;
}

static bool varies(struct stage *s, const struct kernel *k, int v, int loop)
{
	kernel_depends(k, loop, s->dep);
	return s->dep[v];
}

// Which loops are the lanes, which the rows.
static bool find_axes(struct stage *s, const struct kernel *k, struct product *p)
{
	p->row = p->lane = -1;
	for (int i = p->naxes - 1; i >= 0 && p->lane < 0; i--)
		if (stores_along(k, p, p->axis[i]))
			p->lane = p->axis[i];
	if (p->lane < 0)
		return false;
	if (varies(s, k, p->a.value, p->lane)) {
		struct stage_operand t = p->a;
		p->a = p->b;
		p->b = t;
	}
	kernel_depends(k, p->lane, s->dep);
	if (s->dep[p->a.value] || !s->dep[p->b.value])
		return false;
	for (int i = p->naxes - 1; i >= 0; i--) {
		int64_t n;
		kernel_depends(k, p->axis[i], s->dep);
		if (!s->dep[p->a.value] || s->dep[p->b.value])
			continue;
		kernel_trip(k, p->axis[i], &n);
		if (p->row < 0 || n > p->m) {
			p->row = p->axis[i];
			p->m = n;
		}
	}
	kernel_trip(k, p->lane, &p->n);
	kernel_depends(k, p->red, s->dep);
	return p->row >= 0 && s->dep[p->a.value] && s->dep[p->b.value];
}

// ---- how the factors lie in memory

struct access {            // of the loads a factor is computed from
	int64_t own, step; // strides along its own axis and the sum; FAR: they differ or are unknown
	int loads, ops;
	bool written; // what is read changes meanwhile
};

static bool writes(const struct kernel *k, const struct product *p, int buf)
{
	const struct kregion *r = &k->regions[k->loops[p->axis[p->naxes - 1]].body];
	bool found = false;
	for (int i = 0; i < r->n; i++)
		found |= k->insts[r->insts[i]].op == K_STORE && k->insts[r->insts[i]].aux == buf;
	return found;
}

static void look(const struct kernel *k, int v, const struct product *p, int own, struct access *x)
{
	const struct kinst *in = &k->insts[v];
	int64_t by_own, by_step;
	if (in->op == K_LOAD) {
		int at = kernel_src(k, v, 0);
		by_own = kernel_stride(k, at, own, &by_own) ? by_own : FAR;
		by_step = kernel_stride(k, at, p->red, &by_step) ? by_step : FAR;
		x->written |= writes(k, p, in->aux);
		x->own = x->loads == 0 || x->own == by_own ? by_own : FAR;
		x->step = x->loads++ == 0 || x->step == by_step ? by_step : FAR;
		return;
	}
	for (int i = 0; in->op < OP_COUNT && i < in->nsrc && x->ops < MAX_OPS; i++, x->ops++)
		look(k, kernel_src(k, v, i), p, own, x);
}

static struct access access_of(const struct kernel *k, const struct product *p, const struct stage_operand *o,
                               int own)
{
	struct access x = {.own = FAR, .step = FAR};
	look(k, o->value, p, own, &x);
	return x;
}

// ---- blocks

static int64_t tile_rows(const struct target *t) { return t->vector_regs >= 32 ? 12 : 6; }

// AVX-512; before it a masked store takes as long as several.
static bool masks_stores(const struct target *t) { return t->vector_bytes >= 64; }

static int64_t up(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

// Multiplications an element of the copy costs: they take so many cycles, and reading it from afar more.
static double copy_cost(const struct stage_operand *o, const struct access *x, double along, double rate)
{
	return rate * (READ_CYCLES + (!o->copied ? 0 : x->own == 1 ? along : TURN_CYCLES));
}

// Blocks of `a` by `b` tiles: time over that of the multiplications alone. Every block copies its operands; few
// of them are hard to spread over threads; what pads the last ones is multiplied too.
static double weigh(const struct stage *s, const struct product *p, const double *copy, bool outermost)
{
	int64_t rows = p->a.tiles * p->a.tile, lanes = p->b.tiles * p->b.tile, l2 = s->t->l2_bytes / 2,
	        bytes = p->steps * p->bytes, down = up(p->m, rows), across = up(p->n, lanes);
	if ((p->a.copied && p->a.tiles > 1 && p->a.tiles * p->a.pitch * bytes > l2) || (p->b.tiles > 1 && lanes * bytes > l2))
		return 1e30;
	double pad = (double)(down * rows) / (double)p->m * (double)(across * lanes) / (double)p->n;
	double cost = pad * (1 + copy[0] / (double)lanes + copy[1] / (double)rows);
	return outermost ? cost * (1 + UNEVEN / (double)(down * across)) : cost;
}

// Rows a block may have: whole tiles where they are copied, else a divisor; and all of them.
static bool set_rows(struct product *p, int64_t rows, int64_t tile)
{
	p->a.tile = p->a.copied ? tile : rows;
	p->a.tiles = p->a.copied ? up(rows, tile) : 1;
	return rows == p->m || (p->a.copied ? rows % tile == 0 : p->m % rows == 0);
}

static double search(const struct stage *s, struct product *p, const double *copy, bool outermost)
{
	struct product best = *p;
	double least = 1e30;
	int64_t tile = tile_rows(s->t), lanes = s->t->vector_bytes / p->bytes,
	        most = p->m < MAX_TILES * tile ? p->m : MAX_TILES * tile;
	p->a.pitch = masks_stores(s->t) ? tile : up(tile, lanes) * lanes;
	p->b.tile = p->b.pitch = lanes * 2;
	for (int64_t i = 1; i <= most + 1; i++) {
		if (!set_rows(p, i <= most ? i : p->m, tile))
			continue;
		for (p->b.tiles = 1; p->b.tiles <= up(p->n, p->b.tile) && p->b.tiles <= MAX_TILES;
		     p->b.tiles++) {
			double cost = weigh(s, p, copy, outermost);
			if (cost >= least)
				continue;
			least = cost;
			best = *p;
		}
	}
	*p = best;
	return least;
}

bool stage_choose(struct stage *s, const struct kcopy *cp, int loop)
{
	const struct kernel *k = cp->from;
	struct product *p = &s->p;
	if (k->nsegs || !find_nest(cp, loop, p) || !find_axes(s, k, p) ||
	    (double)p->m * (double)p->n * (double)p->k < WORTH)
		return false;
	p->bytes = (int64_t)tgc_type_bytes((tgc_type)k->insts[p->b.value].type);
	struct access a = access_of(k, p, &p->a, p->row), b = access_of(k, p, &p->b, p->lane);
	int64_t room = s->t->l2_bytes / p->bytes / p->k;
	bool near = a.step == 1 || (a.own == 1 && a.step * tile_rows(s->t) <= room * ROWS_A_LINE);
	if (!a.loads || !b.loads || a.written || b.written || (near && b.own == 1 && b.step <= room / 4))
		return false;
	p->a.copied = !near;
	p->b.copied = true;
	p->a.far = a.own == 1 && a.step >= PAGE / p->bytes;
	p->b.far = b.own == 1 && b.step >= PAGE / p->bytes;
	p->steps = p->k <= WHOLE_STEPS ? p->k : up(p->k, up(p->k, MAX_STEPS));
	double rate = (double)(s->t->vector_bytes / p->bytes) * s->t->fma_ports;
	double copy[] = {copy_cost(&p->a, &a, ROWS_CYCLES, rate), copy_cost(&p->b, &b, COPY_CYCLES, rate)};
	// Without copies a turned operand is multiplied along the sum, which pays where that is long.
	double worst = WORST + (a.step == 1 && b.step == 1 ? (double)ADD_UP / (double)p->k : 0);
	return search(s, p, copy, kernel_region_depth(k, k->insts[k->loops[loop].inst].region) == 0) < worst;
}
