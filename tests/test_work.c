// A guard on speed that needs no clock: how much work the benchmark's programs are once all passes are through.
// In:  its workloads, planned and lowered for two checked-in records; work.txt, what they were when it was last
// written. Out: the test fails where a sum grows by more than 2 %, or falls, so that the table follows, and names the
// kernels that make the difference. "test_work --print" writes the table. Nothing runs, and LLVM is not asked.
// Not here: how fast it is (tgc bench); launches and phases (test_counts.c).
#include <math.h>
#include <stdlib.h>

#include "plan_look.h"
#include "work.h"

enum { MAX_KERNELS = 256, MAX_NAME = 48, NAMED = 3 };

static const char *const programs[] = {
    "mlp",
    "cnn",
    "resnet20",
    "gpt_small",
    "attention",
    "layernorm_fwd",
    "layernorm_fb",
    "softmax_4096x1024",
    "softmax_64x50257",
    "gelu_chain",
    "adam",
    "head",
    "sum_axis0",
    "sum_axis1",
    "transpose",
    "matmul_512x512x512",
    "conv3_32-32_16_s1_g1",
    "conv3_32-32_16_s1_g1_dx",
    "conv3_32-32_16_s1_g1_dw",
};
static const char *const targets[] = {"x86-64-v4", "x86-64-v3"};

// Kernels of one name are one row, in the order of steps.
struct row {
	char name[MAX_NAME];
	int times;
	struct work w;
};
struct rows {
	struct row row[MAX_KERNELS];
	int n;
};

static struct rows made; // of the last program
static const struct target *target;

static struct row *find(struct rows *r, const char *name)
{
	for (int i = 0; i < r->n; i++)
		if (!strcmp(r->row[i].name, name))
			return &r->row[i];
	assert_true(r->n < MAX_KERNELS);
	struct row *new = &r->row[r->n++];
	*new = (struct row){0};
	snprintf(new->name, sizeof new->name, "%s", name);
	return new;
}

static struct work total(const struct rows *r)
{
	struct work w = {0};

	for (int i = 0; i < r->n; i++)
		for (int c = 0; c < WORK_CLASSES; c++)
			w.n[c] += r->row[i].w.n[c];
	return w;
}

// ---- what is made ---------------------------------------------------------------------------------------------------

// Its first group's kind and shape, and how many groups there are besides: the same whatever else is in the plan.
static void name_step(const struct plan *p, const struct pstep *s, char *name)
{
	const struct group *g = &p->groups[s->group];
	const struct pnode *root = &p->prog.nodes[g->main >= 0 ? g->main : g->roots[0]];
	int n = snprintf(name, MAX_NAME, "%s[", plan_group_names[g->kind]);

	for (int i = 0; i < root->rank && n < MAX_NAME; i++)
		n += snprintf(name + n, (size_t)(MAX_NAME - n), "%s%lld", i ? "," : "", (long long)root->dims[i].n);
	if (n < MAX_NAME)
		n += snprintf(name + n, (size_t)(MAX_NAME - n), s->ngroups > 1 ? "]+%d" : "]", s->ngroups - 1);
}

static void add_steps(struct tgc_context *c, const struct linear *l, const struct plan *p)
{
	(void)c;
	(void)l;
	for (int i = 0; i < p->nsteps; i++) {
		char name[MAX_NAME], *error = NULL;
		if (p->steps[i].kind != STEP_KERNEL)
			continue;
		struct kernel *k = lower_step(p, &p->steps[i], target, &error);
		if (k)
			error = kernel_run_passes(k, target, false);
		if (error)
			fail_msg("%s", error);
		name_step(p, &p->steps[i], name);
		struct row *r = find(&made, name);
		r->times++;
		work_add(&r->w, k, target);
		kernel_free(k);
	}
}

static void make(const char *program, const char *name)
{
	made.n = 0;
	target = target_find(name);
	plan_look_workload(plan_look_find(program), target, add_steps);
}

// ---- the table: a line a program and target, then a line a row of kernels, in thousands -----------------------------

