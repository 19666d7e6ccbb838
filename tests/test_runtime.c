// The runtime's own parts: the pool, the allocator, elements in memory, plans, programs, contexts in threads.
// Not here: what kernels compute (test_primitives.c, fuzz_graph.c), the wall tests (test_walls.c).
#include "check.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- pool ----------------------------------------------------------------------------------------------------------

enum { MANY = 1000 };

static void count(void *user, int thread, int64_t begin, int64_t end)
{
	atomic_int *hits = user;

	assert_true(thread >= 0 && begin < end);
	for (int64_t i = begin; i < end; i++)
		atomic_fetch_add(&hits[i], 1);
}

static void pool_covers_every_block_once(void **state)
{
	static const int threads[] = {1, 2, 3, 8};
	static atomic_int hits[MANY];

	(void)state;
	for (int t = 0; t < TG_COUNT(threads); t++) {
		struct pool *p = pool_new(threads[t]);

		assert_int_equal(pool_threads(p), threads[t]);
		for (int n = 0; n < 40; n++) {
			int blocks = n < 20 ? n : n * n % MANY;

			for (int i = 0; i < MANY; i++)
				atomic_store(&hits[i], 0);
			pool_run(p, blocks, count, hits);
			for (int i = 0; i < MANY; i++)
				assert_int_equal(atomic_load(&hits[i]), i < blocks);
			if (n % 10 == 9)
				usleep(300); // long enough for workers to sleep
		}
		pool_free(p);
	}
}

struct slow {
	atomic_int others; // blocks that are done
	int blocks;
	atomic_bool held; // thread 0 has its first range
	bool waited;
};

// Thread 0 does not return from its first range before all other blocks are done.
static void hold(void *user, int thread, int64_t begin, int64_t end)
{
	struct slow *s = user;
	int own = (int)(end - begin);

	for (int ms = 0; thread && ms < 20000 && !atomic_load(&s->held); ms++)
		usleep(1000);
	if (atomic_exchange(&s->held, true)) {
		atomic_fetch_add(&s->others, own);
		return;
	}
	for (int ms = 0; ms < 20000 && atomic_load(&s->others) < s->blocks - own; ms++)
		usleep(1000);
	s->waited = atomic_load(&s->others) == s->blocks - own;
}

static void pool_takes_over_what_a_slow_thread_has_left(void **state)
{
	static const int threads[] = {2, 3, 8};

	(void)state;
	for (int t = 0; t < TG_COUNT(threads); t++) {
		struct pool *p = pool_new(threads[t]);
		struct slow s = {.blocks = 1000};

		pool_run(p, s.blocks, hold, &s);
		assert_true(s.waited);
		pool_free(p);
	}
}

// More blocks than 32 bits count.
static void add_range(void *user, int thread, int64_t begin, int64_t end)
{
	(void)thread;
	assert_true(begin < end);
	atomic_fetch_add((_Atomic int64_t *)user, end - begin);
}

static void pool_counts_beyond_32_bits(void **state)
{
	static const int64_t blocks[] = {INT32_MAX, (int64_t)INT32_MAX + 1, (int64_t)1 << 33,
	                                 ((int64_t)1 << 40) + 12345};
	struct pool *p = pool_new(3);

	(void)state;
	for (int i = 0; i < TG_COUNT(blocks); i++) {
		_Atomic int64_t sum = 0;

		pool_run(p, blocks[i], add_range, &sum);
		assert_true(sum == blocks[i]);
	}
	pool_free(p);
}

// ---- memory --------------------------------------------------------------------------------------------------------

static void memory_is_aligned_and_reused(void **state)
{
	static const int64_t sizes[] = {0, 1, 64, 65, 1000, 4096, 100000, 2 << 20, (2 << 20) + 1, 9 << 20};
	struct allocator *a = allocator_new(0, NULL, NULL);

	(void)state;
	for (int i = 0; i < TG_COUNT(sizes); i++) {
		struct buffer *b = buffer_new(a, sizes[i]);

		assert_non_null(b);
		assert_int_equal((uintptr_t)b->data % 64, 0);
		memset(b->data, 1, (size_t)sizes[i]);
		void *was = b->data;
		int64_t held = allocator_bytes(a);
		assert_ptr_equal(buffer_ref(b), b);
		buffer_unref(b);
		buffer_unref(b);
		b = buffer_new(a, sizes[i]);
		assert_ptr_equal(b->data, was);
		assert_int_equal(allocator_bytes(a), held);
		buffer_unref(b);
	}
	allocator_free(a);
}

