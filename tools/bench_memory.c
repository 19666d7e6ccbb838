// What a memory budget costs: steps of a network whose intermediate values may take all, 100, 70 and 50 % of what the
// free plan takes, in turns, from the same data.
// In:  workloads with an optimizer; others are left out. Out: a line a budget: planned and lowest possible peak, the
// allocator's, launches, the step's time over that of the free one, and whether every parameter has the same bits.
// A budget that cannot be met is told of on standard error and has no line. Not here: which kernels run again (lib/remat.c).
#include "bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 4, WARM_STEPS = 3 };
static const int percents[PARTS] = {0, 100, 70, 50}; // 0: no budget

struct part {
	struct bench_run run;
	int64_t budget;
	double ms[BENCH_ROUNDS], ratio[BENCH_ROUNDS];
	tgc_stats stats;
	unsigned long long launches; // of a step
	bool good;
};

static bool open_part(struct part *p, const struct bench_workload *w, int threads, int64_t budget)
{
	p->budget = budget;
	p->good = bench_open_within(&p->run, w, threads, budget);
	for (int i = 0; i < WARM_STEPS && p->good; i++)
		p->good = bench_timed_step(&p->run) >= 0;
	uint64_t before = tgc_get_stats(p->run.c).launches;
	p->good = p->good && bench_timed_step(&p->run) >= 0;
	p->stats = tgc_get_stats(p->run.c);
	p->launches = p->stats.launches - before;
	return p->good;
}

static bool same_tensor(tgc_tensor *a, tgc_tensor *b)
{
	size_t bytes = (size_t)tgc_tensor_elems(a) * tgc_type_bytes(tgc_tensor_type(a));
	void *x = malloc(bytes + 1), *y = malloc(bytes + 1);
	bool same = x && y && tgc_read(a, x, bytes) == TGC_OK && tgc_read(b, y, bytes) == TGC_OK &&
	            memcmp(x, y, bytes) == 0;
	free(x);
	free(y);
	return same;
}

// Every parameter, and with it every gradient of every step before.
static bool same_params(const struct part *a, const struct part *b)
{
	bool same = tgc_params_count(a->run.params) == tgc_params_count(b->run.params);
	for (int i = 0; same && i < tgc_params_count(a->run.params); i++)
		same = same_tensor(tgc_param(a->run.params, i), tgc_param(b->run.params, i));
	return same;
}

static void print(const char *name, struct part *p, int percent, int rounds, bool same, bool json)
{
	double ms = bench_median(p->ms, rounds), ratio = bench_median(p->ratio, rounds);
	long long planned = (long long)p->stats.planned_peak_bytes, least = (long long)p->stats.planned_lower_bound_bytes;
	long long held = (long long)p->stats.device_bytes_peak;
	if (json) {
		json_t *j = json_pack("{s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:b}", "name", name, "budget_percent", percent,
		                      "budget_bytes", (json_int_t)p->budget, "planned_peak_bytes", (json_int_t)planned,
		                      "planned_lower_bound_bytes", (json_int_t)least, "device_peak_bytes", (json_int_t)held,
		                      "launches", (json_int_t)p->launches, "ms", ms, "ratio", ratio, "same_bits", same);
		json_dumpf(j, stdout, JSON_COMPACT);
		printf("\n");
		json_decref(j);
		return;
	}
	char part[16] = "none";
	if (percent)
		snprintf(part, sizeof part, "%d %%", percent);
	printf("%-26s %7s %11.2f %11.2f %11.2f %9llu %10.3f %7.2f  %s\n", name, part, 1e-6 * (double)planned,
	       1e-6 * (double)least, 1e-6 * (double)held, p->launches, ms, ratio, same ? "the same" : "DIFFERENT");
}

static int measure(const struct bench_workload *w, struct part *parts, int threads, int rounds, bool json)
{
	bool good = open_part(&parts[0], w, threads, 0);
	for (int k = 1; k < PARTS; k++) {
		int64_t all = (int64_t)parts[0].stats.planned_peak_bytes;
		if (good && !open_part(&parts[k], w, threads, all * percents[k] / 100))
			tgc_print_error(parts[k].run.c); // a network may not fit in that; the others go on
	}
	for (int i = 0; i < rounds && good; i++)
		for (int k = 0; k < PARTS; k++) {
			struct part *p = &parts[k];
			p->ms[i] = p->good ? bench_timed_step(&p->run) : 0;
			p->ratio[i] = p->ms[i] / parts[0].ms[i];
			good &= p->ms[i] >= 0;
		}
	bool all = good;
	for (int k = 0; k < PARTS && good; k++) {
		bool same = parts[k].good && same_params(&parts[0], &parts[k]);
		if (parts[k].good)
			print(w->name, &parts[k], percents[k], rounds, same, json);
		all &= same || !parts[k].good;
	}
	tgc_print_error(parts[0].run.c);
	return !all;
}

int bench_memory(const bool *wanted, int threads, int rounds, bool json)
{
	int status = 0, found = 0;
	struct part *parts = calloc(PARTS, sizeof *parts);
	if (!json)
		printf("%-26s %7s %11s %11s %11s %9s %10s %7s  %s\n", "workload", "budget", "planned MB", "least MB",
		       "device MB", "launches", "ms", "ratio", "parameters");
	for (int i = 0; i < bench_workloads_count && parts; i++) {
		if (!wanted[i] || !bench_workloads[i].optim)
			continue;
		found++;
		fprintf(stderr, "tgc bench: %s\n", bench_workloads[i].name);
		status |= measure(&bench_workloads[i], parts, threads, rounds, json);
		for (int k = 0; k < PARTS; k++)
			bench_close(&parts[k].run);
		memset(parts, 0, sizeof *parts * PARTS);
	}
	free(parts);
	if (!found)
		fprintf(stderr, "tgc bench: --memory is for networks with an optimizer; none is among the workloads\n");
	return status || !found;
}
