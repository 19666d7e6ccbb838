// Rows fetched ahead.
// In:  loads. Out: how far on the next row lies that a loop will read, for those loads at which it is asked for.
// A row that several loops read one after another comes from memory in the first of them only; the memory then
// waits while the others compute. So the last of them asks for a row to come. Streams that one loop reads, the
// processor follows by itself.
#include "emit_llvm.h"

enum { LINE = 64, MIN_ROW = 1024, SHORT_ROW = 4096 };

// Where in `region` the statement stands that v is part of.
static int place_in(const struct kernel *k, int region, int v)
{
	while (k->insts[v].region != region)
		v = k->loops[k->regions[k->insts[v].region].loop].inst;
	for (int i = 0; i < k->regions[region].n; i++)
		if (k->regions[region].insts[i] == v)
			return i;
	return -1;
}

// The innermost loop from one of whose iterations to the next the load goes on by a row; -1.
static int row_loop(const struct kernel *k, int load, int64_t bytes, int64_t *row)
{
	for (int r = k->insts[load].region; r >= 0; r = k->regions[r].parent) {
		int loop = k->regions[r].loop;
		if (loop >= 0 && (k->loops[loop].kind == AXIS_BLOCK || k->loops[loop].kind == AXIS_SERIAL) &&
		    kernel_stride(k, kernel_src(k, load, 0), loop, row) && (*row *= bytes) >= MIN_ROW)
			return loop;
	}
	return -1;
}

static bool has_term(const struct kernel *k, int index, int v, int64_t coef)
{
	const struct kinst *in = &k->insts[index];
	for (int i = 0; i < in->nsrc; i++)
		if (kernel_src(k, index, i) == v && k->coefs[in->src_at + i] == coef)
			return true;
	return false;
}

// Both begin at the same place of the row.
static bool same_row(const struct kernel *k, int region, int x, int y)
{
	int a = kernel_src(k, x, 0), b = kernel_src(k, y, 0);
	const struct kinst *in = &k->insts[a];
	if (in->op != K_AFFINE || k->insts[b].op != K_AFFINE || in->imm != k->insts[b].imm)
		return false;
	for (int i = 0; i < in->nsrc; i++) {
		int v = kernel_src(k, a, i);
		if (kernel_region_within(k, region, k->insts[v].region) &&
		    !has_term(k, b, v, k->coefs[in->src_at + i]))
			return false;
	}
	return true;
}

// The load is in the last of several loops that read the row.
static bool reads_last(const struct kernel *k, int load, int region)
{
	int mine = place_in(k, region, load);
	bool again = false;
	for (int v = 0; v < k->n; v++) {
		const struct kinst *in = &k->insts[v];
		if (in->op != K_LOAD || in->aux != k->insts[load].aux || in->region < 0 ||
		    !kernel_region_within(k, in->region, region) || !same_row(k, region, load, v))
			continue;
		int place = place_in(k, region, v);
		if (place > mine)
			return false;
		again |= place < mine;
	}
	return again;
}

static int64_t ahead(const struct emit *e, int load)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[load];
	const struct kbuf *b = &k->bufs[in->aux];
	int64_t bytes = (int64_t)tgc_type_bytes((tgc_type)b->type), row;
	if (b->space != SPACE_GLOBAL || b->segmented || b->written || b->elems * bytes <= e->t->l2_bytes)
		return 0;
	int loop = row_loop(k, load, bytes, &row);
	if (loop < 0 || k->insts[load].region == k->loops[loop].body ||
	    !reads_last(k, load, k->loops[loop].body))
		return 0;
	return row < SHORT_ROW ? 2 * row : row;
}

void emit_rows(struct emit *e)
{
	for (int v = 0; v < e->k->n; v++)
		if (e->k->insts[v].op == K_LOAD && e->k->insts[v].region >= 0)
			e->values[v].ahead = ahead(e, v);
}

void emit_prefetch(struct emit *e, LLVMValueRef p, int64_t bytes, bool to_write)
{
	LLVMValueRef args[4] = {emit_at_offset(e, p, bytes), LLVMConstInt(e->i32, to_write, 0),
	                        LLVMConstInt(e->i32, 3, 0), LLVMConstInt(e->i32, 1, 0)}; // into every cache, data
	emit_intrinsic(e, "llvm.prefetch", 1, &e->ptr, 4, args);
}

void emit_prefetch_row(struct emit *e, int load, const struct address *a, const struct ecombo *c, LLVMValueRef p)
{
	int64_t at = 0;
	for (int x = 0; x < EMIT_AXES; x++)
		at += a->axis_step[x] * c->i[x];
	if (e->values[load].ahead && at % LINE == 0)
		emit_prefetch(e, p, e->values[load].ahead, false);
}
