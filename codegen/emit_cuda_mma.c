// Products of slices by tensor cores.
// In:  a K_MMA, which all threads of the block do together. Out: fragments by ldmatrix, products by mma.sync;
// the sums are the thread's own array. f32 is rounded to TF32 as it comes into fragments. Not here: how slices come
// into shared memory (pass/threads_tile.c).
#include "emit_cuda.h"

enum { ROWS = 16, COLUMNS = 8, PIECES = 4 }; // of one product; a fragment's registers

// Pieces of 8 rows and 16 bytes of terms, their rows' addresses by lane: a's pieces go rows first, b's terms first. A
// slice that stands terms first is turned as it is loaded.
static void load_matrices(struct cuda *e, const struct kmma *m, int side, int terms, const char *at)
{
	int across = m->columns / MMA_WARP, pitch = m->pitch[side];
	bool turned = m->terms_first[side];
	const char *half = "lane / 8 % 2", *quarter = "lane / 16";
	const char *own = cuda_text(e, side ? "warp %% %d * %d + %s * 8" : "warp / %d * %d + %s * 8", across, MMA_WARP,
	                            side ? quarter : half);
	const char *term = cuda_text(e, "term + %s * %d", side ? half : quarter, terms);
	for (int i = 0; i < MMA_WARP / ROWS; i++)
		cuda_line(e, "tg_ldmatrix_x4%s(%s[%d], b%d + %s + (%s + lane %% 8) * %d + %s + %d);",
		          turned ? "_trans" : "", side ? "y" : "x", i, side ? m->b : m->a, at, turned ? term : own, pitch,
		          turned ? own : term, i * ROWS * (turned ? 1 : pitch));
}

// The same pieces of f32, which ldmatrix would take apart where it turned them: each lane reads its own element.
static void load_elements(struct cuda *e, const struct kmma *m, int side, const char *at)
{
	int across = m->columns / MMA_WARP;
	const char *half = "i % 2", *quarter = "i / 2 % 2";
	cuda_line(e, "TG_UNROLL");
	cuda_line(e, "for (int i = 0; i < %d; i++)", MMA_WARP / ROWS * PIECES);
	cuda_line(e, "\t%s[i / 4][i %% 4] = tg_bits_from_f32(b%d[%s + (term + %s * 4 + lane %% 4) * %d + warp %s %d * %d + "
	             "i / 4 * %d + %s * 8 + lane / 4]);",
	          side ? "y" : "x", side ? m->b : m->a, at, side ? half : quarter, m->pitch[side], side ? "%" : "/", across,
	          MMA_WARP, ROWS, side ? quarter : half);
}

static void fragments(struct cuda *e, int inst, const struct kmma *m, int side)
{
	bool wide = e->k->bufs[m->a].type == TGC_F32;
	const char *name = side ? "y" : "x", *at = cuda_ref(e, kernel_src(e->k, inst, side), &(struct combo){0});
	cuda_line(e, "unsigned int %s[%d][%d];", name, MMA_WARP / ROWS, PIECES);
	if (wide && m->terms_first[side])
		load_elements(e, m, side, at);
	else
		load_matrices(e, m, side, wide ? 4 : 8, at);
	if (!wide)
		return;
	cuda_line(e, "TG_UNROLL");
	cuda_line(e, "for (int i = 0; i < %d; i++)", MMA_WARP / ROWS * PIECES);
	cuda_line(e, "\t%s[i / 4][i %% 4] = tg_tf32_from_f32(tg_f32_from_bits(%s[i / 4][i %% 4]));", name, name);
}

void cuda_mma(struct cuda *e, int inst)
{
	const struct kernel *k = e->k;
	struct kmma m = kernel_mma(k, inst);
	bool wide = k->bufs[m.a].type == TGC_F32;
	const char *half = cuda_text(e, "16816_%s", tgc_type_name((tgc_type)k->bufs[m.a].type));
	int sums = k->insts[inst].aux, threads = m.rows * m.columns / MMA_WARP;
	if (e->t->sm < 80 || e->level != LEVEL_BLOCK || e->own[sums] != MMA_WARP || e->threads < threads) {
		cuda_fail(e, "a product of tiles that this GPU's threads cannot do");
		return;
	}
	cuda_line(e, threads < e->threads ? "if (tg_thread() < %d) {" : "{", threads);
	e->indent++;
	cuda_line(e, "const int warp = tg_thread() / %d, lane = tg_thread() %% %d;", CUDA_WARP, CUDA_WARP);
	cuda_line(e, "TG_UNROLL");
	cuda_line(e, "for (int term = 0; term < %d; term += %d) {", m.depth, wide ? MMA_DEPTH / 2 : MMA_DEPTH);
	e->indent++;
	fragments(e, inst, &m, 0);
	fragments(e, inst, &m, 1);
	for (int i = 0; i < MMA_WARP / ROWS; i++)
		for (int j = 0; j < MMA_WARP / COLUMNS; j++)
			cuda_line(e, "tg_mma_%s(b%d + %d, x[%d], y[%d] + %d);", wide ? "1688_tf32" : half, sums,
			          4 * (i * (MMA_WARP / COLUMNS) + j), i, j / 2, j % 2 * 2);
	e->indent--;
	cuda_line(e, "}");
	e->indent--;
	cuda_line(e, "}");
}
