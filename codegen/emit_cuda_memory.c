// Loads, stores, tables and scratch of the CUDA emitter.
// In:  memory instructions. Out: C statements. Neighbours along an UNROLL axis that lie in one aligned piece of
// up to 16 bytes are one access. A load whose guard is false reads 0 and touches no memory.
#include "emit_cuda.h"

enum { WIDEST_BYTES = 16 };

static int operand(const struct cuda *e, int inst, int i)
{
	return i < e->k->insts[inst].nsrc ? kernel_src(e->k, inst, i) : K_NONE;
}

struct access {
	int buf, index, guard, segment;
};

static struct access access_of(const struct cuda *e, int inst)
{
	int at = e->k->insts[inst].op == K_LOAD ? 1 : 2;
	return (struct access){e->k->insts[inst].aux, kernel_src(e->k, inst, 0), operand(e, inst, at),
	                       operand(e, inst, at + 1)};
}

static const char *base(struct cuda *e, const struct access *a, const struct combo *c)
{
	if (a->segment == K_NONE)
		return cuda_text(e, "b%d", a->buf);
	return cuda_text(e, "b%d[%s]", a->buf, cuda_ref(e, a->segment, c));
}

static const char *index_of(struct cuda *e, int v, const struct combo *c)
{
	return e->k->insts[v].op == K_AFFINE ? cuda_affine(e, v, c, K_NONE) : cuda_ref(e, v, c);
}

// Where the access lies in its buffer, or in the thread's own part of it.
static const char *place_of(struct cuda *e, int inst, const struct access *a, const struct combo *c)
{
	if (!e->own[a->buf])
		return index_of(e, a->index, c);
	int lane = cuda_lane_around(e, e->k->insts[inst].region);
	return cuda_affine(e, a->index, c, e->k->loops[lane].index);
}

// ---- several elements at once

// Is every other part of the index a multiple of n, and are the axis' indices neighbours?
static bool lies_aligned(const struct cuda *e, int index, int loop, int64_t n)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[index];
	bool found = index == k->loops[loop].index, ok = true;
	for (int i = 0; in->op == K_AFFINE && i < in->nsrc; i++) {
		bool own = kernel_src(k, index, i) == k->loops[loop].index;
		int64_t coef = k->coefs[in->src_at + i];
		found |= own && coef == 1;
		ok &= own || coef % n == 0;
		ok &= own || !(e->values[kernel_src(k, index, i)].deps >> e->loops[loop].axis & 1);
	}
	return found && ok && (in->op != K_AFFINE || in->imm % n == 0);
}

// The UNROLL loop whose indices make one access, -1; *axis its axis.
static int vector_loop(const struct cuda *e, int inst, uint32_t deps, int *axis)
{
	const struct kernel *k = e->k;
	struct access a = access_of(e, inst);
	int64_t bytes = (int64_t)tgc_type_bytes((tgc_type)k->bufs[a.buf].type);
	for (int r = k->insts[inst].region; r >= 0; r = k->regions[r].parent) {
		int loop = k->regions[r].loop;
		if (loop < 0 || e->loops[loop].axis < 0 || e->loops[loop].copied)
			continue;
		int64_t n = e->loops[loop].n, all = n * bytes;
		*axis = e->loops[loop].axis;
		if (e->own[a.buf])
			return -1;
		bool varies = a.guard != K_NONE && e->values[a.guard].deps >> *axis & 1;
		varies |= a.segment != K_NONE && e->values[a.segment].deps >> *axis & 1;
		if (n > 1 && (deps >> *axis & 1) && all >= 4 && all <= WIDEST_BYTES && !(all & (all - 1)) &&
		    !varies && lies_aligned(e, a.index, loop, n))
			return loop;
	}
	return -1;
}

static const char *vector_type(struct cuda *e, tgc_type t, int64_t n)
{
	return cuda_text(e, "tg_%sx%d", t == TGC_BOOL ? "u8" : tgc_type_name(t), (int)n);
}

