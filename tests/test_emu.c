// The CUDA emulator, on kernels written by hand: sound ones come out right in every order, and bugs planted
// into them, one at a time, are noticed. In:  the kernels' texts and the table of bugs below. Not here:
// generated kernels (test_cuda_device.c).
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
enum { MAX_BUFS = 3, LENGTH = 1003 };

// ---- kernels -------------------------------------------------------------------------------------------------------

// Sum of 1003 numbers a block: a stride, a tree in shared memory, a warp.
static const char sum_text[] = "TG_KERNEL(sum_p0, 128)(TG_GLOBAL float *b0, TG_GLOBAL const float *b1)\n"
                               "{\n"
                               "	TG_SHARED(float, s, 128);\n"
                               "	int t = tg_thread(), n = 1003;\n"
                               "	float v = 0;\n"
                               "	for (int i = t; i < n; i += 128)\n"
                               "		v += b1[tg_block() * n + i];\n"
                               "	s[t] = v;\n"
                               "	tg_barrier();\n"
                               "	for (int k = 64; k >= 32; k /= 2) {\n"
                               "		if (t < k)\n"
                               "			s[t] += s[t + k];\n"
                               "		tg_barrier();\n"
                               "	}\n"
                               "	if (t < 32) {\n"
                               "		v = s[t];\n"
                               "		for (int k = 16; k; k /= 2)\n"
                               "			v += tg_shfl_xor_f32(0xffffffffu, v, k);\n"
                               "		if (t == 0)\n"
                               "			b0[tg_block()] = v;\n"
                               "	}\n"
                               "}\n";
// Two 32x32 tiles a block, one after the other through the same shared tile; 16-byte accesses.
static const char turn_text[] =
    "TG_KERNEL(turn_p0, 256)(TG_GLOBAL float *b0, TG_GLOBAL const float *b1)\n"
    "{\n"
    "	TG_SHARED(float, s, 32 * 33);\n"
    "	int t = tg_thread(), row = t / 8, col = t % 8 * 4;\n"
    "	for (int k = 0; k < 2; k++) {\n"
    "		int tile = 2 * tg_block() + k;\n"
    "		tg_f32x4 v = tg_ld4_f32(b1 + tile * 1024 + row * 32 + col);\n"
    "		for (int i = 0; i < 4; i++)\n"
    "			s[row * 33 + col + i] = v.x[i];\n"
    "		tg_barrier();\n"
    "		for (int i = 0; i < 4; i++)\n"
    "			v.x[i] = s[(col + i) * 33 + row];\n"
    "		tg_st4_f32(b0 + tile * 1024 + row * 32 + col, v);\n"
    "		tg_barrier();\n"
    "	}\n"
    "}\n";
// C[16,16] = A[16,64] B[64,16] in f16, three stages of asynchronous copies, a warp for each 8 columns.
static const char dot_text[] =
    "TG_KERNEL(dot_p0, 64)(TG_GLOBAL float *b0, TG_GLOBAL const tg_f16 *b1, TG_GLOBAL const tg_f16 *b2)\n"
    "{\n"
    "	TG_SHARED(tg_f16, x, 3 * 256);\n"
    "	TG_SHARED(tg_f16, y, 3 * 256);\n"
    "	int t = tg_thread(), l = t % 32, w = t / 32, r = l / 2, h = l % 2 * 8;\n"
    "	float c[4] = {0, 0, 0, 0};\n"
    "	for (int k = 0; k < 2; k++) {\n"
    "		if (w == 0)\n"
    "			tg_cp_async16(x + k * 256 + r * 16 + h, b1 + r * 64 + k * 16 + h);\n"
    "		else\n"
    "			tg_cp_async16(y + k * 256 + r * 16 + h, b2 + (k * 16 + r) * 16 + h);\n"
    "		tg_cp_async_commit();\n"
    "	}\n"
    "	for (int k = 0; k < 4; k++) {\n"
    "		unsigned a[4], b[2];\n"
    "		int s = k % 3 * 256, n = k + 2, to = n % 3 * 256;\n"
    "		tg_cp_async_wait(1);\n"
    "		tg_barrier();\n"
    "		if (n < 4 && w == 0)\n"
    "			tg_cp_async16(x + to + r * 16 + h, b1 + r * 64 + n * 16 + h);\n"
    "		else if (n < 4)\n"
    "			tg_cp_async16(y + to + r * 16 + h, b2 + (n * 16 + r) * 16 + h);\n"
    "		tg_cp_async_commit();\n"
    "		tg_ldmatrix_x4(a, x + s + l % 16 * 16 + l / 16 * 8);\n"
    "		tg_ldmatrix_x2_trans(b, y + s + l % 16 * 16 + w * 8);\n"
    "		tg_mma_16816_f16(c, a, b);\n"
    "	}\n"
    "	for (int i = 0; i < 4; i++)\n"
    "		b0[(l / 4 + i / 2 * 8) * 16 + w * 8 + l % 4 * 2 + i % 2] = c[i];\n"
    "}\n";
