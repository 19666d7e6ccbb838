// LANE loops as threads, and the barriers between them.
// In:  a LANE loop outside of others, or in one. Out: code for one thread. Barriers are derived: a statement waits if
// it reads or writes what others wrote, or writes what others read, since the last one.
// Not here: reductions over lanes (emit_cuda_combine.c).
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
		cuda_combine(e, loop, all);
}
