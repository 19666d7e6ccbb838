// Pass columns: sums down long columns go by rows.
// In:  at the free level, a PAR loop over columns around one reduction over rows that are far apart. Out: panels of
// columns; in each the accumulators of all columns lie in scratch, and a few rows at a time are added to them along
// the row. So memory is read as streams of whole pages, where a register tile would read some lines of each row.
// Before tile, which makes vectors of it. Every column's terms are added in the same order: keeps every bit.
#include "pass/tile.h"

#include <stdlib.h>

enum { ROWS = 8, PLAIN = 4, MIN_ROW = 1024, PANEL_BYTES = 16 << 10, MIN_PANEL = 64, WHOLE = 16, MIN_PANELS = 8 };
enum { MAX_CARRIES = 4 };
enum mode { AS_IS, ADD, FINISH };

struct columns {
	const struct target *t;
	int loop, red;
	int64_t n, width, trip;
	int64_t at_once;        // rows that are added to an accumulator while it is in a register
	int acc[MAX_CARRIES];   // buffers in the new kernel: of a chunk
	int total[MAX_CARRIES]; // of the chunks so far; acc where there is one
	enum mode mode;         // of the copy being made
	int column, row;        // in the panel; the first of `rows` of the reduction
	int64_t rows;
};

// ---- what is worth it

static bool far_apart(const struct kernel *k, int load, int loop, int red, int64_t *bytes)
{
	int64_t step, size = (int64_t)tgc_type_bytes((tgc_type)k->bufs[k->insts[load].aux].type);
	*bytes += size;
	return kernel_stride(k, kernel_src(k, load, 0), loop, &step) && step == 1 &&
	       kernel_stride(k, kernel_src(k, load, 0), red, &step) && step * size >= MIN_ROW;
}

// Loads in the reduction are of rows that are far apart, or the same for all columns and rows. Returns their bytes in all,
// for one column and row; 0: something else is there.
static int64_t row_bytes(const struct kernel *k, int loop, int red)
{
	const struct kregion *r = &k->regions[k->loops[red].body];
	int64_t far = 0, step, other = 0;
	for (int i = 0; i < r->n; i++) {
		const struct kinst *in = &k->insts[r->insts[i]];
		if (in->op == K_FOR || in->op == K_STORE)
			return 0;
		if (in->op != K_LOAD || far_apart(k, r->insts[i], loop, red, in->nsrc == 1 ? &far : &other))
			continue;
		if (!kernel_stride(k, kernel_src(k, r->insts[i], 0), loop, &step) || step ||
		    !kernel_stride(k, kernel_src(k, r->insts[i], 0), red, &step) || step)
			return 0; // a factor of each row is a product's: its register tiles reuse the columns
	}
	return far;
}

// The distance of the bounds, if that is certain.
static bool distance(const struct kernel *k, int loop, int64_t *n)
{
	const struct kinst *lo = &k->insts[k->loops[loop].lo], *hi = &k->insts[k->loops[loop].hi];
	if (kernel_trip(k, loop, n))
		return true;
	if (lo->op != K_AFFINE || hi->op != K_AFFINE || lo->nsrc != hi->nsrc)
		return false;
	for (int i = 0; i < lo->nsrc; i++)
		if (kernel_src(k, k->loops[loop].lo, i) != kernel_src(k, k->loops[loop].hi, i) ||
		    k->coefs[lo->src_at + i] != k->coefs[hi->src_at + i])
			return false;
	*n = hi->imm - lo->imm;
	return true;
}

// The only loop in the body, a reduction from constants.
static int only_reduction(const struct kernel *k, int loop)
{
	const struct kregion *r = &k->regions[k->loops[loop].body];
	int red = -1;
	for (int i = 0; i < r->n; i++) {
		if (k->insts[r->insts[i]].op != K_FOR)
			continue;
		if (red >= 0)
			return -1;
		red = k->insts[r->insts[i]].aux;
	}
	if (red < 0 || k->loops[red].kind != AXIS_RED || k->loops[red].ncarry > MAX_CARRIES)
		return -1;
	for (int i = 0; i < k->loops[red].ncarry; i++)
		if (k->insts[k->loops[red].init[i]].op != K_CONST)
			return -1;
	return red;
}

static int64_t iterations_around(const struct kernel *k, int loop)
{
	int64_t n = 1, trip;
	for (int r = k->insts[k->loops[loop].inst].region; r >= 0; r = k->regions[r].parent)
		if (k->regions[r].loop >= 0 && k->loops[k->regions[r].loop].kind == AXIS_PAR &&
		    kernel_trip(k, k->regions[r].loop, &trip))
			n *= trip;
	return n;
}

