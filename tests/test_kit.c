// Files that a user names: good ones are read, each kind of bad one gets its code and loses nothing.
// Table-driven; runs without a compiler behind it (device interp).
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>
#include <tgc/tgc.h>

static char folder[] = "/tmp/tgc-kit-XXXXXX";

static const char *path(const char *name)
{
	static char buf[16][256];
	static int at;
	char *p = buf[at++ % 16];
	snprintf(p, sizeof *buf, "%s/%s", folder, name);
	return p;
}

static void put(const char *name, const void *data, size_t n)
{
	FILE *f = fopen(path(name), "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static tgc_context *open_context(void)
{
	tgc_context_options o = {.struct_size = sizeof o, .device = "interp"};
	tgc_context *c = tgc_context_new(&o);
	assert_int_equal(tgc_error_status(c), TGC_OK);
	return c;
}

// Two images of 2x3 pixels with labels 1 and 7.
static const uint8_t IMAGES[] = {0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2,  0,  0,
                                 0, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
static const uint8_t LABELS[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 7};

static void idx_good(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	put("i", IMAGES, sizeof IMAGES);
	gzFile z = gzopen(path("l.gz"), "wb");
	assert_int_equal(gzwrite(z, LABELS, sizeof LABELS), sizeof LABELS);
	gzclose(z);
	tgc_dataset *d = tgc_dataset_idx(c, path("i"), path("l.gz"), 10);
	assert_non_null(d);
	assert_int_equal(d->count, 2);
	assert_int_equal(d->height, 2);
	assert_int_equal(d->width, 3);
	assert_memory_equal(d->images, IMAGES + 16, 12);
	assert_int_equal(d->labels[1], 7);
	tgc_dataset_free(&d);
	assert_null(d);
	tgc_context_free(&c);
}

static void expect_idx(const void *images, size_t ni, const void *labels, size_t nl, tgc_status want)
{
	tgc_context *c = open_context();
	put("i", images, ni);
	put("l", labels, nl);
	tgc_dataset *d = tgc_dataset_idx(c, path("i"), path("l"), 10);
	assert_null(d);
	assert_int_equal(tgc_error_status(c), want);
	assert_true(strlen(tgc_error_message(c)) > 10);
	tgc_context_free(&c);
}

static void idx_truncated_at_every_offset(void **state)
{
	(void)state;
	for (size_t n = 0; n < sizeof IMAGES; n++)
		expect_idx(IMAGES, n, LABELS, sizeof LABELS, TGC_ERROR_TRUNCATED);
	for (size_t n = 0; n < sizeof LABELS; n++)
		expect_idx(IMAGES, sizeof IMAGES, LABELS, n, TGC_ERROR_TRUNCATED);
}

static void idx_bad(void **state)
{
	(void)state;
	static const struct {
		size_t at;
		uint8_t byte;
		tgc_status want;
	} cases[] = {
	    {0, 1, TGC_ERROR_FORMAT},    // magic
	    {2, 9, TGC_ERROR_FORMAT},    // element type
	    {3, 2, TGC_ERROR_FORMAT},    // rank
	    {4, 255, TGC_ERROR_LIMIT},   // 4 billion images
	    {5, 1, TGC_ERROR_TRUNCATED}, // more than the file can hold
	    {7, 1, TGC_ERROR_FORMAT},    // bytes left over
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t copy[sizeof IMAGES];
		memcpy(copy, IMAGES, sizeof copy);
		copy[cases[i].at] = cases[i].byte;
		expect_idx(copy, sizeof copy, LABELS, sizeof LABELS, cases[i].want);
	}
	uint8_t labels[sizeof LABELS];
	memcpy(labels, LABELS, sizeof labels);
	labels[9] = 10; // no such class
	expect_idx(IMAGES, sizeof IMAGES, labels, sizeof labels, TGC_ERROR_FORMAT);
}

static void files_that_are_none(void **state)
{
	(void)state;
	mkfifo(path("fifo"), 0600);
	const char *const bad[] = {"/dev/zero", folder, path("fifo"), path("absent")};
	put("l", LABELS, sizeof LABELS);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		tgc_context *c = open_context();
		assert_null(tgc_dataset_idx(c, bad[i], path("l"), 10));
		assert_int_equal(tgc_error_status(c), TGC_ERROR_IO);
		tgc_context_free(&c);
	}
}

static void missing_data_names_the_package(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	assert_null(tgc_dataset_mnist(c, path("nowhere"), true));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_IO);
	assert_non_null(strstr(tgc_error_message(c), "dataset-fashion-mnist"));
	tgc_context_free(&c);
}

static void loader_walks_an_epoch(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	put("i", IMAGES, sizeof IMAGES);
	put("l", LABELS, sizeof LABELS);
	tgc_dataset *d = tgc_dataset_idx(c, path("i"), path("l"), 10);
	tgc_loader *l = tgc_loader_new(c, d, .batch = 1, .mean = 0.5, .std = 0.25);
	assert_int_equal(tgc_loader_batches(l), 2);
	tgc_batch b;
	for (int epoch = 0; epoch < 2; epoch++) {
		for (int i = 0; i < 2; i++) {
			float x[6];
			int32_t y;
			assert_true(tgc_loader_next(l, &b));
			assert_int_equal(tgc_read(b.x, x, sizeof x), TGC_OK);
			assert_int_equal(tgc_read(b.y, &y, sizeof y), TGC_OK);
			assert_int_equal(y, i ? 7 : 1);
			for (int k = 0; k < 6; k++) {
				double want = ((i * 6 + k + 1) / 255.0 - 0.5) / 0.25;
				assert_true(x[k] - want < 1e-5 && want - x[k] < 1e-5);
			}
		}
		assert_false(tgc_loader_next(l, &b));
	}
	tgc_loader_free(&l);
	tgc_dataset_free(&d);
	tgc_context_free(&c);
}

// ---- safetensors ------------------------------------------------------------------------------------------

static void save_then_load(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	tgc_module *a = tgc_mlp(c, 3, (int64_t[]){3, 4, 2}), *b = tgc_mlp(c, 3, (int64_t[]){3, 4, 2});
	assert_int_equal(tgc_save(a, path("w")), TGC_OK);
	assert_int_equal(tgc_load(b, path("w")), TGC_OK);
	assert_int_equal(tgc_params_count(a), 4);
	assert_string_equal(tgc_param_name(a, 2), "2.weight");
	for (int i = 0; i < 4; i++) {
		float x[12], y[12];
		size_t n = (size_t)tgc_tensor_elems(tgc_param(a, i)) * 4;
		assert_int_equal(tgc_read(tgc_param(a, i), x, n), TGC_OK);
		assert_int_equal(tgc_read(tgc_param(b, i), y, n), TGC_OK);
		assert_memory_equal(x, y, n);
	}
	tgc_module *other = tgc_mlp(c, 3, (int64_t[]){3, 5, 2});
	assert_int_equal(tgc_load(other, path("w")), TGC_ERROR_SHAPE);
	tgc_module_free(&a);
	tgc_module_free(&b);
	tgc_module_free(&other);
	tgc_context_free(&c);
}

static void load_truncated(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	tgc_module *m = tgc_linear(c, 2, 1);
	assert_int_equal(tgc_save(m, path("w")), TGC_OK);
	char whole[4096];
	FILE *f = fopen(path("w"), "rb");
	size_t n = fread(whole, 1, sizeof whole, f);
	fclose(f);
	for (size_t k = 0; k < n; k++) {
		put("t", whole, k);
		tgc_clear_error(c);
		assert_int_equal(tgc_load(m, path("t")), TGC_ERROR_TRUNCATED);
	}
	tgc_module_free(&m);
	tgc_context_free(&c);
}

static void load_bad_headers(void **state)
{
	(void)state;
	static const struct {
		const char *json;
		size_t data;
		tgc_status want;
	} cases[] = {
	    {"{", 0, TGC_ERROR_FORMAT},
	    {"[]", 0, TGC_ERROR_FORMAT},
	    {"{\"weight\":{}}", 0, TGC_ERROR_FORMAT},
	    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 4, TGC_ERROR_FORMAT},
	    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, TGC_ERROR_FORMAT},
	    {"{\"w\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, TGC_ERROR_FORMAT},
	    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, TGC_ERROR_FORMAT},
	    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, TGC_ERROR_FORMAT}, // hole
	    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8,
	     TGC_ERROR_FORMAT}, // trailing
	    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
	     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
	     4, TGC_ERROR_FORMAT}, // overlap
	    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},"
	     "\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}",
	     0, TGC_ERROR_FORMAT}, // duplicate key
	    {"{\"other\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, TGC_ERROR_ARG},
	    {"{\"weight\":{\"dtype\":\"F64\",\"shape\":[1,2],\"data_offsets\":[0,16]},"
	     "\"bias\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[16,20]}}",
	     20, TGC_ERROR_TYPE},
	};
	tgc_context *c = open_context();
	tgc_module *m = tgc_linear(c, 2, 1);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t file[1024] = {0};
		size_t n = strlen(cases[i].json);
		for (int k = 0; k < 8; k++)
			file[k] = (uint8_t)((uint64_t)n >> 8 * k);
		memcpy(file + 8, cases[i].json, n);
		put("h", file, 8 + n + cases[i].data);
		tgc_clear_error(c);
		assert_int_equal(tgc_load(m, path("h")), cases[i].want);
	}
	uint8_t huge[8];
	memset(huge, 0xff, 8);
	put("h", huge, 8);
	tgc_clear_error(c);
	assert_int_equal(tgc_load(m, path("h")), TGC_ERROR_LIMIT);

	size_t depth = 10000;
	uint8_t *deep = calloc(1, 8 + 2 * depth);
	for (int k = 0; k < 8; k++)
		deep[k] = (uint8_t)((uint64_t)(2 * depth) >> 8 * k);
	memset(deep + 8, '[', depth);
	memset(deep + 8 + depth, ']', depth);
	put("h", deep, 8 + 2 * depth);
	free(deep);
	tgc_clear_error(c);
	assert_int_equal(tgc_load(m, path("h")), TGC_ERROR_FORMAT);
	tgc_module_free(&m);
	tgc_context_free(&c);
}