static void memory_has_a_limit(void **state)
{
	struct allocator *a = allocator_new(10 << 20, NULL, NULL);
	struct buffer *x = buffer_new(a, 6 << 20);

	(void)state;
	assert_non_null(x);
	assert_null(buffer_new(a, 6 << 20));
	buffer_unref(x);
	x = buffer_new(a, 9 << 20); // what waited in lists makes room
	assert_non_null(x);
	assert_null(buffer_new(a, INT64_MAX));
	buffer_unref(x);
	allocator_free(a);
}

static void elements_keep_their_value(void **state)
{
	static const double floats[] = {0,       -0.0,    1,           -1.5,           65504,
	                                0x1p-14, 0x1p-24, 3 * 0x1p-24, -1023 * 0x1p-24};

	(void)state;
	for (int i = 0; i < TG_COUNT(floats); i++)
		for (int t = 0; t < TGC_I8; t++) {
			union number v = number_round((tgc_type)t, (union number){.f = floats[i]}), got;
			char cell[8];

			number_store((tgc_type)t, v, cell);
			got = number_load((tgc_type)t, cell);
			assert_true(number_equal(v, got));
		}
	for (int t = TGC_I8; t < TGC_TYPE_COUNT; t++)
		for (int64_t i = -3; i < 4; i++) {
			union number v = number_round((tgc_type)t, (union number){.i = i});
			char cell[8];

			number_store((tgc_type)t, v, cell);
			assert_int_equal(number_load((tgc_type)t, cell).i, v.i);
		}
}

// ---- plans ---------------------------------------------------------------------------------------------------------

static double scaled(tgc_context *c, double a, double b)
{
	const float one[2] = {1, 2};

	tgc_scope_begin(c);
	tgc_tensor *x = tgc_from_data(c, TGC_F32, TGC_SHAPE(2), one);
	double v = check_item(tgc_sum(tgc_add(tgc_mul(x, a), b), TGC_ALL_AXES, false));
	tgc_scope_end(c);
	return v;
}

static void third_value_makes_a_late_scalar(void **state)
{
	tgc_context *c = check_context("cpu", 1);

	(void)state;
	if (!c)
		skip();
	assert_float_equal(scaled(c, 2, 10), 26, 0);
	assert_float_equal(scaled(c, 2, 20), 46, 0);
	assert_int_equal(tgc_get_stats(c).plans_built, 2);
	assert_float_equal(scaled(c, 3, 10), 29, 0);
	assert_int_equal(tgc_get_stats(c).promoted_literals, 0);
	assert_float_equal(scaled(c, 3, 30), 69, 0); // b for the third time: late; a is not
	assert_int_equal(tgc_get_stats(c).promoted_literals, 1);
	uint64_t plans = tgc_get_stats(c).plans_built;
	for (int i = 0; i < 5; i++)
		assert_float_equal(scaled(c, 3, 40 + i), (float)(9 + 2 * (40 + i)), 0);
	assert_int_equal(tgc_get_stats(c).plans_built, plans);
	assert_int_equal(tgc_get_stats(c).promoted_literals, 1);
	tgc_context_free(&c);
}