// Bytes of accumulators of a column.
static int64_t column_bytes(const struct kernel *k, int red)
{
	const struct kloop *l = &k->loops[red];
	int64_t bytes = 0;
	for (int i = 0; i < l->ncarry; i++)
		bytes += (int64_t)tgc_type_bytes((tgc_type)k->insts[l->arg[i]].type);
	return bytes;
}

// Equal panels, in whole vectors, as wide as leaves the accumulators in half of a first cache: a row that is read whole
// goes on in the next one. Narrower where there would be too few; all columns where there are none.
static int64_t panel(int64_t n, int64_t around, int64_t bytes)
{
	int64_t widest = PANEL_BYTES / bytes, least = (n + widest - 1) / widest;
	if (least * around < MIN_PANELS)
		least = (MIN_PANELS + around - 1) / around;
	for (int64_t panels = least; panels <= 2 * least && n / panels >= MIN_PANEL; panels++)
		if (n % (panels * WHOLE) == 0)
			return n / panels;
	return n;
}

static bool choose(struct columns *s, const struct kernel *k, int loop)
{
	int64_t around = iterations_around(k, loop), bytes;
	if (k->loops[loop].kind != AXIS_PAR || !kernel_trip(k, loop, &s->n) || kernel_int(k, k->loops[loop].lo))
		return false;
	s->loop = loop;
	s->red = only_reduction(k, loop);
	if (s->red < 0 || !distance(k, s->red, &s->trip) || s->trip < ROWS)
		return false;
	bytes = row_bytes(k, loop, s->red);
	bool plain = kernel_region_work(k, k->loops[s->red].body) <= PLAIN;
	s->at_once = plain && s->trip >= 2 * ROWS ? 2 * ROWS : ROWS;
	s->width = panel(s->n, around, column_bytes(k, s->red));
	return around * (s->n / s->width) >= MIN_PANELS && around * s->n * s->trip * bytes > s->t->l2_bytes &&
	       s->width * column_bytes(k, s->red) * (s->trip > TILE_TERMS ? 2 : 1) <= s->t->l2_bytes / 4;
}

// ---- the new loops

static tgc_type type_of(const struct kcopy *cp, int carry)
{
	const struct columns *s = cp->user;
	return (tgc_type)cp->from->insts[cp->from->loops[s->red].arg[carry]].type;
}

static int held(struct kcopy *cp, const int *bufs, int i)
{
	const struct columns *s = cp->user;
	return kb_load(cp->b, bufs[i], s->column, K_NONE, K_NONE);
}

static void hold(struct kcopy *cp, const int *bufs, int i, int value)
{
	const struct columns *s = cp->user;
	kb_store(cp->b, bufs[i], s->column, value, K_NONE, K_NONE);
}

// The reduction inside of a column: some of its rows, or what they all came to.
static void reduction(struct kcopy *cp)
{
	struct columns *s = cp->user;
	int n = cp->from->loops[s->red].ncarry, sum[MAX_CARRIES];
	for (int i = 0; i < n; i++)
		sum[i] = held(cp, s->mode == ADD ? s->acc : s->total, i);
	for (int64_t r = 0; r < s->rows && s->mode == ADD; r++)
		kcopy_body(cp, s->red, kb_iadd(cp->b, s->row, kb_int(cp->b, r)), sum, sum);
	for (int i = 0; i < n; i++) {
		if (s->mode == ADD)
			hold(cp, s->acc, i, sum[i]);
		kcopy_result(cp, s->red, i, sum[i]);
	}
}

// While rows are added nothing is stored.
static bool no_store(struct kcopy *cp, int inst)
{
	return cp->from->insts[inst].op == K_STORE;
}

// Opens a loop over the panel's columns.
static int open_columns(struct kcopy *cp)
{
	struct columns *s = cp->user;
	int loop = kb_for(cp->b, AXIS_PAR, kb_int(cp->b, 0), kb_int(cp->b, s->width), 0, NULL, NULL);
	s->column = kb_index(cp->b, loop);
	return loop;
}

static void begin(struct kcopy *cp, const int *bufs, bool fresh)
{
	const struct columns *s = cp->user;
	const struct kloop *l = &cp->from->loops[s->red];
	int loop = open_columns(cp);
	for (int i = 0; i < l->ncarry; i++)
		hold(cp, bufs, i,
		     fresh ? kb_identity(cp->b, l->combine[i], type_of(cp, i)) : kcopy_value(cp, l->init[i]));
	kb_end(cp->b, loop, NULL);
}