static const char *vector_call(struct cuda *e, const char *what, tgc_type t, int64_t n)
{
	return cuda_text(e, "tg_%s%d_%s", what, (int)n, t == TGC_BOOL ? "u8" : tgc_type_name(t));
}

static const char *as_value(struct cuda *e, tgc_type t, const char *x)
{
	return t == TGC_BOOL ? cuda_text(e, "(tg_bool)(%s != 0)", x) : x;
}

static const char *zero(struct cuda *e, tgc_type t)
{
	return type_is_float(t) && tgc_type_bytes(t) == 2 ? "0"
	                                                  : cuda_literal(e, t, (union number){.i = 0}, false);
}

static void load_vector(struct cuda *e, int inst, const struct access *a, int loop, int axis)
{
	tgc_type t = (tgc_type)e->k->bufs[a->buf].type;
	int64_t n = e->loops[loop].n;
	uint32_t deps = e->values[inst].deps;
	struct combo c = {0};
	do {
		if (c.i[axis])
			continue;
		const char *at = cuda_text(e, "%s(%s + (%s))", vector_call(e, "ld", t, n), base(e, a, &c),
		                           index_of(e, a->index, &c));
		if (a->guard == K_NONE)
			cuda_line(e, "const %s w%s = %s;", vector_type(e, t, n), cuda_name(e, inst, &c), at);
		else
			cuda_line(e, "const %s w%s = %s ? %s : %s();", vector_type(e, t, n),
			          cuda_name(e, inst, &c), cuda_ref(e, a->guard, &c), at,
			          vector_call(e, "zero", t, n));
		struct combo each = c;
		for (; each.i[axis] < n; each.i[axis]++)
			cuda_line(
			    e, "const %s %s = %s;", cuda_type(t), cuda_name(e, inst, &each),
			    as_value(e, t, cuda_text(e, "w%s.x[%d]", cuda_name(e, inst, &c), each.i[axis])));
	} while (cuda_next(e, deps, &c));
}

void cuda_load(struct cuda *e, int inst)
{
	struct access a = access_of(e, inst);
	tgc_type t = (tgc_type)e->k->bufs[a.buf].type;
	struct combo c = {0};
	int axis, loop = vector_loop(e, inst, e->values[inst].deps, &axis);
	if (loop >= 0) {
		load_vector(e, inst, &a, loop, axis);
		return;
	}
	do {
		const char *x = cuda_text(e, "%s[%s]", base(e, &a, &c), place_of(e, inst, &a, &c));
		x = as_value(e, t, x);
		if (a.guard != K_NONE)
			x = cuda_text(e, "%s ? %s : %s", cuda_ref(e, a.guard, &c), x, zero(e, t));
		cuda_line(e, "const %s %s = %s;", cuda_type_of(e, inst), cuda_name(e, inst, &c), x);
	} while (cuda_next(e, e->values[inst].deps, &c));
}

static void store_vector(struct cuda *e, int inst, const struct access *a, int loop, int axis)
{
	tgc_type t = (tgc_type)e->k->bufs[a->buf].type;
	int64_t n = e->loops[loop].n;
	struct combo c = {0};
	do {
		if (c.i[axis])
			continue;
		struct combo each = c;
		const char *list = "";
		for (; each.i[axis] < n; each.i[axis]++)
			list = cuda_text(e, "%s%s%s", list, each.i[axis] ? ", " : "",
			                 cuda_ref(e, kernel_src(e->k, inst, 1), &each));
		const char *if_guard =
		    a->guard == K_NONE ? "" : cuda_text(e, "if (%s) ", cuda_ref(e, a->guard, &c));
		cuda_line(e, "%s{ const %s w = {{%s}}; %s(%s + (%s), w); }", if_guard, vector_type(e, t, n),
		          list, vector_call(e, "st", t, n), base(e, a, &c), index_of(e, a->index, &c));
	} while (cuda_next(e, e->values[inst].deps, &c));
}