// The same product of one TF32 tile, C[16,8] = A[16,8] B[8,8], fragments gathered by hand.
static const char tf32_text[] =
    "TG_KERNEL(tf32_p0, 32)(TG_GLOBAL float *b0, TG_GLOBAL const float *b1, TG_GLOBAL const float *b2)\n"
    "{\n"
    "	int l = tg_thread(), g = l / 4, q = l % 4;\n"
    "	float c[4] = {0, 0, 0, 0};\n"
    "	unsigned a[4], b[2];\n"
    "	for (int i = 0; i < 4; i++)\n"
    "		a[i] = tg_tf32_from_f32(b1[(g + i % 2 * 8) * 8 + q + i / 2 * 4]);\n"
    "	for (int i = 0; i < 2; i++)\n"
    "		b[i] = tg_tf32_from_f32(b2[(q + i * 4) * 8 + g]);\n"
    "	tg_mma_1688_tf32(c, a, b);\n"
    "	for (int i = 0; i < 4; i++)\n"
    "		b0[(g + i / 2 * 8) * 8 + q * 2 + i % 2] = c[i];\n"
    "}\n";

// ---- data: small integers, so that sums are exact in every order ---------------------------------------------------

static int number(int i)
{
	return (i * 7 + i / 13) % 9 - 4;
}

static uint16_t half_of(int v) // |v| <= 4
{
	static const uint16_t of[] = {0, 0x3c00, 0x4000, 0x4200, 0x4400};
	return (uint16_t)(of[abs(v)] | (v < 0 ? 0x8000 : 0));
}

static float product(int m, int n, int depth)
{
	return (float)m * (float)n * (float)depth;
}

static float want_sum(int i)
{
	float s = 0;
	for (int k = 0; k < LENGTH; k++)
		s += (float)number(i * LENGTH + k);
	return s;
}

static float want_turn(int i)
{
	int tile = i / 1024, row = i % 1024 / 32, col = i % 32;
	return (float)number(tile * 1024 + col * 32 + row);
}

static float want_dot(int i)
{
	float s = 0;
	for (int k = 0; k < 64; k++)
		s += product(number(i / 16 * 64 + k), number(k * 16 + i % 16), 1);
	return s;
}

static float want_tf32(int i)
{
	float s = 0;
	for (int k = 0; k < 8; k++)
		s += product(number(i / 8 * 8 + k), number(k * 8 + i % 8), 1);
	return s;
}

static const struct sample {
	const char *function, *text;
	int threads, blocks, nbufs, elems[MAX_BUFS]; // the first is the output, f32
	bool half;                                   // the others are f16
	long shared_bytes;
	float (*want)(int i);
} samples[] = {
    {"sum_p0", sum_text, 128, 3, 2, {3, 3 * LENGTH}, false, 512, want_sum},
    {"turn_p0", turn_text, 256, 2, 2, {4096, 4096}, false, 32 * 33 * 4, want_turn},
    {"dot_p0", dot_text, 64, 1, 3, {256, 1024, 1024}, true, 2 * 3 * 512, want_dot},
    {"tf32_p0", tf32_text, 32, 1, 3, {128, 128, 64}, false, 0, want_tf32},
};
enum { SUM, TURN, DOT, TF32 };

static void fill(struct emu_guard *g, int elems, bool half)
{
	for (int i = 0; i < elems; i++) {
		if (half) {
			((uint16_t *)(void *)g->data)[i] = half_of(number(i));
		} else {
			((float *)(void *)g->data)[i] = (float)number(i);
		}
	}
}

