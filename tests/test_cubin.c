// What NVRTC's machine code for sm_90 has where the design promises it: 16-byte accesses, tensor cores,
// asynchronous copies, rows that are read once, and no local memory.
// In:  the benchmark's workloads and products of 16-bit floats, scheduled and emitted, not run; NVRTC (else it
// is skipped). Out: counts of opcodes in the cubin (cubin.c), against the table below. Not here: what kernels
// compute.
#include "check_nvrtc.h"
#include "cubin.h"
#include "plan_look.h"

#include <stdlib.h>

enum { MAX_KERNELS = 24 };

// ---- kernels of a graph, as a stand-in for the runtime gets them
// ---------------------------------------------------

static struct { // of the case that runs
	char *texts[MAX_KERNELS];
	char names[MAX_KERNELS][16], functions[8 * MAX_KERNELS][64];
	int nkernels, nfunctions;
	const char *arch;
	bool tf32; // all products by tensor cores are of TF32, else none
} k;

static const struct target *target(void)
{
	static struct target record;
	return target_rounding(target_find(k.arch), k.tf32, &record);
}

static void emit(const struct plan *p, const struct pstep *s, const struct target *t)
{
	struct cuda_source out = {0};
	char *error;
	struct kernel *kernel = lower_step(p, s, t, &error);
	assert_true(k.nkernels < MAX_KERNELS);
	snprintf(k.names[k.nkernels], sizeof k.names[0], "k%d", k.nkernels);
	if (kernel)
		error = kernel_run_passes(kernel, t, false);
	if (!error)
		error = emit_cuda(kernel, t, k.names[k.nkernels], &out);
	if (error)
		fail_msg("%s", error);
	for (int i = 0; i < out.nphases; i++) {
		assert_true(k.nfunctions < TG_COUNT(k.functions));
		strcpy(k.functions[k.nfunctions++], out.phases[i].name);
	}
	k.texts[k.nkernels++] = out.text;
	kernel_free(kernel);
}

static void emit_all(struct tgc_context *c, const struct linear *l, const struct plan *p)
{
	(void)c;
	(void)l;
	for (int i = 0; i < p->nsteps; i++)
		if (p->steps[i].kind == STEP_KERNEL)
			emit(p, &p->steps[i], target());
}

static void record(const char *name)
{
	plan_look_workload(plan_look_find(name), target(), emit_all);
}

static tgc_tensor *leaf(tgc_context *c, tgc_type t, tgc_shape s)
{
	return tgc_variable(tgc_full(c, t, s, 0));
}

// x y, or x times y turned.
static void product(tgc_type t, int64_t rows, int64_t terms, int64_t columns, bool turn)
{
	tgc_context *c = check_context("interp", 1);
	plan_look(c, target(), emit_all);
	tgc_tensor *x = leaf(c, t, TGC_SHAPE(rows, terms)),
	           *y = leaf(c, t, turn ? TGC_SHAPE(columns, terms) : TGC_SHAPE(terms, columns));
	assert_int_equal(tgc_realize(tgc_matmul(x, turn ? tgc_transpose(y, 0, 1) : y)), TGC_OK);
	tgc_release(x);
	tgc_release(y);
	tgc_context_free(&c);
}

static tgc_tensor *normalised(tgc_tensor *x)
{
	tgc_axes over = TGC_AXES(0, 2, 3);
	x = tgc_cast(x, TGC_F32);
	tgc_tensor *y = tgc_sub(x, tgc_mean(x, over, true));
	return tgc_relu(tgc_cast(tgc_div(y, tgc_sqrt(tgc_add(tgc_var(x, over, 0, true), 1e-5))), TGC_BF16));
}

// Between batch norms, with both gradients.
static void convolution(int64_t in, int64_t out, int64_t side, int64_t stride)
{
	tgc_context *c = check_context("interp", 1);
	plan_look(c, target(), emit_all);
	tgc_tensor *x = leaf(c, TGC_BF16, TGC_SHAPE(32, in, side, side)), *grads[2],
	           *w = leaf(c, TGC_BF16, TGC_SHAPE(out, in, 3, 3)), *of[] = {x, w};
	tgc_tensor *y = tgc_conv2d(normalised(x), w, .stride = {stride, stride}, .padding = {1, 1, 1, 1});
	tgc_tensor *loss = tgc_sum(tgc_cast(normalised(y), TGC_F32), TGC_ALL_AXES, false);
	assert_int_equal(tgc_grad(loss, 2, of, grads), TGC_OK);
	assert_int_equal(tgc_realize_n(2, grads), TGC_OK);
	tgc_release(x);
	tgc_release(w);
	tgc_context_free(&c);
}