void cuda_store(struct cuda *e, int inst)
{
	struct access a = access_of(e, inst);
	struct combo c = {0};
	int axis, loop = vector_loop(e, inst, e->values[inst].deps, &axis);
	if (loop >= 0) {
		store_vector(e, inst, &a, loop, axis);
		return;
	}
	do {
		const char *if_guard =
		    a.guard == K_NONE ? "" : cuda_text(e, "if (%s) ", cuda_ref(e, a.guard, &c));
		cuda_line(e, "%s%s[%s] = %s;", if_guard, base(e, &a, &c), place_of(e, inst, &a, &c),
		          cuda_ref(e, kernel_src(e->k, inst, 1), &c));
	} while (cuda_next(e, e->values[inst].deps, &c));
}

// Zeros where the guard is false.
void cuda_copy_async(struct cuda *e, int inst)
{
	const struct kernel *k = e->k;
	struct kcopied x = kernel_copied(k, inst);
	int to = k->insts[inst].aux, guard = operand(e, inst, 2);
	int64_t bytes = x.n * (int64_t)tgc_type_bytes((tgc_type)k->bufs[to].type);
	struct combo c = {0};
	do
		cuda_line(e, "tg_cp_async%d_if(%s, b%d + (%s), b%d + (%s));", (int)bytes,
		          guard == K_NONE ? "1" : cuda_ref(e, guard, &c), to,
		          index_of(e, kernel_src(k, inst, 0), &c), x.from, index_of(e, kernel_src(k, inst, 1), &c));
	while (cuda_next(e, e->values[inst].deps, &c));
}

// ---- tables

static bool is_small(const struct ktable *t)
{
	bool small = true;
	for (int i = 0; i < t->n; i++)
		small &= t->values[i] >= INT32_MIN && t->values[i] <= INT32_MAX;
	return small;
}

void cuda_declare_tables(struct cuda *e)
{
	for (int i = 0; i < e->k->ntables; i++) {
		const struct ktable *t = &e->k->tables[i];
		bool small = is_small(t);
		text_add(e->out, "TG_TABLE(%s, %s_t%d, %d) = {", small ? "int" : "long long", e->name, i, t->n);
		for (int j = 0; j < t->n; j++)
			text_add(e->out, "%s%s",
			         j == 0   ? ""
			         : j % 16 ? ", "
			                  : ",\n\t",
			         cuda_literal(e, TGC_I64, (union number){.i = t->values[j]}, small));
		text_add(e->out, "};\n");
	}
}

void cuda_table(struct cuda *e, int inst)
{
	struct combo c = {0};
	do
		cuda_line(e, "const %s %s = %s_t%d[%s];", cuda_type_of(e, inst), cuda_name(e, inst, &c),
		          e->name, e->k->insts[inst].aux, index_of(e, kernel_src(e->k, inst, 0), &c));
	while (cuda_next(e, e->values[inst].deps, &c));
}

// ---- scratch

void cuda_declare_scratch(struct cuda *e, const uint8_t *access)
{
	const struct kernel *k = e->k;
	for (int i = 0; i < k->nbufs; i++) {
		const struct kbuf *b = &k->bufs[i];
		const char *type = cuda_memory_type((tgc_type)b->type);
		if (b->space == SPACE_GLOBAL || !access[i])
			continue;
		if (e->own[i])
			cuda_line(e, "%s b%d[%d];", type, i, e->own[i]);
		else if (e->in_shared || e->shared[i])
			cuda_shared(e, type, cuda_text(e, "b%d", i), b->elems,
			            (int)tgc_type_bytes((tgc_type)b->type));
		else
			cuda_line(e,
			          "TG_GLOBAL %s *const b%d = (TG_GLOBAL %s *)(scratch + (long long)tg_block() "
			          "* %lldLL + %lldLL);",
			          type, i, type, (long long)k->scratch_bytes, (long long)b->offset_bytes);
	}
}
