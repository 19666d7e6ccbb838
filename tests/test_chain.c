// A chain of 100,000 operations through every stage, gradient and release included, in a thread with a stack
// of 512 KB: nothing may recurse over the graph.
#include "check.h"

#include <math.h>
#include <pthread.h>

enum { LINKS = 100000, STACK_BYTES = 512 << 10 };

struct job {
	const char *device;
	bool ran;
	char message[300];
	double value, slope;
};

// y <- y * 0.99999, and now and then a sine, so that no fold can shorten it.
static tgc_tensor *chain(tgc_tensor *x)
{
	tgc_tensor *y = x;

	for (int i = 0; i < LINKS; i++) {
		tgc_tensor *next = i % 1000 == 999 ? tgc_sin(y) : tgc_mul(y, 0.99999);

		if (y != x)
			tgc_release(y);
		y = next;
	}
	return y;
}

static void *run(void *user)
{
	struct job *job = user;
	tgc_context *ctx = check_context(job->device, 1);
	tgc_tensor *x, *y, *g;
	const double one = 1;

	if (!ctx)
		return NULL;
	job->ran = true;
	x = tgc_from_data(ctx, TGC_F64, TGC_SCALAR_SHAPE, &one);
	y = chain(x);
	if (!tgc_grad(y, 1, &x, &g) && !tgc_realize(y, g)) {
		job->value = tgc_item(y);
		job->slope = tgc_item(g);
	}
	snprintf(job->message, sizeof job->message, "%s", tgc_error_message(ctx));
	tgc_context_free(&ctx);
	return NULL;
}

static void on_device(const char *device)
{
	struct job job = {.device = device};
	pthread_attr_t attr;
	pthread_t thread;
	double y = 1, g = 1;

	assert_int_equal(pthread_attr_init(&attr), 0);
	assert_int_equal(pthread_attr_setstacksize(&attr, STACK_BYTES), 0);
	assert_int_equal(pthread_create(&thread, &attr, run, &job), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_attr_destroy(&attr);
	if (!job.ran)
		return;
	assert_string_equal(job.message, "");
	for (int i = 0; i < LINKS; i++) {
		g *= i % 1000 == 999 ? cos(y) : 0.99999;
		y = i % 1000 == 999 ? sin(y) : y * 0.99999;
	}
	if (fabs(job.value - y) > 1e-9 * y || fabs(job.slope - g) > 1e-9 * fabs(g))
		fail_msg("%s: %g, slope %g; want %g, slope %g", device, job.value, job.slope, y, g);
}

static void deep(void **state)
{
	int n;
	const char *const *devices = check_devices(&n);

	(void)state;
	for (int i = 0; i < n; i++)
		on_device(devices[i]);
}

// Layers that are alike are scheduled one by one but compiled once: however many there are, as few kernels.
static uint64_t compiled_for(int layers)
{
	tgc_context *c = check_context("cpu", 1);
	tgc_tensor *x, *w;
	tgc_stats s;

	if (!c)
		skip();
	x = tgc_variable(tgc_ones(c, TGC_F32, TGC_SHAPE(16, 16)));
	w = tgc_variable(tgc_ones(c, TGC_F32, TGC_SHAPE(16, 16)));
	for (int i = 0; i < layers; i++)
		x = tgc_add(x, tgc_softmax(tgc_relu(tgc_add(tgc_matmul(x, w), 0.5)), 1));
	x = tgc_mean(x, TGC_ALL_AXES, false);
	assert_int_equal(tgc_realize(x), TGC_OK);
	s = tgc_get_stats(c);
	assert_true(s.launches >= (uint64_t)layers); // each reads the one before
	tgc_context_free(&c);
	return s.kernels_compiled + s.kernels_loaded; // from the disk, where there is a cache
}

static void equal_layers_are_compiled_once(void **state)
{
	(void)state;
	uint64_t few = compiled_for(8);

	assert_true(few > 0);
	assert_int_equal(compiled_for(2000), few); // 26,019 nodes instead of 123
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(deep), cmocka_unit_test(equal_layers_are_compiled_once)};

	return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
