// A stand-in for libcublasLt: it looks at everything that it is handed as strictly as the real one is documented to, and
// computes products on the host, in the order of the fake driver's stream.
// In:  calls of cuBLASLt. Out: results, or status 7 (an invalid value) and what was wrong. Not here: speed.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_cuda.h"

static const uint64_t ALGORITHM = 0x7467630000000000u; // the first word of each
enum { WAYS = 5 };
enum { INVALID = 7, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_64F = 1, R_16F = 2, R_16BF = 14, SUMS_32F = 68, SUMS_64F = 70, FAST_TF32 = 77 };
struct layout {
	int type, batch;
	uint64_t rows, columns;
	int64_t distance, batch_stride;
};
struct desc {
	int compute, scale, turn[2], epilogue;
	const void *bias;
};
struct preference {
	uint64_t workspace;
	uint32_t alignment[4];
};
struct way {
	uint64_t algorithm[8];
	size_t workspace;
	int state;
	float waves;
	int reserved[4];
};
struct call {
	struct desc desc;
	struct layout a, b, d;
	const char *from_a, *from_b;
	char *to;
	double alpha;
	int milliseconds;
};
_Static_assert(sizeof(struct call) <= FAKE_CALL_BYTES, "a call fits an operation of the stream");

static int wrong(const char *what)
{
	fprintf(stderr, "fake cublasLt: %s\n", what);
	return INVALID;
}

API cublasLtMatmulAlgoCheck(void *handle, const struct desc *d, const struct layout *a, const struct layout *b,
                            const struct layout *c, const struct layout *out, const uint64_t *algorithm, struct way *way);
API fake_cublaslt_last(void); // number of the algorithm that the last product was handed
API cublasLtCreate(void **handle);
API cublasLtDestroy(void *handle);
API cublasLtMatmulDescCreate(struct desc **desc, int compute, int scale);
API cublasLtMatmulDescDestroy(struct desc *desc);
API cublasLtMatmulDescSetAttribute(struct desc *d, int attribute, const void *value, size_t bytes);
API cublasLtMatrixLayoutCreate(struct layout **layout, int type, uint64_t rows, uint64_t columns, int64_t distance);
API cublasLtMatrixLayoutDestroy(struct layout *layout);
API cublasLtMatrixLayoutSetAttribute(struct layout *l, int attribute, const void *value, size_t bytes);
API cublasLtMatmulPreferenceCreate(struct preference **preference);
API cublasLtMatmulPreferenceDestroy(struct preference *preference);
API cublasLtMatmulPreferenceSetAttribute(struct preference *p, int attribute, const void *value, size_t bytes);
API cublasLtMatmulAlgoGetHeuristic(void *handle, const struct desc *d, const struct layout *a, const struct layout *b,
                                   const struct layout *c, const struct layout *out, const struct preference *p, int wanted,
                                   struct way *ways, int *found);
API cublasLtMatmul(void *handle, const struct desc *d, const void *alpha, const void *a, const struct layout *la,
                   const void *b, const struct layout *lb, const void *beta, const void *c, const struct layout *lc, void *to,
                   const struct layout *ld, const uint64_t *algorithm, void *workspace, size_t bytes, void *stream);
__attribute__((visibility("default"))) size_t cublasLtGetVersion(void);

size_t cublasLtGetVersion(void) { return 130000; }

API cublasLtCreate(void **handle)
{
	*handle = malloc(1);
	return 0;
}

API cublasLtDestroy(void *handle)
{
	free(handle);
	return 0;
}

// ---- descriptors ---------------------------------------------------------------------------------------------------

API cublasLtMatmulDescCreate(struct desc **desc, int compute, int scale)
{
	if (!((compute == SUMS_32F || compute == FAST_TF32) && scale == R_32F) && !(compute == SUMS_64F && scale == R_64F))
		return wrong("neither sums in f32 nor in f64");
	*desc = calloc(1, sizeof **desc);
	(*desc)->compute = compute;
	(*desc)->scale = scale;
	(*desc)->epilogue = 1;
	return 0;
}

API cublasLtMatmulDescDestroy(struct desc *desc)
{
	free(desc);
	return 0;
}

API cublasLtMatmulDescSetAttribute(struct desc *d, int attribute, const void *value, size_t bytes)
{
	int32_t v = 0;
	if (attribute == 8 && bytes == sizeof d->bias) {
		memcpy(&d->bias, value, bytes);
		return 0;
	}
	if (bytes != 4)
		return wrong("an attribute of another size");
	memcpy(&v, value, 4);
	if ((attribute == 3 || attribute == 4) && (v == 0 || v == 1))
		d->turn[attribute - 3] = v;
	else if (attribute == 7 && (v == 1 || v == 4))
		d->epilogue = v;
	else
		return wrong("an attribute of a product that nobody should need");
	return 0;
}

