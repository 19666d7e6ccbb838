// Programs in files: what is saved is what is loaded, bit for bit; what is damaged is refused.
// In:  programs that train, draw random numbers and look things up. Not here: random damage (fuzz_program.c).
#include "check.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ROWS = 12, COLUMNS = 7 };

static char path[64];

static void quiet(void *user, const char *line)
{
	(void)user, (void)line;
}

static int make(void **state)
{
	(void)state;
	snprintf(path, sizeof path, "/tmp/tgc-saved-XXXXXX");
	int fd = mkstemp(path);
	return fd < 0 ? -1 : close(fd);
}

static int drop(void **state)
{
	(void)state;
	return unlink(path);
}

// A training step: two variables, one of them assigned without being read; data; a late scalar; a draw; a
// gather that may fail; an input. Outputs: loss and a prediction.
static tgc_program *training(tgc_context *c, tgc_tensor **rate)
{
	float table[40];
	for (int i = 0; i < 40; i++)
		table[i] = (float)i / 8 - 2;
	tgc_tensor *w = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(COLUMNS, 5), 0.125));
	tgc_tensor *last = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SCALAR_SHAPE)), *g;
	tgc_tensor *data = tgc_from_data(c, TGC_F32, TGC_SHAPE(8, 5), table);
	tgc_tensor *x = tgc_input(c, TGC_F32, TGC_SHAPE(ROWS, COLUMNS));
	tgc_tensor *index = tgc_input(c, TGC_I32, TGC_SHAPE(ROWS));
	tgc_tensor *unused = tgc_input(c, TGC_F64, TGC_SHAPE(3));
	*rate = tgc_scalar(c, 0.05);
	tgc_tensor *noise = tgc_randn(c, TGC_F32, TGC_SHAPE(ROWS, 5), .std = 0.1);
	tgc_tensor *y = tgc_add(tgc_matmul(x, w), noise);
	tgc_tensor *want = tgc_gather(data, index, 0);
	tgc_tensor *loss = tgc_mean(tgc_square(tgc_sub(y, want)), TGC_ALL_AXES, false);
	tgc_grad(loss, 1, &w, &g);
	tgc_assign(w, tgc_sub(w, tgc_mul(g, *rate)));
	tgc_assign(last, loss);
	tgc_tensor *inputs[] = {x, index, unused}, *outputs[] = {loss, tgc_softmax(y, 1)};
	tgc_program *p = tgc_compile(c, 3, inputs, 2, outputs);
	assert_ok(c);
	assert_non_null(p);
	return p;
}

struct results {
	float loss[6], y[ROWS * 5], w[COLUMNS * 5], last;
};

static void train(tgc_context *c, tgc_program *p, tgc_tensor *rate, struct results *r)
{
	float x[ROWS * COLUMNS];
	int32_t index[ROWS];
	double unused[3] = {0};
	const void *in[] = {x, index, unused};
	for (int i = 0; i < ROWS * COLUMNS; i++)
		x[i] = (float)(i * 5 % 11) / 8 - 0.5f;
	for (int i = 0; i < ROWS; i++)
		index[i] = i * 3 % 8;
	tgc_seed(c, 77);
	memset(r, 0, sizeof *r);
	for (int i = 0; i < 6; i++) {
		void *out[] = {&r->loss[i], r->y};
		if (i == 3)
			assert_int_equal(tgc_set(rate, 0.5), TGC_OK);
		assert_int_equal(tgc_program_run(p, in, out), TGC_OK);
	}
	assert_int_equal(tgc_program_variables_count(p), 2);
	for (int i = 0; i < 2; i++) {
		tgc_tensor *v = tgc_program_variable(p, i);
		bool is_w = tgc_tensor_elems(v) > 1;
		assert_int_equal(tgc_read(v, is_w ? r->w : &r->last, is_w ? sizeof r->w : 4), TGC_OK);
	}
	assert_null(tgc_program_variable(p, 2));
	assert_null(tgc_program_variable(p, -1));
}

