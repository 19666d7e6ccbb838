// Products of matrices by cuBLASLt, which is opened at run time and may be missing.
// In:  a product of a plan, addresses. Out: a call in the stream. cuBLASLt reads memory by columns: a row-major result
// [m,n] is a matrix of n rows there, so the operands change places and nothing is turned but what lies turned. Sums are
// f32 for 16-bit and 32-bit floats, f64 for f64; f32 is multiplied as TF32 only where the context permits it. The workspace
// is the context's own. Not here: which products (lib/product.c), by which algorithm (cuda_tune.c), graphs (cuda_run.c).
#include "cuda.h"

#include <stdlib.h>

enum {
	R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14,
	COMPUTE_32F = 68, COMPUTE_64F = 70, COMPUTE_32F_FAST_TF32 = 77,
	DESC_TRANSA = 3, DESC_TRANSB = 4, DESC_EPILOGUE = 7, DESC_BIAS = 8,
	LAYOUT_BATCH = 5, LAYOUT_BATCH_STRIDE = 6,
	EPILOGUE_BIAS = 4,
};
const uint64_t LT_WORKSPACE = 32 << 20;
static const char *const own_names[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so", NULL};

// ---- opening -------------------------------------------------------------------------------------------------------

bool cuda_lt_open(struct cuda_lt *l, const char *const *names, const char *root)
{
	const struct library_symbol symbols[] = {
#define LT_ROW(NAME, SIGNATURE) {"cublasLt" #NAME, &l->NAME},
	    LT_FUNCTIONS(LT_ROW) {"cublasLtGetVersion", &l->version}};
	*l = (struct cuda_lt){0};
	return library_open(&l->library, names ? names : own_names, root) &&
	       library_symbols(&l->library, TG_COUNT(symbols), symbols);
}

void cuda_lt_close(struct cuda_lt *l)
{
	library_close(&l->library);
}

tgc_status lt_check(struct tgc_context *c, const char *call, int error)
{
	return error ? context_fail(c, TGC_ERROR_INTERNAL, "realize", "cublasLt%s: status %d", call, error) : TGC_OK;
}

// ---- one product ---------------------------------------------------------------------------------------------------

void cuda_lt_free(const struct cuda_lt *l, struct lt_product *x)
{
	if (!x)
		return;
	if (x->desc)
		l->MatmulDescDestroy(x->desc);
	for (int i = 0; i < 3; i++)
		if (x->layouts[i])
			l->MatrixLayoutDestroy(x->layouts[i]);
	free(x);
}

static int number_type(const struct matmul *p)
{
	return p->type == TGC_F32 ? R_32F : p->type == TGC_F64 ? R_64F : p->type == TGC_F16 ? R_16F : R_16BF;
}

static tgc_status layout(struct tgc_context *c, const struct cuda_lt *l, void **to, const struct matmul *p, int64_t rows,
                         int64_t columns, int64_t distance, int64_t batch_stride)
{
	int32_t batch = (int32_t)p->batch;
	tgc_status s = LT_CALL(c, l, MatrixLayoutCreate, to, number_type(p), (uint64_t)rows, (uint64_t)columns, distance);
	if (!s && p->batch > 1)
		s = LT_CALL(c, l, MatrixLayoutSetAttribute, *to, LAYOUT_BATCH, &batch, sizeof batch);
	if (!s && p->batch > 1)
		s = LT_CALL(c, l, MatrixLayoutSetAttribute, *to, LAYOUT_BATCH_STRIDE, &batch_stride, sizeof batch_stride);
	return s;
}

// What is first there is right here.
static tgc_status describe(struct tgc_context *c, const struct cuda_lt *l, const struct matmul *p, struct lt_product *x)
{
	int32_t first = p->right_turned, second = p->left_turned, epilogue = EPILOGUE_BIAS;
	bool wide = p->type == TGC_F64, rounds = p->type == TGC_F32 && device_of(c)->target->tf32;
	tgc_status s = LT_CALL(c, l, MatmulDescCreate, &x->desc,
	                       wide ? COMPUTE_64F : rounds ? COMPUTE_32F_FAST_TF32 : COMPUTE_32F, wide ? R_64F : R_32F);
	if (!s)
		s = LT_CALL(c, l, MatmulDescSetAttribute, x->desc, DESC_TRANSA, &first, sizeof first);
	if (!s)
		s = LT_CALL(c, l, MatmulDescSetAttribute, x->desc, DESC_TRANSB, &second, sizeof second);
	if (!s && p->bias >= 0)
		s = LT_CALL(c, l, MatmulDescSetAttribute, x->desc, DESC_EPILOGUE, &epilogue, sizeof epilogue);
	if (!s)
		s = layout(c, l, &x->layouts[0], p, first ? p->k : p->n, first ? p->n : p->k, p->right_row, p->right_batch);
	if (!s)
		s = layout(c, l, &x->layouts[1], p, second ? p->m : p->k, second ? p->k : p->m, p->left_row, p->left_batch);
	return s ? s : layout(c, l, &x->layouts[2], p, p->n, p->m, p->out_row, p->out_batch);
}

tgc_status cuda_lt_prepare(struct tgc_context *c, const struct matmul *p, struct lt_product **out)
{
	struct cuda *g = cuda_of(c);
	struct lt_product *x = *out = calloc(1, sizeof *x);
	if (!x)
		return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a product");
	if (!g->workspace && !(g->workspace = device_alloc(c, "realize", (int64_t)LT_WORKSPACE)))
		return c->status;
	tgc_status s = g->lt_handle ? TGC_OK : LT_CALL(c, g->lt, Create, &g->lt_handle);
	if (!s)
		s = describe(c, g->lt, p, x);
	return s ? s : cuda_tune_choose(c, p, x);
}

int cuda_lt_call(const struct cuda *g, const struct matmul *p, struct lt_product *x, void *const *memory)
{
	static const float one = 1, zero = 0;
	static const double one_wide = 1, zero_wide = 0;
	bool wide = p->type == TGC_F64;
	const void *alpha = wide ? (const void *)&one_wide : &one, *beta = wide ? (const void *)&zero_wide : &zero;
	int error = 0;
	if (p->bias >= 0)
		error = g->lt->MatmulDescSetAttribute(x->desc, DESC_BIAS, &memory[p->bias], sizeof(void *));
	return error ? error
	             : g->lt->Matmul(g->lt_handle, x->desc, alpha, memory[p->right], x->layouts[0], memory[p->left],
	                             x->layouts[1], beta, memory[p->out], x->layouts[2], memory[p->out], x->layouts[2],
	                             x->way.algorithm, g->workspace->data, x->way.workspace, g->stream);
}

tgc_status cuda_lt_run(struct tgc_context *c, const struct matmul *p, struct lt_product *x, void *const *memory)
{
	return lt_check(c, "Matmul", cuda_lt_call(cuda_of(c), p, x, memory));
}
