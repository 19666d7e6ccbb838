// Products of slices by tensor cores.
// In:  a K_MMA, which all threads of the block do together. Out: fragments by ldmatrix, products by mma.sync;
// the sums are the thread's own array. Not here: how slices come into shared memory (pass/threads_tile.c).
#include "emit_cuda.h"

enum { ROWS = 16, COLUMNS = 8 }; // of one product

// 8 x 8 pieces of four, their rows' addresses by lane: a's pieces go rows first, b's terms first. A slice that
// stands terms first is turned as it is loaded.
static void fragments(struct cuda *e, int inst, const struct kmma *m, int side)
{
	int across = m->columns / MMA_WARP, pitch = m->pitch[side];
	bool turned = m->terms_first[side];
	const char *name = side ? "y" : "x", *half = "lane / 8 % 2 * 8", *quarter = "lane / 16 * 8";
	const char *own = cuda_text(e, side ? "warp %% %d * %d + %s" : "warp / %d * %d + %s", across, MMA_WARP,
	                            side ? quarter : half);
	const char *term = cuda_text(e, "term + %s", side ? half : quarter);
	const char *at = cuda_ref(e, kernel_src(e->k, inst, side), &(struct combo){0});
	cuda_line(e, "unsigned int %s[%d][4];", name, MMA_WARP / ROWS);
	for (int i = 0; i < MMA_WARP / ROWS; i++)
		cuda_line(e, "tg_ldmatrix_x4%s(%s[%d], b%d + %s + (%s + lane %% 8) * %d + %s + %d);",
		          turned ? "_trans" : "", name, i, side ? m->b : m->a, at, turned ? term : own, pitch,
		          turned ? own : term, i * ROWS * (turned ? 1 : pitch));
}

void cuda_mma(struct cuda *e, int inst)
{
	const struct kernel *k = e->k;
	struct kmma m = kernel_mma(k, inst);
	int sums = k->insts[inst].aux, threads = m.rows * m.columns / MMA_WARP;
	if (e->t->sm < 80 || e->level != LEVEL_BLOCK || e->own[sums] != MMA_WARP || e->threads < threads) {
		cuda_fail(e, "a product of tiles that this GPU's threads cannot do");
		return;
	}
	cuda_line(e, threads < e->threads ? "if (tg_thread() < %d) {" : "{", threads);
	e->indent++;
	cuda_line(e, "const int warp = tg_thread() / %d, lane = tg_thread() %% %d;", CUDA_WARP, CUDA_WARP);
	cuda_line(e, "TG_UNROLL");
	cuda_line(e, "for (int term = 0; term < %d; term += %d) {", m.depth, MMA_DEPTH);
	e->indent++;
	fragments(e, inst, &m, 0);
	fragments(e, inst, &m, 1);
	for (int i = 0; i < MMA_WARP / ROWS; i++)
		for (int j = 0; j < MMA_WARP / COLUMNS; j++)
			cuda_line(e, "tg_mma_16816_%s(b%d + %d, x[%d], y[%d] + %d);",
			          tgc_type_name((tgc_type)k->bufs[m.a].type), sums,
			          4 * (i * (MMA_WARP / COLUMNS) + j), i, j / 2, j % 2 * 2);
	e->indent--;
	cuda_line(e, "}");
	e->indent--;
	cuda_line(e, "}");
}