static void loaded_programs_give_the_same_bits(void **state)
{
	int n;
	const char *const *devices = check_devices(&n);
	(void)state;
	for (int i = 0; i < n; i++) {
		tgc_context *one = check_context(devices[i], 1), *two = check_context(devices[i], 2);
		tgc_tensor *rate;
		struct results a, b, again;
		if (!one) // it is not there
			continue;
		tgc_program *p = training(one, &rate);
		assert_int_equal(tgc_program_scalars_count(p), 1);
		assert_ptr_equal(tgc_program_scalar(p, 0), rate);
		assert_int_equal(tgc_program_save(p, path), TGC_OK);
		train(one, p, rate, &a);
		assert_true(a.loss[5] < a.loss[0] && a.last == a.loss[5]);

		uint64_t live = tgc_get_stats(two).nodes_live, handles = tgc_get_stats(two).handles_live;
		tgc_program *q = tgc_program_load(two, path);
		assert_ok(two);
		assert_non_null(q);
		assert_int_equal(tgc_program_scalars_count(q), 1);
		train(two, q, tgc_program_scalar(q, 0), &b);
		assert_memory_equal(&a, &b, sizeof a);
		assert_null(tgc_program_scalar(q, 1));

		// Saved with what it has learned, by one that was loaded itself.
		assert_int_equal(tgc_program_save(q, path), TGC_OK);
		tgc_program *r = tgc_program_load(one, path);
		assert_non_null(r);
		train(one, r, tgc_program_scalar(r, 0), &again);
		assert_true(again.loss[0] < a.loss[0]);
		train(two, q, tgc_program_scalar(q, 0), &b);
		assert_memory_equal(&again, &b, sizeof b);
		tgc_program_free(&r);
		tgc_program_free(&q);
		assert_int_equal(tgc_get_stats(two).handles_live, handles);
		assert_int_equal(tgc_get_stats(two).nodes_live, live);
		tgc_program_free(&p);
		tgc_context_free(&one);
		tgc_context_free(&two);
	}
}

static void released_state_is_saved(void **state)
{
	tgc_context *c = check_context("interp", 1), *d = check_context("interp", 1);
	float out = 0;
	void *outs[] = {&out};
	(void)state;
	tgc_tensor *v = tgc_variable(tgc_full(c, TGC_F32, TGC_SCALAR_SHAPE, 3)), *s = tgc_scalar(c, 4);
	tgc_tensor *y = tgc_mul(v, s);
	tgc_program *p = tgc_compile(c, 0, NULL, 1, &y);
	assert_non_null(p);
	tgc_set(s, 5);
	tgc_release(v);
	tgc_release(s);
	assert_null(tgc_program_variable(p, 0));
	assert_int_equal(tgc_program_scalars_count(p), 0);
	assert_int_equal(tgc_program_run(p, NULL, outs), TGC_OK);
	float before = out;
	assert_int_equal(tgc_program_save(p, path), TGC_OK);
	tgc_program *q = tgc_program_load(d, path);
	assert_non_null(q);
	assert_int_equal(tgc_program_variables_count(q), 1);
	assert_int_equal(tgc_program_run(q, NULL, outs), TGC_OK);
	assert_true(out == before);
	tgc_assign(tgc_program_variable(q, 0), tgc_full(d, TGC_F32, TGC_SCALAR_SHAPE, 10));
	assert_int_equal(tgc_program_run(q, NULL, outs), TGC_OK);
	assert_true(out == before * 10 / 3);
	tgc_release(tgc_program_variable(q, 0)); // though it is the program's
	assert_null(tgc_program_variable(q, 0));
	assert_int_equal(tgc_program_run(q, NULL, outs), TGC_OK);
	assert_true(out == before * 10 / 3);
	tgc_program_free(&p);
	tgc_program_free(&q);
	tgc_context_free(&c);
	tgc_context_free(&d);
}

// ---- damage -------------------------------------------------------------------------------------

static size_t slurp(char *to, size_t room)
{
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(to, 1, room, f);
	fclose(f);
	return n;
}

static tgc_status load_bytes(tgc_context *c, const char *data, size_t n)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	fclose(f);
	tgc_clear_error(c);
	tgc_program *p = tgc_program_load(c, path);
	tgc_status s = tgc_error_status(c);
	assert_true((p != NULL) == (s == TGC_OK));
	tgc_program_free(&p);
	tgc_clear_error(c);
	return s;
}

static void damaged_files_are_refused(void **state)
{
	static char good[1 << 16], bad[1 << 16];
	tgc_context *c = check_context("interp", 1);
	tgc_tensor *rate;
	(void)state;
	tgc_program *p = training(c, &rate);
	assert_int_equal(tgc_program_save(p, path), TGC_OK);
	tgc_program_free(&p);
	size_t n = slurp(good, sizeof good - 1);
	assert_int_equal(load_bytes(c, good, n), TGC_OK);
	uint64_t live = tgc_get_stats(c).nodes_live, bytes = tgc_get_stats(c).device_bytes;
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(load_bytes(c, good, i), TGC_ERROR_TRUNCATED);
		memcpy(bad, good, n);
		bad[i] = (char)(bad[i] ^ 1 << i % 8);
		tgc_status s = load_bytes(c, bad, n);
		assert_true(s == TGC_ERROR_FORMAT || s == TGC_ERROR_LIMIT || s == TGC_ERROR_TRUNCATED);
		if (i < 8)
			assert_int_equal(s, TGC_ERROR_FORMAT);
	}
	for (size_t at = 8; at < 24; at += 8) {
		memcpy(bad, good, n);
		memset(bad + at, 255, 8);
		assert_int_equal(load_bytes(c, bad, n), TGC_ERROR_LIMIT);
	}
	assert_int_equal(load_bytes(c, good, n + 1), TGC_ERROR_FORMAT);
	assert_int_equal(tgc_get_stats(c).nodes_live, live);
	assert_int_equal(tgc_get_stats(c).device_bytes, bytes);
	tgc_context_free(&c);
}

