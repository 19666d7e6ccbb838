// How often the processors are sent to work: launches and copies of one step, and with them each further phase of a
// kernel (a barrier). A fill is a kernel here.
// In:  steps recorded by the benchmark's own workloads and by a few here. Out: each row fails when its counts grow,
// and when they fall, so that the row follows. Plans are made for one target record, so the counts are the same on
// every machine; nothing runs. For GPUs the bytes that all kernels read and write count too. Not here: values
// (test_schedule.c), times (tgc bench).
#include "plan_look.h"

#include <stdlib.h>

static struct counts {
	int launches; // and copies
	int phases;   // of all of them; a copy is one
	int mb;       // read and written by kernels, rounded; for GPUs
} counted; // by the last step
static const struct target *target;

// ---- counting -------------------------------------------------------------------------------------------------------
static double bytes(const struct plan *p, const struct kernel *k)
{
	double sum = 0;

	for (int i = 0; i < k->nbufs; i++) {
		for (int s = 0; k->bufs[i].space == SPACE_GLOBAL && s < (k->nsegs ? k->nsegs : 1); s++) {
			const struct pbuf *b = &p->bufs[k->bufs[i].segmented ? k->bufs[i].seg_nodes[s] : k->bufs[i].node];

			sum += (k->bufs[i].read + k->bufs[i].written) * (double)b->bytes;
		}
	}
	return sum;
}

static int phases(const struct plan *p, const struct pstep *s, double *moved)
{
	char *error;
	struct kernel *k = lower_step(p, s, target, &error);
	int n;

	if (k)
		error = kernel_run_passes(k, target, false);
	if (error)
		print_error("group %d: %s\n", s->group, error);
	assert_null(error);
	n = k->nphases;
	*moved += bytes(p, k);
	kernel_free(k);
	return n;
}

static struct counts steps(const struct plan *p)
{
	struct counts n = {.launches = p->nsteps};
	double moved = 0;

	for (int i = 0; i < p->nsteps; i++)
		n.phases += p->steps[i].kind == STEP_KERNEL ? phases(p, &p->steps[i], &moved) : 1;
	n.mb = target->family == FAMILY_CUDA ? (int)(moved / 1e6 + 0.5) : 0;
	return n;
}

static void show(const struct plan *p)
{
	struct text t = {0};
	char *text;

	plan_print(p, &t);
	text = text_take(&t);
	fprintf(stderr, "%s\n", text);
	free(text);
}

static void count(struct tgc_context *c, const struct linear *l, const struct plan *p)
{
	(void)l;
	counted = steps(p);
	if (c->debug >> ('p' - 'a') & 1)
		show(p);
}

// ---- steps that are not in the benchmark ------------------------------------------------------------------------
static int cross_entropy(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_cross_entropy(bench_input(r, 0), bench_input(r, 1));
	return 1;
}

// Without the mean over rows.
static int nll_rows(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *x = tgc_log_softmax(bench_input(r, 0), 1);
	int64_t classes = r->w->in[0].shape.dims[1];
	tgc_tensor *label = tgc_reshape(bench_input(r, 1), TGC_SHAPE(r->w->in[0].shape.dims[0], 1));
	tgc_tensor *hit = tgc_eq(tgc_iota(r->c, TGC_I32, TGC_SHAPE(1, classes), 1), label);

	out[0] = tgc_neg(tgc_sum(tgc_select(hit, x, 0.0), TGC_AXES(1), false));
	return 1;
}

static int cross_entropy_back(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *x = bench_input(r, 0);

	assert_int_equal(tgc_grad(tgc_cross_entropy(x, bench_input(r, 1)), 1, &x, out), TGC_OK);
	return 1;
}

static int layernorm_back(struct bench_run *r, tgc_tensor **out)
{
	tgc_tensor *x = bench_input(r, 0), *dy = bench_input(r, 1), *gamma = bench_param(r, TGC_SHAPE(768), 0, 1);
	tgc_tensor *beta = bench_param(r, TGC_SHAPE(768), 0, 0), *y = tgc_layer_norm(x, gamma, beta, 1e-5);
	tgc_tensor *loss = tgc_sum(tgc_mul(y, dy), TGC_ALL_AXES, false);

	assert_int_equal(tgc_grad(loss, 3, (tgc_tensor *[]){x, gamma, beta}, out), TGC_OK);
	return 3;
}

static int var_mean(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_var(bench_input(r, 0), TGC_AXES(1), 1, false);
	out[1] = tgc_mean(bench_input(r, 0), TGC_AXES(1), false);
	return 2;
}