static void halves(void)
{
	tgc_context *c = check_context("interp", 1);
	plan_look(c, target(), emit_all);
	tgc_tensor *x = leaf(c, TGC_F16, TGC_SHAPE(1 << 20));
	assert_int_equal(tgc_realize(tgc_mul(tgc_relu(x), 3)), TGC_OK);
	tgc_release(x);
	tgc_context_free(&c);
}

static void softmax(int64_t rows, int64_t n)
{
	tgc_context *c = check_context("interp", 1);
	plan_look(c, target(), emit_all);
	tgc_tensor *x = leaf(c, TGC_F32, TGC_SHAPE(rows, n));
	assert_int_equal(tgc_realize(tgc_softmax(x, -1)), TGC_OK);
	tgc_release(x);
	tgc_context_free(&c);
}

static void rows_of_64(void)
{
	softmax(65536, 64);
}
static void rows_of_16k(void)
{
	softmax(1024, 16384);
}
static void bf16_convolution(void)
{
	convolution(16, 16, 32, 1);
}
static void bf16_strided(void)
{
	convolution(32, 64, 16, 2);
}
static void bf16_product(void)
{
	product(TGC_BF16, 1024, 1024, 1024, false);
}
static void bf16_turned(void)
{
	product(TGC_BF16, 1024, 1024, 1024, true);
}
static void f16_rest(void)
{
	product(TGC_F16, 200, 300, 100, false);
}

static void tf32_product(void)
{
	k.tf32 = true;
	product(TGC_F32, 1024, 1024, 1024, false);
}
static void tf32_turned(void)
{
	k.tf32 = true;
	product(TGC_F32, 1024, 1024, 1024, true);
}
static void tf32_rest(void)
{
	k.tf32 = true;
	product(TGC_F32, 200, 300, 100, false);
}
static void tf32_ampere(void)
{
	k.arch = "sm_80";
	tf32_product();
}

// Forward, and with gradients.
static void attention(tgc_type t, int64_t length, bool backward)
{
	tgc_context *c = check_context("interp", 1);
	plan_look(c, target(), emit_all);
	tgc_tensor *x[4], *out[4];
	for (int i = 0; i < 4; i++)
		x[i] = leaf(c, t, TGC_SHAPE(16, length, 64));
	out[0] = tgc_attention(x[0], x[1], x[2], true);
	if (backward)
		assert_int_equal(tgc_grad(tgc_sum(tgc_cast(tgc_mul(out[0], x[3]), TGC_F32), TGC_ALL_AXES, false), 3, x,
		                          out + 1),
		                 TGC_OK);
	assert_int_equal(tgc_realize_n(backward ? 4 : 1, out), TGC_OK);
	for (int i = 0; i < 4; i++)
		tgc_release(x[i]);
	tgc_context_free(&c);
}
static void bf16_attention(void)
{
	attention(TGC_BF16, 1024, false);
}
static void f16_attention_back(void)
{
	attention(TGC_F16, 1000, true);
}

// ---- what is promised
// ----------------------------------------------------------------------------------------------

static const struct promise {
	const char *name; // of a workload, or what `record` makes
	void (*record)(void);
	int wide_loads, wide_stores; // of 16 bytes, at least
	int narrow;                  // other global accesses, at most; -1: any
	int products, fused;         // by tensor cores, by FMA, at least
	int copies;                  // of 16 bytes, asynchronous, at least
	int loads;                   // of global memory, exactly: rows are read once; 0: any
} promises[] = {
    {"gelu_chain", NULL, 3, 1, 0, 0, 0, 0, 0},
    {"16-bit elementwise", halves, 1, 1, 0, 0, 0, 0, 0},
    {"adam", NULL, 4, 3, -1, 0, 0, 0, 0},
    {"matmul_1024x1024x1024", NULL, 0, 4, 4, 0, 128, 2, 0},
    {"bf16 product", bf16_product, 0, 0, -1, 32, 0, 6, 0},
    {"bf16 product, turned", bf16_turned, 0, 0, -1, 32, 0, 6, 0},
    {"f16 product, what is left", f16_rest, 0, 0, -1, 16, 0, 0, 0},
    {"TF32 product", tf32_product, 0, 0, -1, 16, 0, 4, 0},
    {"TF32 product, turned", tf32_turned, 0, 0, -1, 16, 0, 4, 0},
    {"TF32 product, what is left", tf32_rest, 0, 0, -1, 16, 0, 0, 0},
    {"TF32 product, sm_80", tf32_ampere, 0, 0, -1, 16, 0, 2, 0},
    {"bf16 convolution, its gradients", bf16_convolution, 0, 0, -1, 24, 0, 12, 0},
    {"the same, stride 2", bf16_strided, 0, 0, -1, 24, 0, 12, 0},
    {"softmax_4096x1024", NULL, 8, 8, 0, 0, 0, 0, 8},
    {"softmax, rows of 64", rows_of_64, 1, 1, 0, 0, 0, 0, 1},
    {"softmax, rows of 16384", rows_of_16k, 4, 4, 0, 0, 0, 0, 4},
    {"layernorm_fwd", NULL, 18, 6, 0, 0, 0, 0, 18},
    {"softmax_64x50257", NULL, 0, 0, -1, 0, 0, 0, 0},
    {"layernorm_fb", NULL, 0, 0, -1, 0, 0, 0, 0},
    {"transpose", NULL, 0, 0, -1, 0, 0, 0, 0},
    {"conv3_16-16_32_s1_g1", NULL, 0, 0, -1, 0, 32, 0, 0},
    {"conv3_16-16_32_s1_g1_dx", NULL, 0, 0, -1, 0, 32, 0, 0},
    {"conv3_16-16_32_s1_g1_dw", NULL, 0, 0, -1, 0, 32, 0, 0},
    {"attention", NULL, 0, 0, -1, 0, 0, 0, 0},
    {"bf16 attention", bf16_attention, 0, 0, -1, 32, 0, 15, 0}, // scores and what they weigh, both on tensor cores
    {"f16 attention, gradients", f16_attention_back, 0, 0, -1, 80, 0, 30, 0},
};