static void first_values_are_one_plan(void **state)
{
	tgc_context *c = check_context("cpu", 1);

	(void)state;
	if (!c)
		skip();
	tgc_tensor *a = tgc_variable(tgc_add(tgc_iota(c, TGC_F32, TGC_SHAPE(3), 0), 1));
	tgc_tensor *b = tgc_variable(tgc_mul(tgc_iota(c, TGC_F32, TGC_SHAPE(5), 0), 2));
	tgc_tensor *same = tgc_variable(a); // its first value is another variable
	assert_float_equal(check_item(tgc_sum(tgc_mul(a, same), TGC_ALL_AXES, false)), 14, 0);
	assert_int_equal(tgc_get_stats(c).plans_built, 2);
	assert_float_equal(check_item(tgc_sum(b, TGC_ALL_AXES, false)), 20, 0);
	assert_int_equal(tgc_get_stats(c).plans_built, 3);
	tgc_tensor *first = tgc_variable(tgc_iota(c, TGC_F32, TGC_SHAPE(4), 0));
	tgc_tensor *second = tgc_variable(tgc_add(first, 1)); // has to wait for the first
	assert_float_equal(check_item(tgc_sum(tgc_mul(first, second), TGC_ALL_AXES, false)), 20, 0);
	assert_int_equal(tgc_get_stats(c).plans_built, 6);
	tgc_context_free(&c);
}

static void old_plans_make_room(void **state)
{
	tgc_context *c = check_context("cpu", 1);

	(void)state;
	if (!c)
		skip();
	for (int n = 1; n <= 300; n++) {
		tgc_scope_begin(c);
		tgc_tensor *x = tgc_iota(c, TGC_F32, TGC_SHAPE(n), 0);
		assert_float_equal(check_item(tgc_sum(x, TGC_ALL_AXES, false)), (float)(n * (n - 1) / 2), 0);
		tgc_scope_end(c);
	}
	assert_int_equal(tgc_get_stats(c).plans_built, 300);
	tgc_context_free(&c);
}

// ---- on every device -----------------------------------------------------------------------------------------------

static void each_device(void (*test)(tgc_context *c))
{
	int n;
	const char *const *names = check_devices(&n);

	for (int i = 0; i < n; i++) {
		tgc_context *c = check_context(names[i], 2);

		if (!c)
			continue;
		test(c);
		assert_ok(c);
		tgc_context_free(&c);
	}
}

static tgc_tensor *vector(tgc_context *c, float a, float b)
{
	return tgc_from_data(c, TGC_F32, TGC_SHAPE(2), (float[]){a, b});
}

static void assert_vector(tgc_tensor *t, float a, float b)
{
	float v[2] = {NAN, NAN};

	check_read_f32(t, v, 2);
	assert_float_equal(v[0], a, 0);
	assert_float_equal(v[1], b, 0);
}

static void old_values_live(tgc_context *c)
{
	tgc_tensor *v = tgc_variable(vector(c, 1, 2));
	tgc_tensor *same = tgc_reshape(v, TGC_SHAPE(2)), *twice = tgc_mul(v, 2.0);

	tgc_assign(v, tgc_add(v, 10.0));
	assert_int_equal(tgc_flush(c), TGC_OK);
	assert_vector(v, 11, 12);
	assert_vector(same, 1, 2);
	assert_vector(twice, 2, 4);
	tgc_tensor *sum = tgc_add(v, twice);
	tgc_assign(v, tgc_mul(v, 0.5));
	assert_vector(sum, 13, 16); // computed along with the assignment
	assert_vector(v, 5.5, 6);
}

static void values_inside_the_run_fail_later(tgc_context *c)
{
	tgc_tensor *v = tgc_variable(vector(c, 1, 2)), *inside = tgc_mul(v, 3.0);

	tgc_assign(v, tgc_add(inside, 1.0));
	assert_vector(v, 4, 7);
	assert_int_equal(tgc_realize(inside), TGC_ERROR_HANDLE);
	tgc_clear_error(c);
	assert_vector(v, 4, 7);
}

static void swaps(tgc_context *c)
{
	tgc_tensor *a = tgc_variable(vector(c, 1, 2)), *b = tgc_variable(vector(c, 3, 4)), *was = a;
	tgc_tensor *value = tgc_reshape(was, TGC_SHAPE(2)); // a's value before

	tgc_assign(a, b);
	tgc_assign(b, value);
	assert_int_equal(tgc_flush(c), TGC_OK);
	assert_vector(a, 3, 4);
	assert_vector(b, 1, 2);
}