static void add_chunk(struct kcopy *cp)
{
	const struct columns *s = cp->user;
	const struct kloop *l = &cp->from->loops[s->red];
	int loop = open_columns(cp);
	for (int i = 0; i < l->ncarry; i++)
		hold(cp, s->total, i,
		     kb_op2(cp->b, l->combine[i], type_of(cp, i), held(cp, s->total, i), held(cp, s->acc, i)));
	kb_end(cp->b, loop, NULL);
}

// The columns' bodies, those of the panel that begins at column `from`.
static void bodies(struct kcopy *cp, int from, enum mode mode)
{
	struct columns *s = cp->user;
	int loop = open_columns(cp);
	s->mode = mode;
	cp->inst = mode == ADD ? no_store : NULL;
	kcopy_body(cp, s->loop, kb_iadd(cp->b, from, s->column), NULL, NULL);
	cp->inst = NULL;
	s->mode = AS_IS;
	kb_end(cp->b, loop, NULL);
}

static void some_rows(struct kcopy *cp, int from, int row, int64_t rows)
{
	struct columns *s = cp->user;
	s->row = row;
	s->rows = rows;
	bodies(cp, from, ADD);
}

// Rows [row, row + n).
static void add_rows(struct kcopy *cp, int from, int row, int64_t n)
{
	const struct columns *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t whole = n / s->at_once, rest = n % s->at_once;
	int steps = kb_for(b, AXIS_SERIAL, kb_int(b, 0), kb_int(b, whole), 0, NULL, NULL);
	int v[] = {row, kb_index(b, steps)};
	some_rows(cp, from, kb_affine(b, 0, 2, (int64_t[]){1, s->at_once}, v), s->at_once);
	kb_end(b, steps, NULL);
	if (rest)
		some_rows(cp, from, kb_iadd(b, row, kb_int(b, whole * s->at_once)), rest);
}

static void one_chunk(struct kcopy *cp, int from, int row, int64_t n)
{
	const struct columns *s = cp->user;
	begin(cp, s->acc, true);
	add_rows(cp, from, row, n);
	add_chunk(cp);
}

// In chunks of as many rows as the pass tile makes them.
static void all_rows(struct kcopy *cp, int from, int row)
{
	const struct columns *s = cp->user;
	struct kbuild *b = cp->b;
	int64_t chunks = (s->trip + TILE_TERMS - 1) / TILE_TERMS, size = (s->trip + chunks - 1) / chunks;
	begin(cp, s->total, false);
	if (chunks == 1) {
		add_rows(cp, from, row, s->trip);
		return;
	}
	int loop = kb_for(b, AXIS_SERIAL, kb_int(b, 0), kb_int(b, s->trip / size), 0, NULL, NULL);
	int v[] = {row, kb_index(b, loop)};
	one_chunk(cp, from, kb_affine(b, 0, 2, (int64_t[]){1, size}, v), size);
	kb_end(b, loop, NULL);
	if (s->trip % size)
		one_chunk(cp, from, kb_iadd(b, row, kb_int(b, s->trip / size * size)), s->trip % size);
}

static bool column_loop(struct kcopy *cp, int loop)
{
	struct columns *s = cp->user;
	struct kbuild *b = cp->b;
	if (s->mode != AS_IS && loop == s->red) {
		reduction(cp);
		return true;
	}
	if (s->mode != AS_IS || !choose(s, cp->from, loop))
		return false;
	for (int i = 0; i < cp->from->loops[s->red].ncarry; i++) {
		s->total[i] = s->acc[i] = kernel_buf(b->k, type_of(cp, i), SPACE_LOCAL, s->width);
		if (s->trip > TILE_TERMS)
			s->total[i] = kernel_buf(b->k, type_of(cp, i), SPACE_LOCAL, s->width);
	}
	int panels = kb_for(b, AXIS_PAR, kb_int(b, 0), kb_int(b, s->n / s->width), 0, NULL, NULL);
	int from = kb_imul(b, kb_index(b, panels), s->width);
	all_rows(cp, from, kcopy_value(cp, cp->from->loops[s->red].lo));
	bodies(cp, from, FINISH);
	kb_end(b, panels, NULL);
	return true;
}

void kpass_columns(struct kernel *k, const struct target *t)
{
	struct columns s = {.t = t, .mode = AS_IS};
	for (int i = 0; i < k->nloops; i++)
		if (k->loops[i].kind == AXIS_LANE) // tiled before
			return;
	kernel_rebuild(k, column_loop, &s);
}
