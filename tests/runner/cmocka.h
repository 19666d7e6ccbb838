// What the tests use of cmocka, for machines that have none: the same names, the same meaning.
// In:  tables of tests. Out: a line a test on standard error, and how many failed. Assertions leave the running test by
// longjmp, so they belong on the thread that runs it. Not here: mocks, leak checks.
#ifndef TG_RUNNER_H
#define TG_RUNNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef int CMFixtureFunction(void **state);
struct CMUnitTest {
	const char *name;
	void (*test)(void **state);
	CMFixtureFunction *setup, *teardown;
};
#define cmocka_unit_test(F) {#F, F, NULL, NULL}
#define cmocka_unit_test_setup_teardown(F, SETUP, TEARDOWN) {#F, F, SETUP, TEARDOWN}
#define cmocka_run_group_tests_name(NAME, TESTS, SETUP, TEARDOWN) \
	runner_group(NAME, TESTS, sizeof(TESTS) / sizeof *(TESTS), SETUP, TEARDOWN)
#define cmocka_run_group_tests(TESTS, SETUP, TEARDOWN) cmocka_run_group_tests_name(#TESTS, TESTS, SETUP, TEARDOWN)
int runner_group(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction *setup,
                 CMFixtureFunction *teardown);

// Say what is wrong, if it is, and leave the test.
void runner_true(bool holds, const char *what, const char *file, int line);
void runner_int(uintmax_t a, uintmax_t b, const char *what, const char *file, int line);
void runner_float(double a, double b, double most, const char *what, const char *file, int line);
void runner_string(const char *a, const char *b, const char *what, const char *file, int line);
void runner_memory(const void *a, const void *b, size_t n, bool same, const char *what, const char *file, int line);
void runner_fail(const char *file, int line, const char *fmt, ...) __attribute__((noreturn, format(printf, 3, 4)));
void runner_skip(void) __attribute__((noreturn));
void print_message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void print_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define RUNNER_AT(WHAT) WHAT, __FILE__, __LINE__
#define assert_true(C) runner_true((C) ? true : false, RUNNER_AT(#C))
#define assert_false(C) runner_true((C) ? false : true, RUNNER_AT("not " #C))
#define assert_null(P) runner_true((P) == NULL, RUNNER_AT(#P " is NULL"))
#define assert_non_null(P) runner_true((P) != NULL, RUNNER_AT(#P " is not NULL"))
#define assert_int_equal(A, B) runner_int((uintmax_t)(A), (uintmax_t)(B), RUNNER_AT(#A " == " #B))
#define assert_in_range(A, LO, HI) \
	runner_true((uintmax_t)(A) >= (uintmax_t)(LO) && (uintmax_t)(A) <= (uintmax_t)(HI), RUNNER_AT(#A " in its range"))
#define assert_ptr_equal(A, B) runner_true((const void *)(A) == (const void *)(B), RUNNER_AT(#A " == " #B))
#define assert_ptr_not_equal(A, B) runner_true((const void *)(A) != (const void *)(B), RUNNER_AT(#A " != " #B))
#define assert_float_equal(A, B, MOST) runner_float((double)(A), (double)(B), (double)(MOST), RUNNER_AT(#A " == " #B))
#define assert_string_equal(A, B) runner_string(A, B, RUNNER_AT(#A " == " #B))
#define assert_memory_equal(A, B, N) runner_memory(A, B, N, true, RUNNER_AT(#A " == " #B))
#define assert_memory_not_equal(A, B, N) runner_memory(A, B, N, false, RUNNER_AT(#A " != " #B))
#define fail() runner_fail(__FILE__, __LINE__, "failed")
#define fail_msg(...) runner_fail(__FILE__, __LINE__, __VA_ARGS__)
#define skip() runner_skip()

#endif