static int two_maps(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_add(bench_input(r, 0), 1.0);
	out[1] = tgc_mul(bench_input(r, 0), 2.0);
	return 2;
}

static int sum_and_max(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_sum(bench_input(r, 0), TGC_AXES(1), false);
	out[1] = tgc_max(bench_input(r, 0), TGC_AXES(1), false);
	return 2;
}

static int attention_forward(struct bench_run *r, tgc_tensor **out)
{
	out[0] = tgc_attention(bench_input(r, 0), bench_input(r, 1), bench_input(r, 2), true);
	return 1;
}

// ---- the table --------------------------------------------------------------------------------------------------
#define M(...) {TGC_SHAPE(__VA_ARGS__), 0}
#define INDEX(n, below) {TGC_SHAPE(n), below}
#define QKV M(8, 12, 1024, 64), M(8, 12, 1024, 64), M(8, 12, 1024, 64)

// Rows without `record` are the benchmark's. `asked` is the most phases that are wanted of it; where there are more,
// today's number is pinned and is to fall: the mean over rows.
static const struct row {
	struct bench_workload w;
	struct counts n;
	int asked;
	const char *target; // NULL: x86-64-v4
} rows[] = {
    {{.name = "softmax_4096x1024"}, {1, 1, 0}, 1, NULL},
    {{.name = "softmax_64x50257"}, {1, 1, 0}, 1, NULL},
    {{.name = "nll_rows", .record = nll_rows, .in = {M(4096, 1024), INDEX(4096, 1024)}, .inputs = 2}, {1, 1, 0}, 1, NULL},
    {{.name = "cross_entropy", .record = cross_entropy, .in = {M(4096, 1024), INDEX(4096, 1024)}, .inputs = 2}, {2, 2, 0}, 1, NULL},
    {{.name = "cross_entropy_back", .record = cross_entropy_back, .in = {M(4096, 1024), INDEX(4096, 1024)}, .inputs = 2},
     {1, 1, 0}, 1, NULL},
    {{.name = "layernorm_fwd"}, {1, 1, 0}, 1, NULL},
    {{.name = "layernorm_back", .record = layernorm_back, .in = {M(8192, 768), M(8192, 768)}, .inputs = 2, .params = true},
     {1, 2, 0}, 2, NULL},
    {{.name = "layernorm_fb"}, {1, 2, 0}, 2, NULL},
    {{.name = "var_mean", .record = var_mean, .in = {M(4096, 1024)}, .inputs = 1}, {1, 1, 0}, 1, NULL},
    {{.name = "two_maps", .record = two_maps, .in = {M(4096, 1024)}, .inputs = 1}, {1, 1, 0}, 1, NULL},
    {{.name = "sum_and_max", .record = sum_and_max, .in = {M(4096, 1024)}, .inputs = 1}, {1, 1, 0}, 1, NULL},
    {{.name = "matmul_bias_relu"}, {1, 1, 0}, 1, NULL},
    {{.name = "attention_forward", .record = attention_forward, .in = {QKV}, .inputs = 3}, {1, 1, 0}, 1, NULL},
    {{.name = "adam"}, {1, 1, 0}, 1, NULL},
    {{.name = "mlp"}, {7, 7, 0}, 10, NULL},
    {{.name = "cnn"}, {28, 30, 0}, 30, NULL},
    {{.name = "resnet20_bf16"}, {266, 266, 1000}, 150, "sm_90"},
    {{.name = "resnet20"}, {266, 266, 2384}, 150, "sm_90"},
    {{.name = "cnn"}, {40, 40, 216}, 30, "sm_90"},
};

static struct counts count_of(const struct row *row)
{
	counted = (struct counts){0};
	target = target_find(row->target ? row->target : "x86-64-v4");
	plan_look_workload(row->w.record ? &row->w : plan_look_find(row->w.name), target, count);
	return counted;
}

static void test_counts(void **unused)
{
	int bad = 0;

	(void)unused;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		struct counts n = count_of(&rows[i]), want = rows[i].n;
		bool same = n.launches == want.launches && n.phases == want.phases && n.mb == want.mb;

		if (!same)
			print_error("%s: %d launches, %d phases, %d MB, not %d, %d and %d (asked: at most %d phases)\n",
			            rows[i].w.name, n.launches, n.phases, n.mb, want.launches, want.phases, want.mb,
			            rows[i].asked);
		bad += !same;
	}
	assert_int_equal(bad, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_counts)};

	return cmocka_run_group_tests_name("counts", tests, NULL, NULL);
}
