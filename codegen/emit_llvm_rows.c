// Rows fetched ahead.
// In:  loads. Out: how far on the next row lies that a loop will read, for those loads at which it is asked for.
// A row that several loops read one after another comes from memory in the first of them only; the memory then
// waits while the others compute. So the last of them asks for a row to come. Streams that one loop reads, the
// processor follows by itself; but not rows whose numbers lie in memory (a gather): there the number of the next
// iteration's row is found ahead, and that row asked for. And where a kernel does nothing but read much more than the
// caches hold, asking a page ahead keeps more of it on its way than the processor does.
#include "emit_llvm.h"

enum { LINE = 64, MIN_ROW = 1024, SHORT_ROW = 4096, MAX_NUMBER = 16, MAX_ROWS = 8, STREAM_AHEAD = 4096, MAX_STEP = 1024 };

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

// ---- rows whose numbers lie in memory

// Instructions of the body that v takes, v among them, if they can run for another iteration; else more than
// MAX_NUMBER. They are added to `take`, and *loads tells whether one of them is a load.
static int number_work(const struct kernel *k, int v, int body, bool *take, bool *loads)
{
	const struct kinst *in = &k->insts[v];
	int work = 1;
	if (in->region != body || in->op == K_INDEX || in->op == K_CONST || (take && take[v]))
		return 0;
	if (in->op == K_LOAD) {
		const struct kbuf *b = &k->bufs[in->aux];
		if (in->nsrc != 1 || b->space != SPACE_GLOBAL || b->written || b->segmented)
			return MAX_NUMBER + 1;
		*loads = true;
	} else if (in->op >= OP_COUNT && in->op != K_AFFINE && in->op != K_IDIV && in->op != K_IMOD) {
		return MAX_NUMBER + 1;
	}
	if (take)
		take[v] = true;
	for (int i = 0; i < in->nsrc && work <= MAX_NUMBER; i++)
		work += number_work(k, kernel_src(k, v, i), body, take, loads);
	return work;
}

// The term of the load's index that is the number of a row; K_NONE. *step: bytes from one row to the next.
static int row_number(const struct emit *e, int load, int64_t *step)
{
	const struct kernel *k = e->k;
	const struct kbuf *b = &k->bufs[k->insts[load].aux];
	int index = kernel_src(k, load, 0), number = K_NONE;
	int64_t bytes = (int64_t)tgc_type_bytes((tgc_type)b->type);
	if (b->space != SPACE_GLOBAL || b->segmented || b->written || b->elems * bytes <= e->t->l2_bytes ||
	    k->insts[index].op != K_AFFINE)
		return K_NONE;
	for (int i = 0; i < k->insts[index].nsrc; i++) {
		int v = kernel_src(k, index, i), region = k->insts[v].region;
		int loop = region < 0 ? -1 : k->regions[region].loop;
		bool loads = false;
		if (loop < 0 || region == k->insts[load].region || k->insts[v].op == K_INDEX ||
		    (k->loops[loop].kind != AXIS_BLOCK && k->loops[loop].kind != AXIS_SERIAL))
			continue; // the same row, or a place in it
		*step = k->coefs[k->insts[index].src_at + i] * bytes;
		if (number != K_NONE || *step < MIN_ROW ||
		    e->values[v].lane || e->values[v].deps ||
		    number_work(k, v, region, NULL, &loads) > MAX_NUMBER || !loads)
			return K_NONE;
		number = v;
	}
	return number;
}

static void find_number(struct emit *e, int number, int body, LLVMValueRef *next)
{
	const struct kregion *r = &e->k->regions[body];
	bool *take = ARENA_ARRAY(&e->arena, bool, e->k->n), loads = false;
	struct ecombo none = {0};
	if (!take)
		return;
	number_work(e->k, number, body, take, &loads);
	for (int i = 0; i < r->n; i++)
		if (take[r->insts[i]])
			emit_inst(e, r->insts[i]);
	*next = emit_fetch(e, number, &none, false, false);
}

