#include "kernel_rows.h"

#include <stdlib.h>

const struct target *kernel_row_target(void)
{
	return target_find("x86-64-v3");
}

char *kernel_row_print(const struct kernel *k)
{
	struct text t = {0};
	kernel_print(k, &t);
	return text_take(&t);
}

struct kernel *kernel_row_parse(const char *body)
{
	struct text t = {0};
	char *error = NULL;
	text_add(&t, KERNEL_FRAME "%s", body);
	char *text = text_take(&t);
	struct kernel *k = kernel_parse(text, &error);
	if (!k)
		fail_msg("%s\n%s", error, text);
	free(text);
	return k;
}

// The part behind the frame.
static char *print_body(const struct kernel *k)
{
	char *text = kernel_row_print(k), *body = strstr(text, "phase");
	if (!body)
		body = text + strlen(text);
	memmove(text, body, strlen(body) + 1);
	return text;
}

static void sound(const struct kernel *k, enum kernel_level level, const char *name)
{
	char *error = kernel_verify(k, level);
	if (error)
		fail_msg("%s: %s\n%s", name, error, kernel_row_print(k));
}

// ---- the same memory before and after

enum { N = 4096 };
struct memory {
	float f0[N], f1[N];
	int64_t i2[N];
	uint8_t b3[N];
	float scalar;
};

static struct memory *memory_new(void)
{
	struct memory *m = calloc(1, sizeof *m);
	for (int i = 0; i < N; i++) {
		m->f0[i] = (float)((i * 37) % 101) / 8.0f - 5;
		m->f1[i] = (float)((i * 53) % 97) / 16.0f;
		m->i2[i] = i % 7;
		m->b3[i] = (uint8_t)(i % 3 == 0);
	}
	m->scalar = 1.25f;
	return m;
}

static struct memory *evaluate(const struct kernel *k, const char *name)
{
	struct memory *m = memory_new();
	void *args[] = {m->f0, m->f1, m->i2, m->b3, &m->scalar};
	char *error = kernel_eval(k, args);
	if (error)
		fail_msg("%s: %s\n%s", name, error, kernel_row_print(k));
	return m;
}

void kernel_rows_check(const struct kernel_row *rows, int n)
{
	for (int i = 0; i < n; i++) {
		const struct kernel_row *r = &rows[i];
		struct kernel *k = kernel_row_parse(r->before);
		struct memory *want = evaluate(k, r->name);
		r->pass(k, kernel_row_target());
		if (strcmp(r->name, "a load stays in a loop that may be empty") != 0) // its guard is the loop
			sound(k, r->pass == kpass_bind ? LEVEL_MACHINE : LEVEL_FREE, r->name);
		char *text = print_body(k);
		const char *after = r->after ? r->after : r->before;
		if (strcmp(text, after) != 0)
			fail_msg("%s: got\n%s\nwant\n%s", r->name, text, after);
		struct memory *got = evaluate(k, r->name);
		if (memcmp(want, got, sizeof *got) != 0)
			fail_msg("%s: other values", r->name);
		free(text);
		free(want);
		free(got);
		kernel_free(k);
	}
}

void kernel_row_same_text(const char *text)
{
	char *error = NULL;
	struct kernel *k = kernel_parse(text, &error);
	if (!k)
		fail_msg("%s\n%s", error, text);
	char *again = kernel_row_print(k);
	assert_string_equal(text, again);
	struct kernel *copy = kernel_clone(k);
	kernel_free(k);
	char *third = kernel_row_print(copy);
	assert_string_equal(text, third);
	kernel_free(copy);
	free(again);
	free(third);
}

void kernel_rows_round_trip(const struct kernel_row *rows, int n)
{
	for (int i = 0; i < n; i++) {
		struct kernel *k = kernel_row_parse(rows[i].before);
		char *text = kernel_row_print(k);
		kernel_row_same_text(text);
		free(text);
		kernel_run_passes(k, kernel_row_target(), false);
		text = kernel_row_print(k);
		kernel_row_same_text(text);
		free(text);
		kernel_free(k);
	}
}