static void print_table(void)
{
	for (int i = 0; i < TG_COUNT(programs) * TG_COUNT(targets); i++) {
		const char *program = programs[i / TG_COUNT(targets)], *name = targets[i % TG_COUNT(targets)];
		make(program, name);
		printf("%s %s %d\n", program, name, made.n);
		for (int r = 0; r < made.n; r++) {
			printf("  %s x%d", made.row[r].name, made.row[r].times);
			for (int c = 0; c < WORK_CLASSES; c++)
				printf(" %.0f", made.row[r].w.n[c] / 1e3);
			printf("\n");
		}
	}
}

static void read_rows(FILE *f, const char *program, const char *name, struct rows *r)
{
	char is_program[MAX_NAME], is_name[MAX_NAME];
	int n;

	r->n = 0;
	if (fscanf(f, "%47s %47s %d", is_program, is_name, &n) != 3 || strcmp(program, is_program) ||
	    strcmp(name, is_name) || n > MAX_KERNELS)
		fail_msg("work.txt has not %s for %s in its place", program, name);
	for (; r->n < n; r->n++) {
		struct row *row = &r->row[r->n];
		assert_int_equal(fscanf(f, "%47s x%d", row->name, &row->times), 2);
		for (int c = 0; c < WORK_CLASSES; c++) {
			assert_int_equal(fscanf(f, "%lf", &row->w.n[c]), 1);
			row->w.n[c] *= 1e3;
		}
	}
}

// ---- comparing ------------------------------------------------------------------------------------------------------

// What is too little to be seen in a time is too little here.
static bool differs(double now, double was)
{
	return fabs(now - was) > 0.02 * was + 20e3;
}

struct change {
	const char *name;
	int times_was, times;
	double was, now;
};

static int by_size(const void *a, const void *b)
{
	double x = fabs(((const struct change *)a)->now - ((const struct change *)a)->was);
	double y = fabs(((const struct change *)b)->now - ((const struct change *)b)->was);

	return (x < y) - (x > y);
}

// The kernels that differ most in class c.
static void tell(struct rows *was, struct rows *now, int c)
{
	static struct change all[2 * MAX_KERNELS];
	int n = 0;

	for (int i = 0; i < was->n; i++)
		find(now, was->row[i].name);
	for (int i = 0; i < now->n; i++) {
		const struct row *a = find(was, now->row[i].name), *b = &now->row[i];
		all[n++] = (struct change){b->name, a->times, b->times, a->w.n[c], b->w.n[c]};
	}
	qsort(all, (size_t)n, sizeof *all, by_size);
	for (int i = 0; i < n && i < NAMED && differs(all[i].now, all[i].was); i++)
		print_error("    %-32s x%d -> x%d  %.0f k -> %.0f k\n", all[i].name, all[i].times_was, all[i].times,
		            all[i].was / 1e3, all[i].now / 1e3);
}

static int compare(const char *program, const char *name, struct rows *was, struct rows *now)
{
	struct work old = total(was), new = total(now);
	int bad = 0;

	for (int c = 0; c < WORK_CLASSES; c++) {
		if (!differs(new.n[c], old.n[c]))
			continue;
		print_error("%s for %s: %s %.0f k -> %.0f k, %+.0f %%\n", program, name, work_names[c], old.n[c] / 1e3,
		            new.n[c] / 1e3, 100 * (new.n[c] / fmax(old.n[c], 1e3) - 1));
		tell(was, now, c);
		bad++;
	}
	return bad;
}

static void test_work(void **state)
{
	static struct rows was;
	FILE *f = fopen(WORK_TABLE, "r");
	int bad = 0;

	(void)state;
	assert_non_null(f);
	for (int i = 0; i < TG_COUNT(programs) * TG_COUNT(targets); i++) {
		const char *program = programs[i / TG_COUNT(targets)], *name = targets[i % TG_COUNT(targets)];
		read_rows(f, program, name, &was);
		make(program, name);
		bad += compare(program, name, &was, &made);
	}
	fclose(f);
	if (bad)
		fail_msg("%d sums are not those of work.txt; if they are meant to be so, write it again: test_work --print", bad);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_work)};

	if (argc > 1 && !strcmp(argv[1], "--print"))
		return print_table(), 0;
	return cmocka_run_group_tests_name("work", tests, NULL, NULL);
}