void emit_next_rows(struct emit *e, int loop, LLVMValueRef index, LLVMValueRef hi)
{
	const struct kloop *l = &e->k->loops[loop];
	int pointers = e->npointers, n = 0, found[MAX_ROWS];
	struct ecombo none = {0};
	for (int v = 0; v < e->k->n && n < MAX_ROWS; v++) {
		int number = e->values[v].number - 1;
		bool known = number < 0 || e->k->insts[number].region != l->body;
		for (int i = 0; i < n && !known; i++)
			known = found[i] == number;
		if (!known)
			found[n++] = number;
	}
	if (!n)
		return;
	LLVMValueRef next = LLVMBuildNSWAdd(e->b, index, emit_int(e, 1), "");
	LLVMValueRef last = LLVMBuildICmp(e->b, LLVMIntSGE, next, hi, "");
	emit_define(e, l->index, &none, LLVMBuildSelect(e->b, last, index, next, ""));
	for (int i = 0; i < n; i++)
		find_number(e, found[i], l->body, &e->values[found[i]].next);
	emit_define(e, l->index, &none, index);
	e->npointers = pointers; // those of the next iteration
}

// ---- streams

static bool only_reads(const struct emit *e)
{
	const struct kernel *k = e->k;
	int64_t read = 0, written = 0;
	for (int i = 0; i < k->nbufs; i++) {
		const struct kbuf *b = &k->bufs[i];
		int64_t bytes = b->elems * (int64_t)tgc_type_bytes((tgc_type)b->type);
		if (b->space == SPACE_GLOBAL && !b->segmented)
			*(b->written ? &written : &read) += bytes;
	}
	return kernel_streams(k, e->t) && written < read / 16;
}

// The load goes on by a few vectors from one iteration to the next.
static bool is_stream(const struct emit *e, int load)
{
	const struct kernel *k = e->k;
	const struct kbuf *b = &k->bufs[k->insts[load].aux];
	int64_t bytes = (int64_t)tgc_type_bytes((tgc_type)b->type), step;
	if (b->space != SPACE_GLOBAL || b->segmented || b->written || b->elems * bytes <= e->t->l2_bytes)
		return false;
	for (int r = k->insts[load].region; r >= 0; r = k->regions[r].parent) {
		int loop = k->regions[r].loop;
		if (loop >= 0 && (k->loops[loop].kind == AXIS_BLOCK || k->loops[loop].kind == AXIS_SERIAL))
			return kernel_stride(k, kernel_src(k, load, 0), loop, &step) && step > 0 &&
			       step * bytes <= MAX_STEP;
	}
	return false;
}

void emit_rows(struct emit *e)
{
	bool streams = only_reads(e);
	for (int v = 0; v < e->k->n; v++)
		if (e->k->insts[v].op == K_LOAD && e->k->insts[v].region >= 0) {
			int64_t step = 0;
			int number = row_number(e, v, &step);
			e->values[v].ahead = number == K_NONE ? ahead(e, v) : step;
			e->values[v].number = number + 1;
			e->values[v].stream = streams && !e->values[v].ahead && is_stream(e, v);
			if (e->values[v].stream)
				e->values[v].ahead = STREAM_AHEAD;
		}
}

void emit_prefetch(struct emit *e, LLVMValueRef p, int64_t bytes, bool to_write, enum cache_level nearest)
{
	LLVMValueRef args[4] = {emit_at_offset(e, p, bytes), LLVMConstInt(e->i32, to_write, 0),
	                        LLVMConstInt(e->i32, nearest, 0), LLVMConstInt(e->i32, 1, 0)}; // data
	emit_intrinsic(e, "llvm.prefetch", 1, &e->ptr, 4, args);
}

void emit_prefetch_row(struct emit *e, int load, const struct address *a, const struct ecombo *c, LLVMValueRef p)
{
	int64_t at = 0;
	for (int x = 0; x < EMIT_AXES; x++)
		at += a->axis_step[x] * c->i[x];
	if (!e->values[load].ahead || at % LINE)
		return;
	int number = e->values[load].number - 1;
	if (number < 0) {
		emit_prefetch(e, p, e->values[load].ahead, false, e->values[load].stream ? CACHE_SECOND : CACHE_FIRST);
		return;
	}
	struct ecombo none = {0};
	LLVMValueRef apart =
	    LLVMBuildNSWSub(e->b, e->values[number].next, emit_fetch(e, number, &none, false, false), "");
	apart = LLVMBuildNSWMul(e->b, apart, emit_int(e, e->values[load].ahead), "");
	emit_prefetch(e, LLVMBuildGEP2(e->b, e->i8, p, &apart, 1, ""), 0, false, CACHE_FIRST);
}
