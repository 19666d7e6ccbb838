// The CUDA emitter: phases, regions and loops.
// In:  a kernel at the level THREADS, expanded. Out: C over tg_* names and a record of each phase (codegen.h).
// Names of the text: b0.. buffers, s0.. late scalars, scratch, v0.. values, i0.. indices, c0_0.. carries, r0..
// shared memory of reductions. It compiles behind emit_cuda_prelude() with NVRTC, and behind any other text
// that defines what that one does before emit_cuda_common():
//    TG_KERNEL(name, threads) TG_GLOBAL TG_RESTRICT TG_SHARED(type, name, n) TG_SHARED_ALL
//    TG_SHARED_PART(type, name, n, offset) TG_TABLE(type, name, n) TG_DEV
//    TG_UNROLL TG_UNROLL_BY(n) TG_ALIGN(n) tg_thread() tg_block() tg_barrier() tg_warp_sync(mask)
//    tg_shfl_xor_{f32,f64,i32,i64}(mask, x, m) tg_bool tg_f16 tg_bf16, tg_f32_from_{f16,bf16},
//    tg_{f16,bf16}_from_f32, tg_{abs,sqrt,floor,rint}_{f32,f64}, tg_{fma,copysign}_{f32,f64}, tg_mulhi_u32,
//    tg_bits_from_{f32,f64}, tg_{f32,f64}_from_bits
// Not here: what varies over what (emit_cuda_analyse.c), values, memory, threads (emit_cuda_lane.c).
#include "emit_cuda.h"

#include <stdlib.h>

enum { SHARED_FOR_REDUCTIONS = 8 << 10 }; // as in pass/threads.h

// ---- loops

static void declare_carries(struct cuda *e, const struct kloop *l)
{
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		do
			cuda_line(e, "%s %s = %s;", cuda_type_of(e, l->res[i]), cuda_name(e, l->res[i], &c),
			          cuda_ref(e, l->init[i], &c));
		while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
}

// A next value that is another carry must be read before that one changes.
static bool swaps(const struct kernel *k, const struct kloop *l)
{
	for (int i = 0; i < l->ncarry; i++)
		for (int j = 0; j < l->ncarry; j++)
			if (i != j && l->next[i] == l->arg[j])
				return true;
	(void)k;
	return false;
}

static void yield_carries(struct cuda *e, const struct kloop *l)
{
	bool copy = swaps(e->k, l);
	for (int pass = copy ? 0 : 1; pass < 2; pass++)
		for (int i = 0; i < l->ncarry; i++) {
			struct combo c = {0};
			do {
				const char *to = cuda_name(e, l->res[i], &c), *x = cuda_ref(e, l->next[i], &c);
				if (!pass)
					cuda_line(e, "const %s n%s = %s;", cuda_type_of(e, l->res[i]), to, x);
				else
					cuda_line(e, "%s = %s%s;", to, copy ? "n" : "", copy ? to : x);
			} while (cuda_next(e, e->values[l->res[i]].deps, &c));
		}
}

// A share of a part's blocks, seldom more than one: the compiler would unroll it, for the time that takes.
static bool is_share(const struct cuda *e, const struct kloop *l, int end)
{
	const struct kinst *insts = e->k->insts;
	return e->level == LEVEL_BLOCK && (insts[l->lo].op != K_CONST || insts[end].op != K_CONST);
}

static void serial(struct cuda *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	struct combo none = {0};
	int end;
	const char *type = cuda_type_of(e, l->index), *lo = cuda_ref(e, l->lo, &none);
	bool once = cuda_at_most_once(e->k, loop, &end);
	const char *hi = cuda_ref(e, end, &none);
	declare_carries(e, l);
	if (e->loops[loop].again)
		cuda_line(e, "TG_UNROLL");
	else if (!once && is_share(e, l, end))
		cuda_line(e, "TG_UNROLL_BY(1)");
	if (once)
		cuda_line(e, "if (%s < %s) {", lo, hi);
	else
		cuda_line(e, "for (%s i%d = %s; i%d < %s; i%d++) {", type, loop, lo, loop, hi, loop);
	e->indent++;
	if (once)
		cuda_line(e, "const %s i%d = (%s)%s;", type, loop, type, lo);
	cuda_region(e, l->body);
	yield_carries(e, l);
	e->indent--;
	cuda_line(e, "}");
}

// n values pair i with i + half, half = n / 2 rounded up, until one is left.
static const char *tree(struct cuda *e, int op, tgc_type t, const char **x, int n)
{
	while (n > 1) {
		int half = (n + 1) / 2;
		for (int i = 0; i + half < n; i++) {
			const char *both[] = {x[i], x[i + half], NULL};
			const char *name = cuda_text(e, "t%d", e->ntemps++);
			cuda_line(e, "const %s %s = %s;", cuda_type(t), name, cuda_op(e, op, t, both));
			x[i] = name;
		}
		n = half;
	}
	return x[0];
}

