// TGC_TRACE: what the files say is true, and tracing changes nothing.
// In:  a small network, trained for some steps with and without a trace. Not here: the listing (dump.sh).
#include "check.h"

#include <dirent.h>
#include <jansson.h>
#include <stdlib.h>
#include <tgc/tgc.h>
#include <unistd.h>

enum { STEPS = 6, MAX_FILES = 32 };

static char folder[64];

static int make(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/tgc-trace-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int drop(void **state)
{
	char command[128];
	(void)state;
	unsetenv("TGC_TRACE");
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command);
}

struct result {
	double loss[STEPS];
	float w[16 * 8];
	uint64_t plans, launches, promoted;
};

// A graph that is built and freed anew in each step: names of dead values must not stick to new ones.
static struct result train(void)
{
	struct result r = {0};
	tgc_context *c = tgc_context_new(NULL);
	tgc_tensor *x = tgc_variable(tgc_randn(c, TGC_F32, TGC_SHAPE(32, 16)));
	tgc_tensor *y = tgc_variable(tgc_zeros(c, TGC_I32, TGC_SHAPE(32)));
	tgc_module *m = tgc_mlp(c, 3, (int64_t[]){16, 8, 4});
	tgc_optim *o = tgc_adamw(m, .lr = 1e-2);
	for (int i = 0; i < STEPS; i++) {
		tgc_scope_begin(c);
		tgc_tensor *loss = tgc_cross_entropy(tgc_forward(m, x), y);
		assert_int_equal(tgc_step(o, loss), TGC_OK);
		r.loss[i] = tgc_item(loss);
		tgc_scope_end(c);
	}
	assert_int_equal(tgc_read(tgc_param(m, 0), r.w, sizeof r.w), TGC_OK);
	tgc_stats s = tgc_get_stats(c);
	r.plans = s.plans_built;
	r.launches = s.launches;
	r.promoted = s.promoted_literals;
	tgc_optim_free(&o);
	tgc_module_free(&m);
	tgc_context_free(&c);
	return r;
}

static int load(const char *prefix, json_t **out)
{
	DIR *dir = opendir(folder);
	char path[512];
	int n = 0;
	assert_non_null(dir);
	for (struct dirent *e; (e = readdir(dir)) && n < MAX_FILES;) {
		assert_null(strstr(e->d_name, ".new")); // half a file
		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
		out[n] = json_load_file(path, 0, NULL);
		assert_non_null(out[n]);
		n++;
	}
	closedir(dir);
	return n;
}

static const char *text_of(json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	assert_non_null(s);
	return s;
}

static double number_of(json_t *o, const char *key)
{
	assert_true(json_is_number(json_object_get(o, key)));
	return json_number_value(json_object_get(o, key));
}

static void tracing_changes_nothing(void **state)
{
	(void)state;
	unsetenv("TGC_TRACE");
	struct result without = train();
	setenv("TGC_TRACE", folder, 1);
	struct result with = train();
	assert_memory_equal(&without, &with, sizeof with);
}

// One operation of the forward pass by its scope and line, and one of the backward pass.
static bool is_named(json_t *op, const char *kind, const char *scope, bool gradient)
{
	return !strcmp(text_of(op, "op"), kind) && strstr(text_of(op, "name"), scope) &&
	       json_is_true(json_object_get(op, "gradient")) == gradient;
}

static void operations_carry_names_and_lines(void **state)
{
	(void)state;
	json_t *plans[MAX_FILES], *step, *op;
	size_t i, k;
	int forward = 0, backward = 0, update = 0, unnamed = 0, all = 0;
	setenv("TGC_TRACE", folder, 1);
	train();
	int n = load("plan-", plans);
	assert_true(n > 1);
	for (int p = 0; p < n; p++)
		json_array_foreach(json_object_get(plans[p], "steps"), i, step)
		json_array_foreach(json_object_get(step, "operations"), k, op) {
			bool here = strstr(text_of(op, "site"), "test_trace.c") != NULL || !text_of(op, "site")[0];
			forward += is_named(op, "contract", "0.linear", false) && here;
			backward += is_named(op, "contract", "0.linear", true) && here;
			update += is_named(op, "sqrt", "step", false) && here;
			unnamed += !text_of(op, "name")[0] && !text_of(op, "site")[0];
			all++;
		}
	assert_true(forward >= 1);
	assert_true(backward >= 1);
	assert_true(update >= 1);
	assert_true(unnamed * 20 < all); // what nobody asked for: layouts
	for (int p = 0; p < n; p++)
		json_decref(plans[p]);
}

