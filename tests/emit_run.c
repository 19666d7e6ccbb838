// In:  a kernel at the machine level, a target. Out: the first byte where machine code and IR differ.
// Not here: the kernels (test_emit.c, test_emit_random.c).
#include "emit_run.h"

#include "kernel_eval.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

const struct target run_targets[] = {
    {.name = "host 512", .vector_bytes = 64},
    {.name = "host 256", .vector_bytes = 32},
    {.name = "x86-64-v3", .features = "", .vector_bytes = 32},
    {.name = "x86-64", .features = "", .vector_bytes = 16},
};
const int run_targets_count = TG_COUNT(run_targets);

static char *taken(LLVMErrorRef e)
{
	char *m = LLVMGetErrorMessage(e), *copy = strdup(m);
	LLVMDisposeErrorMessage(m);
	return copy;
}

static char *load(LLVMOrcLLJITRef jit, LLVMOrcResourceTrackerRef memory, void *object, size_t bytes)
{
	LLVMMemoryBufferRef b = LLVMCreateMemoryBufferWithMemoryRangeCopy(object, bytes, "kernel");
	LLVMErrorRef e = LLVMOrcLLJITAddObjectFileWithRT(jit, memory, b);
	return e ? taken(e) : NULL;
}

static char *call(LLVMOrcLLJITRef jit, const struct kernel *k, const char *name, int phase, void *const *args)
{
	LLVMOrcExecutorAddress at;
	char symbol[64];
	snprintf(symbol, sizeof symbol, "%s_p%d", name, phase);
	LLVMErrorRef e = LLVMOrcLLJITLookup(jit, &at, symbol);
	if (e)
		return taken(e);
	kernel_fn *fn = (kernel_fn *)(uintptr_t)at;
	void *scratch = aligned_alloc(64, (size_t)((k->scratch_bytes + 127) / 64 * 64));
	int64_t n = k->blocks[phase], half = n / 2;
	if (half)
		fn(args, 0, half, scratch);
	fn(args, half, n, scratch);
	free(scratch);
	return NULL;
}

char *run_emitted(const struct kernel *k, const struct target *t, void *const *args)
{
	static LLVMOrcLLJITRef jit;
	static int serial;
	char name[32], *llvm_text = NULL;
	void *object = NULL;
	size_t bytes = 0;

	snprintf(name, sizeof name, "k%d", serial++);
	bool show = getenv("TEST_EMIT_TEXT") != NULL;
	char *error = emit_llvm_object(k, t, name, &object, &bytes, show ? &llvm_text : NULL, NULL);
	if (llvm_text)
		fputs(llvm_text, stderr);
	free(llvm_text);
	if (error)
		return error;
	LLVMErrorRef e = jit ? NULL : LLVMOrcCreateLLJIT(&jit, NULL);
	if (e)
		return taken(e);
	LLVMOrcResourceTrackerRef memory =
	    LLVMOrcJITDylibCreateResourceTracker(LLVMOrcLLJITGetMainJITDylib(jit));
	error = load(jit, memory, object, bytes);
	for (int p = 0; p < k->nphases && !error; p++)
		error = call(jit, k, name, p, args);
	LLVMConsumeError(LLVMOrcResourceTrackerRemove(memory));
	LLVMOrcReleaseResourceTracker(memory);
	free(object);
	return error;
}

// ---- data ----

static uint32_t draw(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 7;
}

static double some_float(uint32_t *seed)
{
	static const double special[] = {0,   -0.0, INFINITY, -INFINITY, NAN,  1,     -1,
	                                 0.5, 1.5,  2.5,      3e9,       -3e9, 1e-40, 300};
	uint32_t r = draw(seed);
	if (r % 16 == 0)
		return special[r / 16 % TG_COUNT(special)];
	return (double)(r % 8192) / 1024 - 4;
}

static int64_t some_int(uint32_t *seed)
{
	uint64_t r = (uint64_t)draw(seed) << 40 ^ (uint64_t)draw(seed) << 20 ^ draw(seed);
	switch (draw(seed) % 4) {
	case 0:
		return (int64_t)r;
	case 1:
		return (int64_t)(r % 5) - 2;
	case 2:
		return draw(seed) % 2 ? INT64_MIN : INT64_MAX;
	default:
		return (int64_t)(r % 200) - 100;
	}
}