static void define_result(struct cuda *e, const struct kloop *l, int i, const struct combo *c, const char **x,
                          int n)
{
	tgc_type t = (tgc_type)e->k->insts[l->res[i]].type;
	const char *both[] = {cuda_ref(e, l->init[i], c), tree(e, l->combine[i], t, x, n), NULL};
	cuda_line(e, "const %s %s = %s;", cuda_type(t), cuda_name(e, l->res[i], c),
	          cuda_op(e, l->combine[i], t, both));
}

static void side_by_side(struct cuda *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	int axis = e->loops[loop].axis, n = (int)e->loops[loop].n;
	const char **x = ARENA_ARRAY(&e->arena, const char *, n);
	e->extent[axis] = n;
	cuda_region(e, l->body);
	for (int i = 0; x && i < l->ncarry; i++) {
		struct combo c = {0};
		do {
			struct combo each = c;
			for (int j = 0; j < n; j++) {
				each.i[axis] = j;
				x[j] = cuda_ref(e, l->next[i], &each);
			}
			define_result(e, l, i, &c, x, n);
		} while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
}

// Its loops have other bounds for each index.
static void copied(struct cuda *e, int loop)
{
	const struct kloop *l = &e->k->loops[loop];
	int n = (int)e->loops[loop].n;
	const char **x = ARENA_ARRAY(&e->arena, const char *, n);
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		do
			cuda_line(e, "%s a%s[%d];", cuda_type_of(e, l->res[i]), cuda_name(e, l->res[i], &c), n);
		while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
	cuda_line(e, "TG_UNROLL");
	cuda_line(e, "for (int i%d = 0; i%d < %d; i%d++) {", loop, loop, n, loop);
	e->indent++;
	cuda_region(e, l->body);
	for (int i = 0; i < l->ncarry; i++) {
		struct combo c = {0};
		do
			cuda_line(e, "a%s[i%d] = %s;", cuda_name(e, l->res[i], &c), loop,
			          cuda_ref(e, l->next[i], &c));
		while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
	e->indent--;
	cuda_line(e, "}");
	for (int i = 0; x && i < l->ncarry; i++) {
		struct combo c = {0};
		do {
			for (int j = 0; j < n; j++)
				x[j] = cuda_text(e, "a%s[%d]", cuda_name(e, l->res[i], &c), j);
			define_result(e, l, i, &c, x, n);
		} while (cuda_next(e, e->values[l->res[i]].deps, &c));
	}
}

static void loop_of(struct cuda *e, int loop)
{
	switch (e->k->loops[loop].kind) {
	case AXIS_BLOCK:
		cuda_line(e, "const int i%d = tg_block();", loop);
		cuda_region(e, e->k->loops[loop].body);
		break;
	case AXIS_SERIAL:
		serial(e, loop);
		break;
	case AXIS_UNROLL:
		if (e->loops[loop].copied)
			copied(e, loop);
		else
			side_by_side(e, loop);
		break;
	case AXIS_LANE:
		cuda_lanes(e, loop);
		break;
	default:
		cuda_fail(e, "a free loop at the machine level");
	}
}

// ---- statements

static void define(struct cuda *e, int inst)
{
	const struct kinst *in = &e->k->insts[inst];
	struct combo c = {0};
	if (in->op == K_AFFINE && !e->values[inst].needed)
		return;
	do {
		const char *x = in->op == K_AFFINE                     ? cuda_affine(e, inst, &c, K_NONE)
		                : in->op == K_IDIV || in->op == K_IMOD ? cuda_divide(e, inst, &c)
		                                                       : cuda_elementwise(e, inst, &c);
		cuda_line(e, "const %s %s = %s;", cuda_type_of(e, inst), cuda_name(e, inst, &c), x);
	} while (cuda_next(e, e->values[inst].deps, &c));
}

static void statement(struct cuda *e, int inst)
{
	switch (e->k->insts[inst].op) {
	case K_FOR:
		loop_of(e, e->k->insts[inst].aux);
		break;
	case K_STORE:
		cuda_store(e, inst);
		break;
	case K_LOAD:
		cuda_load(e, inst);
		break;
	case K_MMA:
		cuda_mma(e, inst);
		break;
	case K_COPY:
		cuda_copy_async(e, inst);
		break;
	case K_COMMIT:
		cuda_line(e, "tg_cp_async_commit();");
		break;
	case K_WAIT:
		cuda_wait(e, inst);
		break;
	case K_TABLE:
		cuda_table(e, inst);
		break;
	case K_CONST:
	case K_SCALAR:
	case K_INDEX:
	case K_ARG:
	case K_RES:
		break;
	default:
		define(e, inst);
	}
}

static bool is_one_threads(const struct kernel *k, int inst)
{
	const struct kinst *in = &k->insts[inst];
	if (in->op == K_STORE)
		return true;
	if (in->op != K_FOR || k->loops[in->aux].ncarry || k->loops[in->aux].kind == AXIS_LANE ||
	    k->loops[in->aux].kind == AXIS_BLOCK)
		return false;
	int body = k->loops[in->aux].body;
	return kernel_region_stores(k, body) && !cuda_has_lanes(k, body);
}

static void one_threads(struct cuda *e, int inst)
{
	enum cuda_level level = e->level;
	if (level == LEVEL_BLOCK)
		cuda_line(e, "if (tg_thread() == 0) {");
	else
		cuda_line(e, "if ((tg_thread() & %d) == 0) {", e->width - 1);
	e->indent++;
	e->level = LEVEL_THREAD;
	statement(e, inst);
	e->level = level;
	e->indent--;
	cuda_line(e, "}");
}

// What several threads do alike: it waits for what it depends on, and what stores is done by one of them. What
// a loop does may still be pending after it, and what was pending before, if it did not run.
static void shared_statement(struct cuda *e, int inst)
{
	const struct kernel *k = e->k;
	const struct kinst *in = &k->insts[inst];
	bool loop = in->op == K_FOR && k->loops[in->aux].kind != AXIS_BLOCK;
	uint8_t *pending = e->pending[e->level], *access = NULL;
	if (loop || in->op == K_STORE || in->op == K_LOAD || in->op == K_MMA) {
		access = arena_alloc(&e->arena, (size_t)k->nbufs + 1);
		if (!access)
			return;
		memset(access, 0, (size_t)k->nbufs);
		kernel_access(k, inst, access);
		cuda_wait_for(e, access);
		memcpy(access, pending, (size_t)k->nbufs);
	}
	if (is_one_threads(k, inst))
		one_threads(e, inst);
	else
		statement(e, inst);
	for (int i = 0; loop && k->loops[in->aux].kind != AXIS_LANE && i < k->nbufs; i++)
		pending[i] |= access[i];
}

void cuda_region(struct cuda *e, int region)
{
	const struct kregion *r = &e->k->regions[region];
	for (int i = 0; i < r->n && !e->error && !e->arena.failed; i++)
		if (e->level == LEVEL_THREAD)
			statement(e, r->insts[i]);
		else
			shared_statement(e, r->insts[i]);
}

// ---- phases

void cuda_shared(struct cuda *e, const char *type, const char *name, int64_t n, int bytes)
{
	text_add(&e->declared, "\tTG_SHARED(%s, %s, %lld);\n", type, name, (long long)n);
	text_add(&e->placed, "\tTG_SHARED_PART(%s, %s, %lld, %lld);\n", type, name, (long long)n,
	         (long long)e->shared_bytes);
	e->shared_bytes += (n * bytes + 15) / 16 * 16;
}

static int threads_of(const struct kernel *k, int region)
{
	int n = cuda_lanes_inside(k, region), t = CUDA_WARP;
	while (t < n)
		t *= 2;
	return t;
}

static void parameters(struct cuda *e, bool scratch)
{
	const struct kernel *k = e->k;
	const char *comma = "";
	for (int i = 0; i < k->nbufs; i++) {
		const struct kbuf *b = &k->bufs[i];
		const char *type = cuda_memory_type((tgc_type)b->type), *constant = b->written ? "" : "const ";
		if (b->space != SPACE_GLOBAL)
			continue;
		if (b->segmented)
			text_add(e->out, "%sTG_GLOBAL %s%s *const *TG_RESTRICT b%d", comma, constant, type, i);
		else
			text_add(e->out, "%sTG_GLOBAL %s%s *TG_RESTRICT b%d", comma, constant, type, i);
		comma = ", ";
	}
	for (int i = 0; i < k->nscalars; i++, comma = ", ")
		text_add(e->out, "%sTG_GLOBAL const %s *TG_RESTRICT s%d", comma,
		         cuda_memory_type(k->scalar_types[i]), i);
	if (scratch)
		text_add(e->out, "%sTG_GLOBAL char *scratch", comma);
}

static void phase(struct cuda *e, int at, bool scratch, struct cuda_phase *p)
{
	const struct kernel *k = e->k;
	const struct kregion *r = &k->regions[k->phases[at]];
	struct text *out = e->out, body = {0};
	snprintf(p->name, sizeof p->name, "%s_p%d", e->name, at);
	e->threads = p->threads = threads_of(k, k->phases[at]);
	p->blocks = k->blocks[at];
	e->level = LEVEL_BLOCK;
	e->indent = 1;
	e->shared_bytes = 0;
	e->combined_bytes = 0;
	e->out = &body;
	memset(e->pending[0], 0, (size_t)k->nbufs);
	memset(e->access, 0, (size_t)k->nbufs);
	for (int i = 0; i < r->n; i++)
		kernel_access(k, r->insts[i], e->access);
	cuda_declare_scratch(e, e->access);
	cuda_region(e, k->phases[at]);
	if (e->combined_bytes)
		cuda_shared(e, "char", "combined", e->combined_bytes, 1);
	e->out = out;
	char *declared = text_take(&e->declared), *placed = text_take(&e->placed), *code = text_take(&body);
	bool large = e->shared_bytes > e->t->shared_bytes;
	const char *shared = large ? placed : declared;
	text_add(out, "TG_KERNEL(%s, %d)(", p->name, p->threads);
	parameters(e, scratch);
	text_add(out, ")\n{\n%s%s%s}\n", large ? "\tTG_SHARED_ALL;\n" : "", shared ? shared : "",
	         code ? code : "");
	e->arena.failed |= !code;
	p->shared_bytes = e->shared_bytes;
	p->dynamic_bytes = large ? e->shared_bytes : 0;
	free(declared);
	free(placed);
	free(code);
}

static bool prepare(struct cuda *e)
{
	const struct kernel *k = e->k;
	size_t bufs = (size_t)k->nbufs + 1;
	e->values = arena_alloc(&e->arena, sizeof *e->values * (size_t)(k->n + 1));
	e->loops = arena_alloc(&e->arena, sizeof *e->loops * (size_t)(k->nloops + 1));
	e->access = arena_alloc(&e->arena, bufs);
	e->shared = arena_alloc(&e->arena, bufs);
	e->own = arena_alloc(&e->arena, sizeof *e->own * bufs);
	for (int i = 0; i < 2; i++)
		e->pending[i] = arena_alloc(&e->arena, bufs);
	if (e->arena.failed)
		return false;
	memset(e->values, 0, sizeof *e->values * (size_t)(k->n + 1));
	memset(e->loops, 0, sizeof *e->loops * (size_t)(k->nloops + 1));
	memset(e->pending[1], 0, bufs);
	memset(e->shared, 0, bufs);
	cuda_analyse(e);
	return !e->error;
}

static char *message(const struct cuda *e)
{
	struct text t = {0};
	if (!e->error && !e->arena.failed)
		return NULL;
	text_add(&t, "CUDA: %s", e->arena.failed ? "out of memory" : e->error);
	return text_take(&t);
}

// What a phase wants to have in shared memory, at most.
static int64_t scratch_of_block(struct cuda *e)
{
	const struct kernel *k = e->k;
	int64_t most = 0;
	for (int p = 0; p < k->nphases; p++) {
		const struct kregion *r = &k->regions[k->phases[p]];
		int64_t bytes = 0;
		memset(e->access, 0, (size_t)k->nbufs);
		for (int i = 0; i < r->n; i++)
			kernel_access(k, r->insts[i], e->access);
		for (int i = 0; i < k->nbufs; i++)
			if (e->access[i] && k->bufs[i].space != SPACE_GLOBAL && !e->own[i])
				bytes +=
				    (k->bufs[i].elems * (int64_t)tgc_type_bytes((tgc_type)k->bufs[i].type) +
				     15) /
				    16 * 16;
		most = bytes > most ? bytes : most;
	}
	return most;
}

char *emit_cuda(const struct kernel *k, const struct target *t, const char *name, struct cuda_source *out)
{
	struct text text = {0};
	struct cuda e = {.k = k, .t = t, .name = name, .out = &text};
	*out = (struct cuda_source){.nphases = k->nphases};
	arena_init(&e.arena, NULL);
	if (prepare(&e)) {
		int64_t bytes = scratch_of_block(&e);
		bool scratch = bytes + SHARED_FOR_REDUCTIONS > t->block_shared_bytes;
		e.in_shared = !scratch;
		cuda_declare_tables(&e);
		for (int i = 0; i < k->nphases && !e.error && !e.arena.failed; i++) {
			phase(&e, i, scratch, &out->phases[i]);
			bytes = scratch ? k->scratch_bytes * k->blocks[i] : 0;
			out->scratch_bytes = bytes > out->scratch_bytes ? bytes : out->scratch_bytes;
		}
	}
	out->text = text_take(&text);
	e.arena.failed |= !out->text && !e.error;
	char *error = message(&e);
	arena_free(&e.arena);
	if (error) {
		free(out->text);
		out->text = NULL;
	}
	return error;
}