static void optimizers_want_sense(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	tgc_module *m = tgc_linear(c, 2, 1);
	assert_null(tgc_adamw(m, .lr = -1));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_clear_error(c);
	assert_null(tgc_adamw(m, .schedule = TGC_LINEAR));
	assert_int_equal(tgc_error_status(c), TGC_ERROR_ARG);
	tgc_clear_error(c);
	tgc_optim *o = tgc_sgd(m, .lr = 2, .schedule = TGC_LINEAR, .total_steps = 4);
	assert_true(tgc_optim_rate(o) == 2);
	tgc_optim_free(&o);
	tgc_module_free(&m);
	tgc_context_free(&c);
}

// One step of each optimizer against the formula, on loss = sum(w * x).
static void optimizers_step(void **state)
{
	(void)state;
	tgc_context *c = open_context();
	for (int kind = 0; kind < 2; kind++) {
		tgc_scope_begin(c);
		tgc_module *m = tgc_linear(c, 2, 1);
		float before[2], after[2], x[2] = {3, -2};
		assert_int_equal(tgc_read(tgc_param(m, 0), before, sizeof before), TGC_OK);
		tgc_optim *o = kind ? tgc_sgd(m, .lr = 0.5, .momentum = 0.9) : tgc_adamw(m, .lr = 0.5);
		tgc_tensor *in = tgc_from_data(c, TGC_F32, TGC_SHAPE(1, 2), x);
		tgc_tensor *loss = tgc_sum(tgc_forward(m, in), TGC_ALL_AXES, false);
		assert_int_equal(tgc_step(o, loss), TGC_OK);
		assert_int_equal(tgc_optim_steps(o), 1);
		assert_int_equal(tgc_read(tgc_param(m, 0), after, sizeof after), TGC_OK);
		for (int i = 0; i < 2; i++) {
			// Adam's first step is lr * sign(gradient).
			double want = before[i] - (kind ? 0.5 * x[i] : x[i] > 0 ? 0.5 : -0.5);
			assert_true(after[i] - want < 1e-5 && want - after[i] < 1e-5);
		}
		tgc_optim_free(&o);
		tgc_module_free(&m);
		tgc_scope_end(c);
	}
	tgc_context_free(&c);
}

int main(void)
{
	if (!mkdtemp(folder))
		return 1;
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(idx_good),
	    cmocka_unit_test(idx_truncated_at_every_offset),
	    cmocka_unit_test(idx_bad),
	    cmocka_unit_test(files_that_are_none),
	    cmocka_unit_test(missing_data_names_the_package),
	    cmocka_unit_test(loader_walks_an_epoch),
	    cmocka_unit_test(save_then_load),
	    cmocka_unit_test(load_truncated),
	    cmocka_unit_test(load_bad_headers),
	    cmocka_unit_test(optimizers_want_sense),
	    cmocka_unit_test(optimizers_step),
	};
	return cmocka_run_group_tests_name("kit", tests, NULL, NULL);
}
