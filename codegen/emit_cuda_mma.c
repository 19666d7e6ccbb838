// Products of slices by tensor cores.
// In:  a K_MMA, which all threads of the block do together. Out: fragments by ldmatrix, products by mma.sync;
// the sums are the thread's own array. Not here: how slices come into shared memory (pass/threads_tile.c).
#include "emit_cuda.h"

enum { ROWS = 16, COLUMNS = 8 }; // of one product

// 8 x 8 pieces of four, their rows' addresses by lane: a's stand rows first, b's terms first.
static void fragments(struct cuda *e, const struct kmma *m, int side)
{
	int pitch = m->depth + MMA_PAD, buf = side ? m->b : m->a, across = m->columns / MMA_WARP;
	const char *name = side ? "y" : "x", *row = side ? "lane % 8 + lane / 16 * 8" : "lane % 16";
	const char *warp = cuda_text(e, side ? "warp %% %d" : "warp / %d", across);
	cuda_line(e, "unsigned int %s[%d][4];", name, MMA_WARP / ROWS);
	for (int i = 0; i < MMA_WARP / ROWS; i++)
		cuda_line(e, "tg_ldmatrix_x4(%s[%d], b%d + (%s * %d + %d + %s) * %d + term + %s * 8);", name, i,
		          buf, warp, MMA_WARP, i * ROWS, row, pitch, side ? "(lane / 8 % 2)" : "lane / 16");
}

void cuda_mma(struct cuda *e, int inst)
{
	const struct kernel *k = e->k;
	struct kmma m = kernel_mma(k, inst);
	int sums = k->insts[inst].aux;
	if (e->t->sm < 80 || e->level != LEVEL_BLOCK || e->own[sums] != MMA_WARP ||
	    e->threads != m.rows * m.columns / MMA_WARP) {
		cuda_fail(e, "a product of tiles that this GPU's threads cannot do");
		return;
	}
	cuda_line(e, "TG_UNROLL");
	cuda_line(e, "for (int term = 0; term < %d; term += %d) {", m.depth, MMA_DEPTH);
	e->indent++;
	cuda_line(e, "const int warp = tg_thread() / %d, lane = tg_thread() %% %d;", CUDA_WARP, CUDA_WARP);
	fragments(e, &m, 0);
	fragments(e, &m, 1);
	for (int i = 0; i < MMA_WARP / ROWS; i++)
		for (int j = 0; j < MMA_WARP / COLUMNS; j++)
			cuda_line(e, "tg_mma_16816_%s(b%d + %d, x[%d], y[%d] + %d);",
			          tgc_type_name((tgc_type)k->bufs[m.a].type), sums,
			          4 * (i * (MMA_WARP / COLUMNS) + j), i, j / 2, j % 2 * 2);
	e->indent--;
	cuda_line(e, "}");
}
