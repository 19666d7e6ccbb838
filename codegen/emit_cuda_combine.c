// Reductions over the threads of a LANE loop.
// In:  each thread's own values. Out: code after which all of them hold the results; the order follows from the number
// of threads and of values alone. A few values go through a warp by shuffles, then through shared memory. More of them
// are turned there: every thread lays its values down, and those of one are added up by a few threads, so that neither
// shuffles nor text grow with values times threads.
// Not here: the loop (emit_cuda_lane.c).
#include "emit_cuda.h"

enum {
	FEW = 4,                // values: as many are turned
	NARROW_BYTES = 7 << 10, // of shared memory, where buffers lie in it too
	WIDE_BYTES = 24 << 10,
};

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
		cuda_line(e, "if ((tg_thread() & %d) == 0) %s[tg_thread() / %d] = %s;", CUDA_WARP - 1, p[i].array,
		          CUDA_WARP, p[i].x);
	cuda_line(e, "tg_barrier();");
	memset(e->pending[LEVEL_BLOCK], 0, (size_t)e->k->nbufs);
	for (int i = 0; i < n; i++) {
		tgc_type t = (tgc_type)e->k->insts[l->res[p[i].carry]].type;
		cuda_line(e, "%s = %s[tg_thread() & %d];", p[i].x, p[i].array, warps - 1);
		butterfly(e, l->combine[p[i].carry], t, p[i].x, warps);
	}
}

// ---- many values

struct turn {
	const char *type;
	int op, bytes;
	tgc_type t;
	int n, each; // values, and threads that share one
	int pitch;   // elements between one thread's values: no two of a warp's threads meet in a bank
};

static void plan_turn(struct turn *x, int threads)
{
	x->each = CUDA_WARP;
	while (x->each > 1 && x->each * x->n > threads)
		x->each /= 2;
	x->pitch = threads + (x->each < CUDA_WARP ? x->each : 0);
}

static int turn_bytes(const struct turn *x)
{
	return x->n * (x->pitch + 1) * x->bytes;
}

// Adds up one value, of which a thread takes every each-th part.
static void add_up(struct cuda *e, const struct turn *x)
{
	const char *sum[] = {"sum", "row[j]", NULL};
	cuda_line(e, "const %s *const row = parts + value * %d;", x->type, x->pitch);
	cuda_line(e, "%s sum = row[tg_thread() & %d];", x->type, x->each - 1);
	cuda_line(e, "TG_UNROLL_BY(4)");
	cuda_line(e, "for (int j = (tg_thread() & %d) + %d; j < %d; j += %d)", x->each - 1, x->each, e->threads,
	          x->each);
	cuda_line(e, "\tsum = %s;", cuda_op(e, x->op, x->t, sum));
}

static void turn(struct cuda *e, struct turn *x, const struct part *p)
{
	plan_turn(x, e->threads);
	e->combined_bytes = turn_bytes(x) > e->combined_bytes ? turn_bytes(x) : e->combined_bytes;
	cuda_line(e, "{");
	e->indent++;
	cuda_line(e, "%s *const parts = (%s *)combined, *const sums = parts + %d;", x->type, x->type, x->n * x->pitch);
	cuda_line(e, "tg_barrier();");
	for (int i = 0; i < x->n; i++)
		cuda_line(e, "parts[tg_thread() + %d] = %s;", i * x->pitch, p[i].x);
	cuda_line(e, "tg_barrier();");
	if (x->each == 1) {
		cuda_line(e, "if (tg_thread() < %d) {", x->n);
		cuda_line(e, "\tconst int value = tg_thread();");
	} else { // all lanes of a warp take part in its shuffles
		cuda_line(e, "{");
		cuda_line(e, "\tconst int value = tg_thread() < %d ? tg_thread() / %d : %d;", x->n * x->each, x->each,
		          x->n - 1);
	}
	e->indent++;
	add_up(e, x);
	butterfly(e, x->op, x->t, "sum", x->each);
	if (x->each == 1)
		cuda_line(e, "sums[value] = sum;");
	else
		cuda_line(e, "if (tg_thread() < %d && (tg_thread() & %d) == 0) sums[value] = sum;", x->n * x->each,
		          x->each - 1);
	e->indent--;
	cuda_line(e, "}");
	cuda_line(e, "tg_barrier();");
	for (int i = 0; i < x->n; i++)
		cuda_line(e, "%s = sums[%d];", p[i].x, i);
	e->indent--;
	cuda_line(e, "}");
	memset(e->pending[LEVEL_BLOCK], 0, (size_t)e->k->nbufs);
}

// As many of the same kind as there is room for at once; 0: so few that shuffles do.
static int turn_some(struct cuda *e, const struct kloop *l, const struct part *p, int n)
{
	int carry = p->carry, same = 0, most = e->shared_bytes > WIDE_BYTES ? NARROW_BYTES : WIDE_BYTES;
	tgc_type t = (tgc_type)e->k->insts[l->res[carry]].type;
	struct turn x = {.type = cuda_type(t), .op = l->combine[carry], .t = t, .bytes = (int)tgc_type_bytes(t)};
	while (same < n && l->combine[p[same].carry] == x.op && e->k->insts[l->res[p[same].carry]].type == t)
		same++;
	x.n = same < e->threads ? same : e->threads;
	while (plan_turn(&x, e->threads), turn_bytes(&x) > most)
		x.n--;
	if (x.n < FEW)
		return 0;
	turn(e, &x, p);
	return x.n;
}

void cuda_combine(struct cuda *e, int loop, int lanes)
{
	const struct kloop *l = &e->k->loops[loop];
	int most = 0;
	for (int i = 0; i < l->ncarry; i++)
		most += e->values[l->res[i]].combos;
	struct part *p = ARENA_ARRAY(&e->arena, struct part, most + 1);
	int n = p ? collect(e, loop, p) : 0;
	if (e->level == LEVEL_BLOCK)
		for (int done; n && (done = turn_some(e, l, p, n)); n -= done)
			p += done;
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