static void only_regular_files_are_loaded(void **state)
{
	tgc_context *c = check_context("interp", 1);
	char fifo[80];
	(void)state;
	snprintf(fifo, sizeof fifo, "%s.fifo", path);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	const char *names[] = {fifo, "/tmp", "/dev/zero", "/nowhere/at/all"};
	for (int i = 0; i < TG_COUNT(names); i++) {
		assert_null(tgc_program_load(c, names[i]));
		assert_int_equal(tgc_error_status(c), TGC_ERROR_IO);
		assert_non_null(strstr(tgc_error_message(c), names[i]));
		tgc_clear_error(c);
	}
	unlink(fifo);
	assert_null(tgc_program_load(c, NULL));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	assert_null(tgc_program_load(NULL, path));
	assert_int_equal(tgc_program_save(NULL, path), TGC_ERROR_ARG);
	assert_int_equal(tgc_program_variables_count(NULL), 0);
	assert_null(tgc_program_variable(NULL, 0));
	assert_null(tgc_program_scalar(NULL, 0));
	tgc_context_free(&c);
}

static void a_failed_save_leaves_the_old_file(void **state)
{
	static char before[1 << 16], after[1 << 16];
	tgc_context *c = check_context("interp", 1);
	tgc_tensor *rate;
	(void)state;
	tgc_program *p = training(c, &rate);
	assert_int_equal(tgc_program_save(p, path), TGC_OK);
	size_t n = slurp(before, sizeof before);
	assert_int_equal(tgc_program_save(p, "/nowhere/at/all"), TGC_ERROR_IO);
	assert_non_null(strstr(tgc_error_message(c), "/nowhere/at/all"));
	tgc_clear_error(c);
	assert_int_equal(slurp(after, sizeof after), n);
	assert_memory_equal(before, after, n);
	tgc_program_free(&p);
	tgc_context_free(&c);
}

// ---- memory that runs out at every allocation in turn -------------------------------------------

struct meter {
	int64_t left; // allocations until one fails, once; negative: none does
	bool hit;
};

static void *metered(void *user, void *p, size_t old_bytes, size_t new_bytes)
{
	struct meter *m = user;
	(void)old_bytes;
	if (new_bytes == 0) {
		free(p);
		return NULL;
	}
	if (m->left >= 0 && m->left-- == 0) {
		m->hit = true;
		return NULL;
	}
	return realloc(p, new_bytes);
}

static tgc_status save_and_load(tgc_context *c, tgc_program *p)
{
	tgc_status s = tgc_program_save(p, path);
	tgc_program *q = s ? NULL : tgc_program_load(c, path);
	assert_true(s || (q != NULL) == (tgc_error_status(c) == TGC_OK));
	tgc_program_free(&q);
	return tgc_error_status(c);
}

static void no_memory_is_an_error(void **state)
{
	int n;
	const char *const *devices = check_devices(&n);
	(void)state;
	for (int i = 0; i < n; i++) {
		struct meter m = {.left = -1};
		tgc_context_options o = {.struct_size = sizeof o,
		                         .device = devices[i],
		                         .threads = 1,
		                         .alloc = metered,
		                         .alloc_user = &m,
		                         .log = quiet};
		tgc_context *c = tgc_context_new(&o);
		tgc_tensor *rate;
		if (tgc_error_status(c)) {
			tgc_context_free(&c);
			continue;
		}
		tgc_program *p = training(c, &rate);
		assert_int_equal(save_and_load(c, p), TGC_OK);
		tgc_stats before = tgc_get_stats(c), after;
		int64_t failures = 0;
		for (bool hit = true; hit; failures += hit) {
			m = (struct meter){.left = failures};
			tgc_status s = save_and_load(c, p);
			hit = m.hit;
			m.left = -1;
			if (s != TGC_OK && (!hit || s != TGC_ERROR_MEMORY))
				fail_msg("allocation %lld: %s", (long long)failures, tgc_error_message(c));
			tgc_clear_error(c);
			after = tgc_get_stats(c);
			assert_int_equal(after.nodes_live, before.nodes_live);
			assert_int_equal(after.handles_live, before.handles_live);
			assert_int_equal(after.device_bytes, before.device_bytes);
		}
		assert_true(failures > 5);
		print_message("%s: %lld allocations failed in turn\n", devices[i], (long long)failures);
		tgc_program_free(&p);
		tgc_context_free(&c);
	}
}

