// LANE loops as threads, the barriers between them, and reductions over them.
// In:  a LANE loop outside of others, or in one. Out: code for one thread; results that all of its threads
// hold. A reduction goes through a warp by shuffles, then through shared memory; the order follows from the
// number of threads alone. Barriers are derived: a statement waits if it reads or writes what others wrote, or
// writes what others read, since the last one.
#include "emit_cuda.h"

// ---- barriers

static void barrier(struct cuda *e)
{
	if (e->level == LEVEL_BLOCK)
		cuda_line(e, "tg_barrier();");
	else
		cuda_line(e, "tg_warp_sync(%s);", cuda_mask(e));
	memset(e->pending[e->level], 0, (size_t)e->k->nbufs);
}

const char *cuda_mask(struct cuda *e)
{
	if (e->level == LEVEL_BLOCK || e->width == CUDA_WARP)
		return "0xffffffffu";
	return cuda_text(e, "tg_group_mask(%d)", e->width);
}

// Before what is copied asynchronously is read stands a K_WAIT, with a barrier of its own.
void cuda_wait_for(struct cuda *e, const uint8_t *access)
{
	uint8_t *pending = e->pending[e->level];
	bool conflict = false;
	for (int i = 0; i < e->k->nbufs; i++)
		conflict |= !e->own[i] && (((access[i] & ACCESS_WRITE) && pending[i]) ||
		                           (access[i] && (pending[i] & ACCESS_WRITE)));
	if (conflict)
		barrier(e);
	for (int i = 0; i < e->k->nbufs; i++)
		pending[i] |= access[i] & ACCESS_COPY ? access[i] & ACCESS_READ : access[i];
}

void cuda_wait(struct cuda *e, int inst)
{
	if (e->level != LEVEL_BLOCK) {
		cuda_fail(e, "a wait of some threads of a block");
		return;
	}
	cuda_line(e, "tg_cp_async_wait(%d);", (int)e->k->insts[inst].imm);
	barrier(e);
}

// ---- combining over threads

static bool is_wide(tgc_type t)
{
	return t == TGC_F32 || t == TGC_F64 || t == TGC_I64 || t == TGC_U64;
}

static const char *shuffled(struct cuda *e, tgc_type t, const char *x, int distance)
{
	const char *name = t == TGC_U64 ? "i64" : is_wide(t) ? tgc_type_name(t) : "i32";
	const char *call = cuda_text(e, "tg_shfl_xor_%s(%s, %s, %d)", name, cuda_mask(e),
	                             t == TGC_U64 ? cuda_text(e, "(long long)%s", x)
	                             : is_wide(t) ? x
	                                          : cuda_text(e, "(int)%s", x),
	                             distance);
	return is_wide(t) && t != TGC_U64 ? call : cuda_text(e, "(%s)%s", cuda_type(t), call);
}

// Every thread ends with the same value: the operands' order does not depend on who computes it.
static void butterfly(struct cuda *e, int op, tgc_type t, const char *x, int n)
{
	bool ordered = op == OP_MAX || op == OP_MIN;
	for (int d = n / 2; d > 0; d /= 2) {
		const char *mine = x, *other = "other";
		cuda_line(e, "{");
		e->indent++;
		cuda_line(e, "const %s other = %s;", cuda_type(t), shuffled(e, t, x, d));
		if (ordered) {
			cuda_line(e, "const %s lower = tg_thread() & %d ? other : %s;", cuda_type(t), d, x);
			cuda_line(e, "const %s upper = tg_thread() & %d ? %s : other;", cuda_type(t), d, x);
			mine = "lower";
			other = "upper";
		}
		cuda_line(e, "%s = %s;", x, cuda_op(e, op, t, (const char *[]){mine, other, NULL}));
		e->indent--;
		cuda_line(e, "}");
	}
}

struct part { // one value to be combined
	int carry;
	const char *x, *array;
};

static int collect(struct cuda *e, int loop, struct part *p)
{
	const struct kloop *l = &e->k->loops[loop];
	int n = 0;
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		do
			p[n++] = (struct part){.carry = i, .x = cuda_name(e, l->res[i], &c)};
		while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
	return n;
}