// NULL, or what is wrong (malloc'ed).
static char *run_once(const struct sample *s, void *fn, enum emu_order order, bool reverse, bool deferred, bool watch)
{
	struct emu_guard g[MAX_BUFS];
	void *args[MAX_BUFS];
	for (int i = 0; i < s->nbufs; i++) {
		assert_true(emu_guard_new(&g[i], s->elems[i] * (i && s->half ? 2 : 4)));
		if (i)
			fill(&g[i], s->elems[i], s->half);
		args[i] = g[i].data;
	}
	struct emu_launch l = {.name = s->function,
	                       .fn = fn,
	                       .args = args,
	                       .nargs = s->nbufs,
	                       .threads = s->threads,
	                       .blocks = s->blocks,
	                       .shared_bytes = s->shared_bytes,
	                       .order = order,
	                       .reverse_blocks = reverse,
	                       .deferred = deferred,
	                       .watched = g,
	                       .nwatched = watch ? s->nbufs : 0};
	char *error = emu_launch(&l);
	for (int i = 0; i < s->nbufs && !error; i++)
		if (!emu_guard_intact(&g[i]))
			error = strdup("wrote behind a buffer");
	for (int i = 0; i < s->elems[0] && !error; i++) {
		float got = ((float *)(void *)g[0].data)[i], want = s->want(i);
		if (got == want)
			continue;
		error = malloc(100);
		snprintf(error, 100, "element %d is %g, not %g", i, (double)got, (double)want);
	}
	for (int i = 0; i < s->nbufs; i++)
		emu_guard_free(&g[i]);
	return error;
}

static char *run(const struct sample *s, const char *text)
{
	struct emu_library *library = NULL;
	char *error = emu_build(1, &s->function, &text, &library);
	if (error)
		fail_msg("%s", error);
	void *fn = emu_function(library, s->function);
	assert_non_null(fn);
	for (int i = 0; i < 12 && !error; i++)
		error = run_once(s, fn, (enum emu_order)(i % 3), i / 3 % 2, i / 6, false);
	if (!error)
		error = run_once(s, fn, EMU_FORWARD, false, false, true);
	emu_library_free(library);
	return error;
}

static void test_sound(void **state)
{
	(void)state;
	for (int i = 0; i < COUNT(samples); i++) {
		char *error = run(&samples[i], samples[i].text);
		if (error)
			fail_msg("%s", error);
	}
}

// ---- planted bugs --------------------------------------------------------------------------------------------------