#define PROGRAM(leaves, body) "inputs 1 outputs 1\n" leaves "program {\n leaf 0 input f32 4\n" body "}\n"
#define PLAIN "%0 = data f32[4] @0\n"

static void unsound_programs_are_refused(void **state)
{
	static const struct {
		tgc_status want;
		const char *text;
	} rows[] = {
	    {TGC_OK, PROGRAM("", PLAIN "%1 = neg f32[4] %0\n out %1\n")},
	    {TGC_ERROR_FORMAT, ""},
	    {TGC_ERROR_FORMAT, "inputs 1 outputs 1\n"},
	    {TGC_ERROR_FORMAT, "inputs -1 outputs 1\nprogram {}"},
	    {TGC_ERROR_FORMAT, "inputs 99999999999999999999 outputs 1\nprogram {}"},
	    {TGC_ERROR_FORMAT, PROGRAM("", PLAIN "%1 = neg f32[4] %0\n out %1\n") "more"},
	    {TGC_ERROR_FORMAT, PROGRAM("more\n", PLAIN "%1 = neg f32[4] %0\n out %1\n")},
	    {TGC_ERROR_FORMAT, PROGRAM("scalar 0 late 0\n", PLAIN "%1 = neg f32[4] %0\n out %1\n")},
	    {TGC_ERROR_FORMAT, PROGRAM("scalar 7 late 0\n", PLAIN "%1 = neg f32[4] %0\n out %1\n")},
	    {TGC_ERROR_FORMAT, PROGRAM("", PLAIN "%1 = neg f32[5] %0\n out %1\n")},
	    {TGC_ERROR_FORMAT, PROGRAM("", PLAIN "%1 = exp f32[4] %1\n out %1\n")},
	    {TGC_ERROR_FORMAT, PROGRAM("", PLAIN "%1 = neg f32[4] %0\n")}, // no output
	    {TGC_ERROR_FORMAT, PROGRAM("", PLAIN "%1 = neg f32[4] %0\n out %1 -> 0\n")},
	    {TGC_ERROR_FORMAT, PROGRAM("", " leaf 1 data f32 4\n" PLAIN " out %0\n")}, // nothing reads it
	    {TGC_ERROR_FORMAT, PROGRAM("", " leaf 1 scalar f32 1\n" PLAIN "%1 = scalar f32[] @1\n out %0\n")},
	    {TGC_ERROR_FORMAT,
	     PROGRAM("", " leaf 1 data f32 4\n" PLAIN "%1 = data f32[4] @1\n out %1\n")}, // no value
	    {TGC_ERROR_FORMAT, PROGRAM("", " leaf 1 input f32 4\n" PLAIN "%1 = data f32[4] @1\n out %1\n")},
	    {TGC_ERROR_FORMAT,
	     PROGRAM("", "%0 = variable f32[4] @0\n out %0\n")}, // an input read as a variable
	    {TGC_ERROR_FORMAT,
	     PROGRAM("", PLAIN "%1 = slice f32[4] %0 {9223372036854775807,9223372036854775807}\n"
	                       " out %1\n")},
	    {TGC_ERROR_LIMIT, PROGRAM("", PLAIN "%1 = reshape f32[4,1] %0\n"
	                                        "%2 = expand f32[4,35184372088832] %1\n out %2\n")},
	    {TGC_ERROR_LIMIT, PROGRAM("", PLAIN "%1 = slice f32[4] %0 {0,9223372036854775807}\n out %1\n")},
	};
	tgc_context *c = check_context("interp", 1);
	(void)state;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		tgc_program *p = program_parse(c, rows[i].text, NULL, 0);
		tgc_status s = tgc_error_status(c);
		if (rows[i].want == TGC_ERROR_FORMAT ? s != TGC_ERROR_FORMAT && s != TGC_ERROR_LIMIT
		                                     : s != rows[i].want)
			fail_msg("row %d: %s", i, s ? tgc_error_message(c) : "taken");
		assert_true((p != NULL) == (s == TGC_OK));
		tgc_program_free(&p);
		tgc_clear_error(c);
	}
	tgc_context_free(&c);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
	const struct CMUnitTest tests[] = {
	    TEST(loaded_programs_give_the_same_bits),
	    TEST(released_state_is_saved),
	    TEST(damaged_files_are_refused),
	    TEST(only_regular_files_are_loaded),
	    TEST(no_memory_is_an_error),
	    TEST(a_failed_save_leaves_the_old_file),
	    TEST(unsound_programs_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
