// Runs tables of tests where there is no cmocka (cmocka.h).
#include "cmocka.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FAILED = 1, SKIPPED };
static jmp_buf leave; // the running test

void print_message(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
}

void print_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
}

void runner_fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: ", file, line);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\n");
	longjmp(leave, FAILED);
}

void runner_skip(void) { longjmp(leave, SKIPPED); }

void runner_true(bool holds, const char *what, const char *file, int line)
{
	if (!holds)
		runner_fail(file, line, "not so: %s", what);
}

void runner_int(uintmax_t a, uintmax_t b, const char *what, const char *file, int line)
{
	if (a != b)
		runner_fail(file, line, "%s: %jd and %jd", what, (intmax_t)a, (intmax_t)b);
}

void runner_float(double a, double b, double most, const char *what, const char *file, int line)
{
	if (!(fabs(a - b) <= most))
		runner_fail(file, line, "%s: %.17g and %.17g", what, a, b);
}

void runner_string(const char *a, const char *b, const char *what, const char *file, int line)
{
	if (strcmp(a, b) != 0)
		runner_fail(file, line, "%s: \"%s\" and \"%s\"", what, a, b);
}

void runner_memory(const void *a, const void *b, size_t n, bool same, const char *what, const char *file, int line)
{
	if ((memcmp(a, b, n) == 0) != same)
		runner_fail(file, line, "not so: %s, %zu bytes", what, n);
}

// 0, FAILED or SKIPPED.
static int run(const struct CMUnitTest *t, void **state)
{
	int left = setjmp(leave);

	if (left == 0)
		t->test(state);
	return left;
}

int runner_group(const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction *setup,
                 CMFixtureFunction *teardown)
{
	void *group = NULL;
	int failed = 0;

	if (setup && setup(&group)) {
		fprintf(stderr, "%s: cannot be set up\n", name);
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		void *state = group;
		int left = tests[i].setup && tests[i].setup(&state) ? FAILED : run(&tests[i], &state);

		if (tests[i].teardown && tests[i].teardown(&state))
			left = FAILED;
		fprintf(stderr, "%s: %s %s\n", name, tests[i].name,
		        left == FAILED ? "FAILED" : left == SKIPPED ? "skipped" : "ok");
		failed += left == FAILED;
	}
	if (teardown && teardown(&group))
		failed++;
	fprintf(stderr, "%s: %zu tests, %d failed\n", name, n, failed);
	return failed;
}