static void released_before_first_use(tgc_context *c)
{
	tgc_tensor *a = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(2), 3)), *b = tgc_variable(tgc_mul(a, 2.0));
	tgc_tensor *sum = tgc_add(b, 1.0);

	tgc_release(a);
	tgc_release(b);
	assert_vector(sum, 7, 7);
}

static void failed_check_stores_nothing(tgc_context *c)
{
	tgc_tensor *v = tgc_variable(vector(c, 1, 2)), *was = tgc_reshape(v, TGC_SHAPE(2));
	const bool no[2] = {true, false};
	tgc_tensor *cond = tgc_from_data(c, TGC_BOOL, TGC_SHAPE(2), no);

	tgc_assign(v, tgc_check(tgc_add(v, 1.0), cond));
	assert_int_equal(tgc_flush(c), TGC_ERROR_INDEX);
	tgc_clear_error(c);
	tgc_assign(v, tgc_add(vector(c, 1, 1), 1.0));
	assert_vector(v, 2, 2);
	assert_vector(was, 1, 2);
}

// Only the gradient looks at the last index: the gather's users want the first two.
static void unread_index_stores_nothing(tgc_context *c)
{
	tgc_tensor *table = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(4), 5)), *w = tgc_variable(vector(c, 1, 2)), *g;
	const int32_t at[3] = {0, 1, 9};
	tgc_tensor *rows = tgc_gather(table, tgc_from_data(c, TGC_I32, TGC_SHAPE(3), at), 0), *was = tgc_reshape(w, TGC_SHAPE(2));
	tgc_tensor *sum = tgc_sum(tgc_slice_axis(rows, 0, 0, 2), TGC_ALL_AXES, false), *loss = tgc_mul(sum, sum);
	tgc_tensor *table_was = tgc_reshape(table, TGC_SHAPE(4));

	assert_int_equal(tgc_realize(w, table), TGC_OK);
	assert_int_equal(tgc_grad(loss, 1, &table, &g), TGC_OK);
	tgc_assign(w, tgc_add(w, 1.0));
	tgc_assign(table, tgc_sub(table, g));
	assert_int_equal(tgc_flush(c), TGC_ERROR_INDEX);
	tgc_clear_error(c);
	tgc_assign(w, was);
	tgc_assign(table, table_was);
	assert_vector(w, 1, 2);
}

static void asked_for_later(tgc_context *c)
{
	tgc_tensor *v = tgc_variable(tgc_full(c, TGC_F32, TGC_SHAPE(1), 3));

	tgc_scope_begin(c);
	tgc_later *square = tgc_item_later(tgc_mul(v, v)), *before = tgc_item_later(v);
	tgc_assign(v, tgc_add(v, 1.0));
	tgc_later *dropped = tgc_item_later(tgc_mul(v, 7.0));
	assert_int_equal(tgc_flush(c), TGC_OK);
	assert_float_equal(tgc_later_get(square), 9, 0);
	assert_float_equal(tgc_later_get(before), 3, 0);
	assert_float_equal(tgc_later_get(dropped), 28, 0);
	tgc_item_later(tgc_mul(v, 2.0)); // dies unread
	tgc_scope_end(c);
	assert_int_equal(tgc_flush(c), TGC_OK);
	assert_float_equal(check_item(v), 4, 0);
}