API cublasLtMatrixLayoutCreate(struct layout **layout, int type, uint64_t rows, uint64_t columns, int64_t distance)
{
	if (distance < (int64_t)rows || !rows || !columns)
		return wrong("columns that overlap");
	*layout = calloc(1, sizeof **layout);
	**layout = (struct layout){.type = type, .batch = 1, .rows = rows, .columns = columns, .distance = distance};
	return 0;
}

API cublasLtMatrixLayoutDestroy(struct layout *layout)
{
	free(layout);
	return 0;
}

API cublasLtMatrixLayoutSetAttribute(struct layout *l, int attribute, const void *value, size_t bytes)
{
	if (attribute == 5 && bytes == 4)
		memcpy(&l->batch, value, 4);
	else if (attribute == 6 && bytes == 8)
		memcpy(&l->batch_stride, value, 8);
	else
		return wrong("an attribute of a layout that nobody should need");
	return 0;
}

API cublasLtMatmulPreferenceCreate(struct preference **preference)
{
	*preference = calloc(1, sizeof **preference);
	for (int i = 0; i < 4; i++)
		(*preference)->alignment[i] = 256;
	return 0;
}

API cublasLtMatmulPreferenceDestroy(struct preference *preference)
{
	free(preference);
	return 0;
}

API cublasLtMatmulPreferenceSetAttribute(struct preference *p, int attribute, const void *value, size_t bytes)
{
	if (attribute == 1 && bytes == 8)
		memcpy(&p->workspace, value, 8);
	else if (attribute >= 5 && attribute <= 8 && bytes == 4)
		memcpy(&p->alignment[attribute - 5], value, 4);
	else
		return wrong("a preference that nobody should need");
	return 0;
}

// ---- products ------------------------------------------------------------------------------------------------------

static int fits(const struct desc *d, const struct layout *a, const struct layout *b, const struct layout *out)
{
	uint64_t m = d->turn[0] ? a->columns : a->rows, k = d->turn[0] ? a->rows : a->columns;
	uint64_t n = d->turn[1] ? b->rows : b->columns, l = d->turn[1] ? b->columns : b->rows;
	if (k != l || out->rows != m || out->columns != n)
		return wrong("shapes that do not fit");
	if (a->type != b->type || a->type != out->type || (a->type == R_64F) != (d->scale == R_64F))
		return wrong("types that do not fit");
	if (a->batch != b->batch || a->batch != out->batch)
		return wrong("batches that do not fit");
	if (out->batch > 1 && out->batch_stride < out->distance && out->columns > 1)
		return wrong("results that overlap");
	return 0;
}

API cublasLtMatmulAlgoGetHeuristic(void *handle, const struct desc *d, const struct layout *a, const struct layout *b,
                                   const struct layout *c, const struct layout *out, const struct preference *p, int wanted,
                                   struct way *ways, int *found)
{
	(void)handle;
	*found = 0;
	if (wanted < 1 || c != out || fits(d, a, b, out))
		return wrong("no way");
	for (int i = 0; i < 4; i++)
		if (p->alignment[i] != 16)
			return wrong("another alignment");
	int all = getenv("FAKE_CUBLASLT_NO_WAY") ? 0 : getenv("FAKE_CUBLASLT_MS") ? WAYS : 1;
	for (; *found < all && *found < wanted; ++*found)
		ways[*found] = (struct way){.algorithm = {ALGORITHM, (uint64_t)*found}, .workspace = p->workspace / 2};
	return 0;
}

API cublasLtMatmulAlgoCheck(void *handle, const struct desc *d, const struct layout *a, const struct layout *b,
                            const struct layout *c, const struct layout *out, const uint64_t *algorithm, struct way *way)
{
	(void)handle;
	if (c != out || fits(d, a, b, out) || algorithm[0] != ALGORITHM || algorithm[1] >= WAYS)
		return INVALID;
	*way = (struct way){.workspace = 16 << 20}; // the algorithm is left alone
	return getenv("FAKE_CUBLASLT_REFUSES") ? NOT_SUPPORTED : 0;
}

