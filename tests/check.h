// What every test shares: contexts by device, comparison against the oracle, cmocka.
#ifndef TG_CHECK_H
#define TG_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sketch.h"

struct tally { // of compared elements
	int64_t compared, unsure, vague; // vague: a bound so wide that it says little
	bool failed;
	char message[400]; // the first difference
};
// `by_class`: only whether NaN, infinite or finite.
void tally_compare(struct tally *t, const struct interp_value *want, const void *got, bool by_class);

// The devices a test runs on; count in *n. TGC_DEVICE narrows it to one.
const char *const *check_devices(int *n);
// NULL if the device is not there; if TGC_DEVICE names it, the test fails.
tgc_context *check_context(const char *device, int threads);
// Runs `test` in a context of one thread on each device that is there; an error that it leaves fails the running test.
void check_each_device(void (*test)(tgc_context *ctx));
// A cmocka test of that name which runs `each` so.
#define DEVICE_TEST(name, each)                                                                                \
	static void name(void **state)                                                                         \
	{                                                                                                      \
		(void)state;                                                                                   \
		check_each_device(each);                                                                       \
	}

// Builds, runs and compares every output of s in ctx. Counts into t; a status is a failure too. TGC_CHECK_PART leaves
// most of them out, TGC_CHECK_RUNS repeats each (check.c).
void check_sketch(const struct sketch *s, tgc_context *ctx, struct tally *t, bool by_class);
// Runs tensors of ctx and compares them with the interpreter on their linearised program: for graphs that no
// sketch describes, such as gradients.
void check_tensors(tgc_context *ctx, int n, tgc_tensor *const *tensors, struct tally *t);
// Fails the running test if t failed, printing s as code.
void assert_sketch(const struct sketch *s, const struct tally *t, const char *where);

// What a realize of these would compute, as runtime/realize.c asks for it: values of their own, then pending assignments.
// Returns how many; room for `cap`.
int check_outputs(struct tgc_context *c, int n, tgc_tensor *const *tensors, int cap, struct node **outs,
                  struct variable **assign);

void assert_ok(tgc_context *ctx);          // no error recorded
double check_item(tgc_tensor *t);          // fails the test on error
void check_read_f32(tgc_tensor *t, float *out, int64_t n);
void check_read_f64(tgc_tensor *t, double *out, int64_t n);
void check_read_i64(tgc_tensor *t, int64_t *out, int64_t n); // any integer type or bool

#endif