static void numbers_are_those_of_the_run(void **state)
{
	(void)state;
	json_t *plans[MAX_FILES], *step, *a;
	size_t i, k;
	double launches = 0;
	setenv("TGC_TRACE", folder, 1);
	struct result r = train();
	int n = load("plan-", plans);
	assert_int_equal(n, r.plans);
	for (int p = 0; p < n; p++) {
		json_t *buffers = json_object_get(plans[p], "buffers");
		assert_true(number_of(plans[p], "peak_bytes") >= number_of(plans[p], "lower_bound_bytes"));
		json_array_foreach(json_object_get(plans[p], "steps"), i, step) {
			double read = 0, written = 0;
			bool kernel = !strcmp(text_of(step, "kind"), "kernel");
			launches += kernel ? number_of(step, "launches") : 0;
			json_array_foreach(json_object_get(step, "arguments"), k, a) {
				json_t *b = json_array_get(buffers, (size_t)number_of(a, "buffer"));
				double bytes = number_of(b, "bytes");
				read += json_is_true(json_object_get(a, "read")) ? bytes : 0;
				written += json_is_true(json_object_get(a, "written")) ? bytes : 0;
			}
			if (!kernel)
				continue;
			assert_true(read == number_of(step, "bytes_read"));
			assert_true(written == number_of(step, "bytes_written"));
			assert_true(written > 0);
			assert_true(strlen(text_of(step, "why")) > 0);
			assert_true(strlen(text_of(step, "asm")) > 0);
		}
	}
	assert_true(launches == (double)r.launches);
	for (int p = 0; p < n; p++)
		json_decref(plans[p]);
}

// Sorted by begin: a slice ends before the next one begins, or holds it wholly.
static void slices_nest(void **state)
{
	(void)state;
	json_t *lines[MAX_FILES], *e;
	size_t i;
	double ends[16];
	int depth = 0, deepest = 0, steps = 0;
	setenv("TGC_TRACE", folder, 1);
	train();
	int n = load("timeline-", lines);
	assert_int_equal(n, 1);
	json_array_foreach(json_object_get(lines[0], "traceEvents"), i, e) {
		double begin = number_of(e, "ts"), end = begin + number_of(e, "dur");
		while (depth && ends[depth - 1] <= begin + 1e-3)
			depth--;
		assert_true(depth == 0 || end <= ends[depth - 1] + 1e-3);
		assert_true(depth < 16);
		ends[depth++] = end;
		deepest = depth > deepest ? depth : deepest;
		steps += !strcmp(text_of(e, "cat"), "step");
	}
	assert_true(steps >= STEPS);
	assert_true(deepest >= 3); // realize, run, step
	json_decref(lines[0]);
}

static void a_folder_that_cannot_be_made_stops_nothing(void **state)
{
	(void)state;
	unsetenv("TGC_TRACE");
	struct result without = train();
	setenv("TGC_TRACE", "/proc/none/trace", 1);
	struct result with = train();
	assert_memory_equal(&without, &with, sizeof with);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(tracing_changes_nothing, make, drop),
	    cmocka_unit_test_setup_teardown(operations_carry_names_and_lines, make, drop),
	    cmocka_unit_test_setup_teardown(numbers_are_those_of_the_run, make, drop),
	    cmocka_unit_test_setup_teardown(slices_nest, make, drop),
	    cmocka_unit_test_setup_teardown(a_folder_that_cannot_be_made_stops_nothing, make, drop),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