#if defined(__x86_64__)
#define BETWEEN "of buffer 0, which block 0 has"
#else
#define BETWEEN ""
#endif
static const struct bug {
	const char *what;
	int sample;
	const char *from, *to; // the first occurrence
	const char *said;      // a part of the diagnosis; NULL: a wrong result. "": not noticed
} bugs[] = {
    {"missing barrier", SUM, "s[t] = v;\n	tg_barrier();", "s[t] = v;", NULL},
    {"missing barrier in a loop", SUM, "s[t + k];\n		tg_barrier();", "s[t + k];", NULL},
    {"race: a tile is refilled while it is read", TURN, "v);\n		tg_barrier();", "v);", NULL},
    {"wrong tail: one too many", SUM, "i < n", "i <= n", NULL},
    {"wrong tail: one too few", SUM, "i < n", "i < n - 1", NULL},
    {"out of bounds: a load", SUM, "b1[tg_block() * n", "b1[tg_block() * (n + 32)", "access outside memory"},
    {"out of bounds: a store", SUM, "b0[tg_block()]", "b0[2 * tg_block()]", "access outside memory"},
    {"out of bounds: a store just behind", SUM, "b0[tg_block()]", "b0[tg_block() + 1]",
     "wrote behind a buffer"},
    {"shared array too small", SUM, "(float, s, 128)", "(float, s, 120)", "outside its shared arrays"},
    {"more shared memory than the record says", TURN, "32 * 33)", "32 * 40)", "the record says"},
    {"too few stages", DOT, "n % 3", "n % 2", NULL},
    {"wrong wait count", DOT, "wait(1)", "wait(2)", NULL},
    {"missing wait", DOT, "tg_cp_async_wait(1);", "", NULL},
    {"barrier before the wait", DOT, "tg_cp_async_wait(1);\n		tg_barrier();",
     "tg_barrier();\n		tg_cp_async_wait(1);", NULL},
    {"wrong shuffle mask", SUM, "0xffffffffu", "0x0000ffffu", "does not name its own lane 16"},
    {"shuffle of lanes that are not there", SUM, "if (t < 32) {\n		v = s[t];",
     "if (t < 16) {\n		v = s[t];", "for lanes of their warp at line 18"},
    {"wrong shuffle distance", SUM, "int k = 16", "int k = 8", NULL},
    {"divergent barrier", SUM, "if (t < k)\n			s[t] += s[t + k];\n		tg_barrier();",
     "if (t < k) {\n			s[t] += s[t + k];\n			tg_barrier();\n		}",
     "comes to the barrier of line 13"},
    {"two barriers for one", TURN, "tg_barrier();\n		for",
     "if (t < 32)\n			tg_barrier();\n		else\n			tg_barrier();\n	"
     "	for",
     "divergent barrier: comes to line 13 while 32 threads wait at line 11"},
    {"a thread ends before the barrier", SUM, "float v = 0;",
     "float v = 0;\n	if (t >= 120)\n		return;", "the barrier of line 11"},
    {"swapped fragments: of A", DOT, "tg_mma_16816_f16(c, a, b)",
     "{ unsigned z = a[1]; a[1] = a[2]; a[2] = z; } tg_mma_16816_f16(c, a, b)", NULL},
    {"swapped fragments: of B", TF32, "(q + i * 4) * 8 + g", "(q + (1 - i) * 4) * 8 + g", NULL},
    {"a matrix not transposed", DOT, "x2_trans", "x2", NULL},
    {"wrong rows of a fragment", DOT, "l / 4 + i / 2 * 8", "l / 4 + i % 2 * 8", NULL},
    {"16 bytes, not aligned", TURN, "(b1 + tile", "(b1 + 1 + tile", "not aligned"},
    {"accumulator not set", SUM, "float v = 0;\n", "float v = s[t];\n", NULL},
    // Blocks run one after the other here, so what they do to each other's memory shows only where it is watched.
    {"lost update between blocks", SUM, "b0[tg_block()] = v;",
     "{ b0[tg_block()] = v; b0[0] += tg_block() ? 1 : 0; b0[0] -= tg_block() ? 1 : 0; }", BETWEEN},
    {"a block reads what another one writes", SUM, "v = s[t];", "v = s[t] + (tg_block() && b0[0] == 12345 ? 1 : 0);", BETWEEN},
};

static char *planted(const struct bug *b)
{
	const char *text = samples[b->sample].text, *at = strstr(text, b->from);
	char *out = malloc(strlen(text) + strlen(b->to) + 1);
	if (!at)
		fail_msg("%s: the text to change is not there", b->what);
	sprintf(out, "%.*s%s%s", (int)(at - text), text, b->to, at + strlen(b->from));
	return out;
}

static void test_planted(void **state)
{
	int caught = 0;
	(void)state;
	for (int i = 0; i < COUNT(bugs); i++) {
		char *text = planted(&bugs[i]), *error = run(&samples[bugs[i].sample], text);
		print_message("%-44s %s\n", bugs[i].what, error ? error : "-");
		caught += error != NULL;
		const char *said = bugs[i].said;
		if (said && *said && error && !strstr(error, said))
			fail_msg("%s: said \"%s\", not \"%s\"", bugs[i].what, error, said);
		if (!error != (said && !*said))
			fail_msg("%s: %s", bugs[i].what,
			         error ? "noticed, the table says it is not" : "not noticed");
		free(error);
		free(text);
	}
	print_message("%d of %d planted bugs noticed\n", caught, COUNT(bugs));
}

static void test_messages(void **state)
{
	struct emu_library *library = NULL;
	const char *name = "broken",
	           *text = "TG_KERNEL(broken_p0, 32)(float *b0)\n{\n	b0[0] = tg_missing_f32(1);\n}\n";
	(void)state;
	char *error = emu_build(1, &name, &text, &library);
	assert_non_null(error);
	assert_null(library);
	if (!strstr(error, "broken:3") || !strstr(error, "tg_missing_f32"))
		fail_msg("neither kernel nor line: %s", error);
	free(error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sound),
	    cmocka_unit_test(test_planted),
	    cmocka_unit_test(test_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