static void programs_rerun(tgc_context *c)
{
	tgc_tensor *x = tgc_input(c, TGC_F32, TGC_SHAPE(2)), *rate = tgc_scalar(c, 2);
	tgc_tensor *w = tgc_variable(vector(c, 10, 20)),
	           *total = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(2)));
	tgc_tensor *y = tgc_add(tgc_mul(x, w), rate), *outs[] = {y, tgc_reshape(x, TGC_SHAPE(1, 2))};

	tgc_assign(total, tgc_add(total, x));
	tgc_program *p = tgc_compile(c, 1, &x, 2, outs);
	assert_non_null(p);
	assert_vector(total, 0, 0); // assigned by runs only
	float in[2] = {1, 2}, out[2], same[2];
	assert_int_equal(tgc_program_run(p, (const void *[]){in}, (void *[]){out, same}), TGC_OK);
	assert_float_equal(out[0], 12, 0);
	assert_float_equal(out[1], 42, 0);
	assert_float_equal(same[1], 2, 0);
	assert_vector(total, 1, 2);
	tgc_set(rate, 3);
	tgc_assign(w, tgc_add(w, 1.0));
	assert_int_equal(tgc_program_run(p, (const void *[]){in}, (void *[]){in, same}), TGC_OK); // in place
	assert_float_equal(in[0], 14, 0);
	assert_float_equal(in[1], 45, 0);
	assert_float_equal(same[0], 1, 0);
	assert_vector(total, 2, 4);
	assert_int_equal(tgc_program_run(p, (const void *[]){NULL}, (void *[]){out, same}), TGC_ERROR_ARG);
	tgc_clear_error(c);
	char *text = tgc_program_text(p);
	assert_non_null(text);
	free(text);
	tgc_program_free(&p);
	assert_null(tgc_compile(c, 1, &w, 1, &y));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_clear_error(c);
}

static void programs_draw_anew(tgc_context *c)
{
	tgc_tensor *r = tgc_rand(c, TGC_F32, TGC_SHAPE(5), .low = 0);
	tgc_program *p = tgc_compile(c, 0, NULL, 1, &r);
	float a[5], b[5], drawn[5];

	assert_non_null(p);
	tgc_seed(c, 7);
	assert_int_equal(tgc_program_run(p, NULL, (void *[]){a}), TGC_OK);
	assert_int_equal(tgc_program_run(p, NULL, (void *[]){b}), TGC_OK);
	assert_memory_not_equal(a, b, sizeof a);
	tgc_program_free(&p);
	tgc_seed(c, 7);
	check_read_f32(tgc_rand(c, TGC_F32, TGC_SHAPE(5), .low = 0), drawn, 5);
	assert_memory_equal(a, drawn, sizeof a);
	check_read_f32(tgc_rand(c, TGC_F32, TGC_SHAPE(5), .low = 0), drawn, 5);
	assert_memory_equal(b, drawn, sizeof b);
}

static void too_much_is_an_error(tgc_context *c)
{
	tgc_tensor *t = tgc_full(c, TGC_F32, TGC_SHAPE(1 << 20, 1 << 20), 1);

	assert_int_equal(tgc_realize(tgc_check(t, tgc_gt(t, 0.5))), TGC_ERROR_MEMORY);
	tgc_clear_error(c);
	assert_vector(vector(c, 1, 2), 1, 2);
}

#define ON_EACH(name)                                                                                          \
	static void test_##name(void **state)                                                                  \
	{                                                                                                      \
		(void)state;                                                                                   \
		each_device(name);                                                                             \
	}
ON_EACH(old_values_live)
ON_EACH(values_inside_the_run_fail_later)
ON_EACH(swaps)
ON_EACH(released_before_first_use)
ON_EACH(failed_check_stores_nothing)
ON_EACH(unread_index_stores_nothing)
ON_EACH(asked_for_later)
ON_EACH(programs_rerun)
ON_EACH(programs_draw_anew)

static void test_too_much(void **state)
{
	tgc_context *c = check_context("cpu", 1);

	(void)state;
	if (!c)
		skip();
	too_much_is_an_error(c);
	tgc_context_free(&c);
}

// ---- contexts ------------------------------------------------------------------------------------------------------

static void devices_never_fall_back(void **state)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = "abacus"};
	tgc_context *c = tgc_context_new(&o);

	(void)state;
	assert_non_null(c);
	assert_int_equal(tgc_error_status(c), TGC_ERROR_NODEVICE);
	assert_non_null(strstr(tgc_error_message(c), "abacus"));
	tgc_clear_error(c);
	assert_int_equal(tgc_realize(tgc_zeros(c, TGC_F32, TGC_SHAPE(2))), TGC_ERROR_NODEVICE);
	tgc_context_free(&c);
	assert_null(c);
}