// FAKE_CUBLASLT_MS="9,3,-1": what algorithms take, by number; -1: it is refused. The others take nothing.
static int milliseconds(uint64_t algorithm)
{
	const char *at = getenv("FAKE_CUBLASLT_MS");
	for (; at && algorithm; algorithm--)
		at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL;
	return at ? atoi(at) : 0;
}

static double load(int type, const char *at, int64_t i)
{
	if (type == R_32F)
		return (double)((const float *)(const void *)at)[i];
	if (type == R_64F)
		return ((const double *)(const void *)at)[i];
	if (type == R_16F)
		return (double)((const _Float16 *)(const void *)at)[i];
	uint32_t bits = (uint32_t)((const uint16_t *)(const void *)at)[i] << 16;
	float f;
	memcpy(&f, &bits, 4);
	return (double)f;
}

static void store(int type, char *at, int64_t i, double v)
{
	float f = (float)v;
	uint32_t bits;
	memcpy(&bits, &f, 4);
	bits += 0x7fff + (bits >> 16 & 1);
	if (type == R_32F)
		((float *)(void *)at)[i] = f;
	else if (type == R_64F)
		((double *)(void *)at)[i] = v;
	else if (type == R_16F)
		((_Float16 *)(void *)at)[i] = (_Float16)f;
	else
		((uint16_t *)(void *)at)[i] = (uint16_t)(bits >> 16);
}

// An operand's element; how the real one rounds to TF32 is not told.
static double factor(const struct call *c, int type, const char *at, int64_t i)
{
	double v = load(type, at, i);
	uint32_t bits;
	float f = (float)v;
	if (c->desc.compute != FAST_TF32)
		return v;
	memcpy(&bits, &f, 4);
	bits = (bits + 0x1000) & ~0x1fffu;
	memcpy(&f, &bits, 4);
	return (double)f;
}

static double element(const struct call *c, int64_t row, int64_t column, int64_t batch)
{
	int64_t k = (int64_t)(c->desc.turn[0] ? c->a.rows : c->a.columns);
	double sum = 0;
	for (int64_t l = 0; l < k; l++) {
		int64_t a = c->desc.turn[0] ? l + row * c->a.distance : row + l * c->a.distance;
		int64_t b = c->desc.turn[1] ? column + l * c->b.distance : l + column * c->b.distance;
		sum += factor(c, c->a.type, c->from_a, a + batch * c->a.batch_stride) *
		       factor(c, c->b.type, c->from_b, b + batch * c->b.batch_stride);
	}
	return c->alpha * sum + (c->desc.epilogue == 4 ? load(c->d.type, c->desc.bias, row) : 0);
}

static void compute(const void *data)
{
	struct call c;
	memcpy(&c, data, sizeof c);
	fake_cuda_pass(c.milliseconds);
	for (int64_t i = 0; i < c.d.batch; i++)
		for (int64_t column = 0; column < (int64_t)c.d.columns; column++)
			for (int64_t row = 0; row < (int64_t)c.d.rows; row++)
				store(c.d.type, c.to, row + column * c.d.distance + i * c.d.batch_stride, element(&c, row, column, i));
}

static int last;

int fake_cublaslt_last(void) { return last; }

static double number(const struct desc *d, const void *at)
{
	return d->scale == R_64F ? *(const double *)at : (double)*(const float *)at;
}

API cublasLtMatmul(void *handle, const struct desc *d, const void *alpha, const void *a, const struct layout *la,
                   const void *b, const struct layout *lb, const void *beta, const void *c, const struct layout *lc, void *to,
                   const struct layout *ld, const uint64_t *algorithm, void *workspace, size_t bytes, void *stream)
{
	struct call call = {.desc = *d, .a = *la, .b = *lb, .d = *ld, .from_a = a, .from_b = b, .to = to, .alpha = number(d, alpha)};
	(void)stream;
	if (!handle || c != to || lc != ld || number(d, beta) != 0)
		return wrong("a third operand");
	if (algorithm[0] != ALGORITHM || (bytes && !workspace))
		return wrong("no algorithm, or no memory for it");
	if (((uintptr_t)a | (uintptr_t)b | (uintptr_t)to | (uintptr_t)workspace) % 16)
		return wrong("memory that is not aligned");
	if (d->epilogue == 4 && !d->bias)
		return wrong("a bias that is not there");
	last = (int)algorithm[1];
	call.milliseconds = milliseconds(algorithm[1]);
	if (call.milliseconds < 0)
		return NOT_SUPPORTED;
	return fits(d, la, lb, ld) ? INVALID : fake_cuda_enqueue("cublasLtMatmul", compute, &call, sizeof call);
}