static void put_half(void *p, double x)
{
	_Float16 h = (_Float16)x;
	memcpy(p, &h, sizeof h);
}

static void put(void *p, tgc_type t, uint32_t *seed)
{
	double x = some_float(seed);
	float f = (float)x;
	int64_t i = some_int(seed);
	uint32_t bits;

	switch (t) {
	case TGC_F64:
		memcpy(p, &x, sizeof x);
		break;
	case TGC_F32:
		memcpy(p, &f, sizeof f);
		break;
	case TGC_F16:
		put_half(p, x);
		break;
	case TGC_BF16:
		memcpy(&bits, &f, sizeof bits);
		memcpy(p, (char *)&bits + 2, 2);
		break;
	case TGC_BOOL:
		i &= 1;
		memcpy(p, &i, 1);
		break;
	default:
		memcpy(p, &i, tgc_type_bytes(t));
	}
}

void run_fill(struct run_data *d, const struct kernel *k, uint32_t seed)
{
	*d = (struct run_data){.n = 0};
	for (int i = 0; i < k->nbufs && k->bufs[i].space == SPACE_GLOBAL; i++) {
		size_t size = tgc_type_bytes(k->bufs[i].type);
		assert(d->n < RUN_BUFS);
		d->bytes[d->n] = k->bufs[i].elems * (int64_t)size;
		char *p = malloc((size_t)d->bytes[d->n] + 1);
		for (int64_t e = 0; e < k->bufs[i].elems; e++)
			put(p + e * (int64_t)size, k->bufs[i].type, &seed);
		d->args[d->n++] = p;
	}
	for (int i = 0; i < k->nscalars; i++) {
		put(&d->scalars[i], k->scalar_types[i], &seed);
		d->args[d->n + i] = &d->scalars[i];
	}
}

void run_free(struct run_data *d)
{
	for (int i = 0; i < d->n; i++)
		free(d->args[i]);
}

static bool is_nan(tgc_type t, const void *p)
{
	double x;
	float f;
	uint16_t h;
	switch (t) {
	case TGC_F64:
		memcpy(&x, p, sizeof x);
		return isnan(x);
	case TGC_F32:
		memcpy(&f, p, sizeof f);
		return isnan(f);
	case TGC_F16:
		memcpy(&h, p, sizeof h);
		return (h & 0x7fff) > 0x7c00;
	case TGC_BF16:
		memcpy(&h, p, sizeof h);
		return (h & 0x7fff) > 0x7f80;
	default:
		return false;
	}
}

static char *difference(const struct kernel *k, int buf, const char *want, const char *got)
{
	tgc_type t = k->bufs[buf].type;
	size_t size = tgc_type_bytes(t);
	struct text out = {0};

	for (int64_t e = 0; e < k->bufs[buf].elems; e++) {
		const char *w = want + e * (int64_t)size, *g = got + e * (int64_t)size;
		if (!memcmp(w, g, size) || (is_nan(t, w) && is_nan(t, g)))
			continue;
		uint64_t wb = 0, gb = 0;
		memcpy(&wb, w, size);
		memcpy(&gb, g, size);
		text_add(&out, "buffer %d element %lld (%s): want bits %llx, got %llx", buf, (long long)e,
		         tgc_type_name(t), (unsigned long long)wb, (unsigned long long)gb);
		return text_take(&out);
	}
	return NULL;
}

char *run_both(const struct kernel *k, const struct target *t, uint32_t seed)
{
	struct run_data want, got;

	run_fill(&want, k, seed);
	run_fill(&got, k, seed);
	char *error = kernel_eval(k, want.args);
	if (!error)
		error = run_emitted(k, t, got.args);
	for (int i = 0; i < want.n && !error; i++)
		error = difference(k, i, want.args[i], got.args[i]);
	run_free(&want);
	run_free(&got);
	return error;
}

void run_fail(const char *name, const struct target *t, const struct kernel *k, char *error)
{
	struct text text = {0};
	if (!error)
		return;
	kernel_print(k, &text);
	char *all = text_take(&text);
	fail_msg("%s on %s: %s\n%s", name, t->name, error, all);
}

void run_prepare(struct kernel *k, const struct target *t)
{
	kpass_expand(k, t);
	kpass_simplify(k, t);
	kpass_bind(k, t);
	char *error = kernel_verify(k, LEVEL_MACHINE);
	assert_null(error);
}