static void a_fork_is_noticed(void **state)
{
	tgc_context *c = check_context(NULL, 2);

	(void)state;
	if (!c)
		skip();
	assert_float_equal(check_item(tgc_full(c, TGC_F32, TGC_SHAPE(1), 2)), 2, 0);
	pid_t child = fork();
	if (child == 0) {
		bool right = tgc_realize(tgc_zeros(c, TGC_F32, TGC_SHAPE(3))) == TGC_ERROR_FORKED;
		tgc_context_free(&c);
		_exit(right ? 0 : 1);
	}
	int status = -1;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	tgc_context_free(&c);
}

// A few training steps; the same kernels are wanted by all threads at once.
static void *train(void *arg)
{
	double *loss_out = arg;
	tgc_context *c = check_context(jit_available() ? "cpu" : "interp", 2);
	tgc_tensor *w = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(8, 4), .std = 0.5)), *g;
	float x[64];

	for (int i = 0; i < 64; i++)
		x[i] = (float)(i % 7) - 3;
	for (int step = 0; step < 10; step++) {
		tgc_scope_begin(c);
		tgc_tensor *in = tgc_from_data(c, TGC_F32, TGC_SHAPE(8, 8), x), *y = tgc_matmul(in, w);
		tgc_tensor *loss = tgc_mean(tgc_square(tgc_sub(y, 1.0)), TGC_ALL_AXES, false);
		tgc_grad(loss, 1, &w, &g);
		tgc_assign(w, tgc_sub(w, tgc_mul(g, 0.01)));
		tgc_realize(loss);
		*loss_out = tgc_item(loss);
		tgc_scope_end(c);
	}
	if (tgc_error_status(c))
		*loss_out = NAN;
	tgc_context_free(&c);
	return NULL;
}

static void contexts_side_by_side(void **state)
{
	enum { THREADS = 4 };
	pthread_t ids[THREADS];
	double loss[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&ids[i], NULL, train, &loss[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		assert_true(isfinite(loss[i]) != 0);
		assert_true(loss[i] == loss[0]);
	}
}

static void errors_name_the_line(void **state)
{
	tgc_context *c = check_context("interp", 1);
	char site[64];

	(void)state;
	for (int i = 0; i < 2; i++) { // asked twice: once looked up, once known
		tgc_tensor *x = tgc_zeros(c, TGC_F32, TGC_SHAPE(2, 3)), *y = tgc_zeros(c, TGC_F32, TGC_SHAPE(4, 3));
		snprintf(site, sizeof site, "called from test_runtime.c:%d)", __LINE__ + 1);
		assert_true(tgc_is_error(tgc_mul(x, y)));
#ifdef TG_HAVE_LIBDW
		assert_non_null(strstr(tgc_error_message(c), site));
#else
		assert_non_null(strstr(tgc_error_message(c), "called from 0x"));
#endif
		tgc_clear_error(c);
	}
	tgc_context_free(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pool_covers_every_block_once),
	    cmocka_unit_test(pool_takes_over_what_a_slow_thread_has_left),
	    cmocka_unit_test(pool_counts_beyond_32_bits),
	    cmocka_unit_test(memory_is_aligned_and_reused),
	    cmocka_unit_test(memory_has_a_limit),
	    cmocka_unit_test(elements_keep_their_value),
	    cmocka_unit_test(third_value_makes_a_late_scalar),
	    cmocka_unit_test(first_values_are_one_plan),
	    cmocka_unit_test(old_plans_make_room),
	    cmocka_unit_test(test_old_values_live),
	    cmocka_unit_test(test_values_inside_the_run_fail_later),
	    cmocka_unit_test(test_swaps),
	    cmocka_unit_test(test_released_before_first_use),
	    cmocka_unit_test(test_failed_check_stores_nothing),
	    cmocka_unit_test(test_unread_index_stores_nothing),
	    cmocka_unit_test(test_asked_for_later),
	    cmocka_unit_test(test_programs_rerun),
	    cmocka_unit_test(test_programs_draw_anew),
	    cmocka_unit_test(test_too_much),
	    cmocka_unit_test(devices_never_fall_back),
	    cmocka_unit_test(a_fork_is_noticed),
	    cmocka_unit_test(contexts_side_by_side),
	    cmocka_unit_test(errors_name_the_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