static struct nvrtc library;

static void add(struct cubin_count *to, const struct cubin_count *c)
{
	to->instructions += c->instructions;
	to->tf32 += c->tf32;
	for (int o = 0; o < CUBIN_OPS; o++) {
		to->n[o] += c->n[o];
		for (int w = 0; w < CUBIN_WIDTHS; w++)
			to->width[o][w] += c->width[o][w];
	}
}

static struct cubin_count compiled(void)
{
	struct nvrtc_source sources[MAX_KERNELS];
	struct nvrtc_code code;
	struct cubin_count all = {0}, one;
	for (int i = 0; i < k.nkernels; i++)
		sources[i] = (struct nvrtc_source){k.names[i], k.texts[i]};
	char *error = nvrtc_compile(&library, k.arch, emit_cuda_prelude(), k.nkernels, sources, false, &code);
	if (error)
		fail_msg("%s", error);
	for (int i = 0; i < k.nfunctions; i++) {
		assert_true(cubin_count(code.code, code.bytes, k.functions[i], &one));
		add(&all, &one);
	}
	nvrtc_code_free(&code);
	return all;
}

static void print(const char *name, const struct cubin_count *c)
{
	print_message("%-28s %5d", name, c->instructions);
	for (int o = 0; o < CUBIN_OPS; o++) {
		if (!c->n[o])
			continue;
		print_message("  %s %d", cubin_names[o], c->n[o]);
		for (int w = CUBIN_WIDTHS - 1; w >= 0; w--)
			if (c->width[o][w])
				print_message(" %dx%d", c->width[o][w], 8 << w);
	}
	print_message("\n");
}

static void test_promises(void **state)
{
	enum { WIDE = CUBIN_WIDTHS - 1 };
	(void)state;
	if (!nvrtc_open(&library, NULL, "")) {
		print_message("skipped, no NVRTC: %s\n", library.library.why);
		skip();
	}
	for (int i = 0; i < TG_COUNT(promises); i++) {
		const struct promise *p = &promises[i];
		k.nkernels = k.nfunctions = 0;
		k.arch = "sm_90";
		k.tf32 = false;
		if (p->record)
			p->record();
		else
			record(p->name);
		assert_true(k.nfunctions > 0);
		struct cubin_count c = compiled();
		print(p->name, &c);
		int wide = c.width[CUBIN_LDG][WIDE] + c.width[CUBIN_STG][WIDE];
		int all = c.n[CUBIN_LDG] + c.n[CUBIN_STG];
		if (c.n[CUBIN_LDL] || c.n[CUBIN_STL] || c.width[CUBIN_LDG][WIDE] < p->wide_loads ||
		    c.width[CUBIN_STG][WIDE] < p->wide_stores || (p->narrow >= 0 && all - wide > p->narrow) ||
		    c.width[CUBIN_LDGSTS][WIDE] < p->copies || c.n[CUBIN_HMMA] < p->products ||
		    c.n[CUBIN_FFMA] < p->fused || c.tf32 != (k.tf32 ? c.n[CUBIN_HMMA] : 0) ||
		    (p->loads && c.n[CUBIN_LDG] != p->loads))
			fail_msg("%s is not what was promised", p->name);
		for (int j = 0; j < k.nkernels; j++)
			free(k.texts[j]);
	}
	nvrtc_close(&library);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_promises),
	};
	return cmocka_run_group_tests_name("cubin", tests, NULL, NULL);
}
