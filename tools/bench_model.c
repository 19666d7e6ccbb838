// The scheduler's model against the clock: for every kernel of a workload, the time that the target record's rates
// predict beside the measured median.
// In:  workloads. Out: a line a kernel, those furthest from 1 first, and a line a workload.
// Not here: what a trace holds (runtime/trace_json.c), reading it (dump_load.c).
#include "bench.h"

#include "dump.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STEPS = 12 };

static double distance(const struct dump_step *s) { return fabs(log(s->median_us / s->model_us)); }

static int far_first(const void *a, const void *b)
{
	double x = distance(*(const struct dump_step *const *)a), y = distance(*(const struct dump_step *const *)b);
	return (x < y) - (x > y);
}

static void print_kernel(const char *name, const struct dump_step *s, bool json)
{
	double p = s->model_us;
	if (!json) {
		printf("%-26s %10.2f %10.2f %7.2f  %-5s %-9s %.60s\n", name, p, s->median_us, s->median_us / p, s->bound_by,
		       s->group, s->title);
		return;
	}
	json_t *j = json_pack("{s:s,s:f,s:f,s:s,s:s,s:s,s:f,s:f,s:i}", "name", name, "predicted_us", p, "measured_us",
	                      s->median_us, "bound_by", s->bound_by, "group", s->group, "title", s->title, "bytes",
	                      s->bytes_read + s->bytes_written, "flops", s->flops, "threads", s->threads);
	json_dumpf(j, stdout, JSON_COMPACT);
	printf("\n");
	json_decref(j);
}

// Kernels of plans that ran in every step; what only made the data is left out.
static void print_workload(const char *name, const struct dump *d, bool json)
{
	struct dump_options o = {.sort = SORT_ORDER};
	int n, used = 0;
	double predicted = 0, measured = 0;
	struct dump_step **s = dump_select(d, &o, &n);
	for (int i = 0; s && i < n; i++)
		if (s[i]->kernel >= 0 && s[i]->launches >= STEPS && s[i]->median_us > 0)
			s[used++] = s[i];
	if (s)
		qsort(s, (size_t)used, sizeof(struct dump_step *), far_first);
	for (int i = 0; i < used; i++) {
		predicted += s[i]->model_us;
		measured += s[i]->median_us;
		print_kernel(name, s[i], json);
	}
	if (!json && used)
		printf("%-26s %10.2f %10.2f %7.2f  all %d kernels of a step\n", name, predicted, measured, measured / predicted,
		       used);
	free(s);
}

static int run(const struct bench_workload *w, int threads)
{
	tgc_tensor *out[BENCH_OUT];
	struct bench_run r;
	int n, status = !bench_open(&r, w, threads);
	for (int i = 0; i < STEPS + 2 && !status; i++) {
		tgc_scope_begin(r.c);
		status = bench_step(&r, out, &n) != TGC_OK;
		tgc_scope_end(r.c);
	}
	tgc_print_error(r.c);
	bench_close(&r);
	return status;
}

int bench_model(const bool *wanted, int threads, bool json)
{
	int status = 0;
	if (!json)
		printf("%-26s %10s %10s %7s  %-5s %-9s %s\n", "workload", "model us", "us", "ratio", "bound", "kind",
		       "operations");
	for (int i = 0; i < bench_workloads_count && !status; i++) {
		struct dump d = {0};
		char folder[512];
		if (!wanted[i])
			continue;
		if (!dump_make_folder(folder, sizeof folder))
			return 1;
		fprintf(stderr, "tgc bench: %s\n", bench_workloads[i].name);
		status = run(&bench_workloads[i], threads);
		unsetenv("TGC_TRACE");
		if (!status)
			status = dump_load(&d, folder);
		dump_remove_folder(folder);
		if (!status)
			print_workload(bench_workloads[i].name, &d, json);
		dump_free(&d);
	}
	return status;
}