static void across_warps(struct cuda *e, const struct kloop *l, struct part *p, int n)
{
	int warps = e->threads / CUDA_WARP;
	for (int i = 0; i < n; i++) {
		tgc_type t = (tgc_type)e->k->insts[l->res[p[i].carry]].type;
		p[i].array = cuda_text(e, "r%d", e->nshared++);
		cuda_shared(e, cuda_type(t), p[i].array, warps, (int)tgc_type_bytes(t));
	}
	cuda_line(e, "tg_barrier();");
	for (int i = 0; i < n; i++)
		cuda_line(e, "if ((tg_thread() & %d) == 0) %s[tg_thread() / %d] = %s;", CUDA_WARP - 1,
		          p[i].array, CUDA_WARP, p[i].x);
	cuda_line(e, "tg_barrier();");
	memset(e->pending[LEVEL_BLOCK], 0, (size_t)e->k->nbufs);
	for (int i = 0; i < n; i++) {
		tgc_type t = (tgc_type)e->k->insts[l->res[p[i].carry]].type;
		cuda_line(e, "%s = %s[tg_thread() & %d];", p[i].x, p[i].array, warps - 1);
		butterfly(e, l->combine[p[i].carry], t, p[i].x, warps);
	}
}

static void combine(struct cuda *e, int loop, int lanes)
{
	const struct kloop *l = &e->k->loops[loop];
	int most = 0;
	for (int i = 0; i < l->ncarry; i++)
		most += e->values[l->res[i]].combos;
	struct part *p = ARENA_ARRAY(&e->arena, struct part, most + 1);
	int n = p ? collect(e, loop, p) : 0;
	for (int i = 0; i < n; i++)
		butterfly(e, l->combine[p[i].carry], (tgc_type)e->k->insts[l->res[p[i].carry]].type, p[i].x,
		          lanes < CUDA_WARP ? lanes : CUDA_WARP);
	if (n && lanes > CUDA_WARP)
		across_warps(e, l, p, n);
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		do {
			const char *x = cuda_name(e, l->res[i], &c);
			const char *both[] = {cuda_ref(e, l->init[i], &c), x, NULL};
			cuda_line(e, "%s = %s;", x,
			          cuda_op(e, l->combine[i], (tgc_type)e->k->insts[l->res[i]].type, both));
		} while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
}

// ---- the loop

static void declare(struct cuda *e, const struct kloop *l)
{
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		tgc_type t = (tgc_type)e->k->insts[l->res[i]].type;
		do
			cuda_line(e, "%s %s = %s;", cuda_type(t), cuda_name(e, l->res[i], &c),
			          cuda_identity(e, l->combine[i], t));
		while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
}

static void yield(struct cuda *e, const struct kloop *l)
{
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		do
			cuda_line(e, "%s = %s;", cuda_name(e, l->res[i], &c), cuda_ref(e, l->next[i], &c));
		while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
}

// `threads` stand in the loop that is open, `each` of them in one iteration of this one.
void cuda_lanes(struct cuda *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	int n = (int)e->loops[loop].n, each = cuda_lanes_inside(e->k, l->body);
	int all = e->level == LEVEL_BLOCK ? e->threads : e->width, width = e->width;
	enum cuda_level level = e->level;
	if (e->level == LEVEL_THREAD || (e->level == LEVEL_GROUP && each > 1) || n * each > all ||
	    (each > 1 && (each > CUDA_WARP || (each & (each - 1))))) {
		cuda_fail(e, "lane loops that are no threads of a block");
		return;
	}
	declare(e, l);
	const char *thread =
	    level == LEVEL_BLOCK ? "tg_thread()" : cuda_text(e, "(tg_thread() & %d)", width - 1);
	cuda_line(e, n * each < all ? "if (%s < %d) {" : "{", thread, n * each);
	e->indent++;
	cuda_line(e, each > 1 ? "const int i%d = %s / %d;" : "const int i%d = %s;", loop, thread, each);
	e->level = each > 1 ? LEVEL_GROUP : LEVEL_THREAD;
	e->width = each;
	if (e->level == LEVEL_GROUP)
		memset(e->pending[LEVEL_GROUP], 0, (size_t)e->k->nbufs);
	cuda_region(e, l->body);
	yield(e, l);
	e->level = level;
	e->width = width;
	e->indent--;
	cuda_line(e, "}");
	if (l->ncarry)
		combine(e, loop, all);
}
