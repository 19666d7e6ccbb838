// What the benchmark prints: a table, or JSON, one object a line; and reading the latter back to compare.
// In:  results. Out: text on standard output. Schema of a line: docs at bench_print_json.
#include "bench.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct bench_old {
	json_t *ms; // name to milliseconds
};

static bool old_line(struct bench_old *old, const char *text)
{
	json_t *line = json_loads(text, 0, NULL), *ms = json_object_get(line, "ms");
	const char *name = json_string_value(json_object_get(line, "name"));
	bool good = name && json_number_value(ms) > 0 && json_object_set(old->ms, name, ms) == 0;
	json_decref(line);
	return good;
}

struct bench_old *bench_old_load(const char *path)
{
	FILE *f = fopen(path, "r");
	struct bench_old *old = calloc(1, sizeof *old);
	char *text = NULL;
	size_t size = 0;
	int line = 0;
	bool good = f && old && (old->ms = json_object()) != NULL;
	while (good && getline(&text, &size, f) > 0) {
		line++;
		good = old_line(old, text);
	}
	free(text);
	if (!f)
		fprintf(stderr, "tgc bench: cannot open %s\n", path);
	else if (!good)
		fprintf(stderr, "tgc bench: %s:%d: no object with a name and ms > 0\n", path, line);
	if (f)
		fclose(f);
	if (good)
		return old;
	bench_old_free(old);
	return NULL;
}

void bench_old_free(struct bench_old *old)
{
	if (old)
		json_decref(old->ms);
	free(old);
}

void bench_print_head(int threads, int rounds, const struct bench_old *old)
{
	printf("threads %d, rounds %d, medians. ms: of a step. ceiling: of the machine, in turns with ours; %%: of it.\n"
	       "first, warm: process start to first result, empty and full cache. launches: kernels of a step.\n"
	       "host: of a network's step, finding its plan and binding. error: the furthest from the same in f64.\n"
	       "Peers: ms, their time over ours, their first step once loaded, how far their results are from ours\n"
	       "(of networks the losses of the first %d steps, of adam the parameters after them).\n",
	       threads, rounds, BENCH_STEPS);
	printf("%-24s %10s %9s %9s %6s %9s %9s %8s %8s %9s%s\n", "workload", "ms", "rate", "ceiling", "%",
	       "first ms", "warm ms", "launches", "host us", "error", old ? "    old ms  old/new" : "");
}

void bench_print_row(const struct bench_result *r, const struct bench_old *old)
{
	const char *unit = r->w->flops > 0 ? "GF/s" : "GB/s";
	printf("%-24s %10.3f %9.1f %9.1f %6.1f %9.1f %9.1f %8llu ", r->w->name, r->ms, r->rate, r->ceiling,
	       r->percent, r->cold.first_ms, r->warm.first_ms, r->launches);
	if (r->host_us < 0)
		printf("%8s ", "-");
	else
		printf("%8.0f ", r->host_us);
	if (r->error < 0)
		printf("%9s", "-");
	else
		printf("%9.1e", r->error);
	double ms = old ? json_number_value(json_object_get(old->ms, r->w->name)) : 0;
	if (ms > 0)
		printf(" %9.3f %7.2fx", ms, ms / r->ms);
	printf("  %s\n", unit);
	for (int i = 0; i < r->peers_count; i++) {
		const struct bench_peer_result *p = &r->peers[i];
		printf("  %-22s %10.3f %8.2fx of ours", p->kind, p->ms, p->ratio);
		printf("  first %.0f ms", p->first_ms);
		if (p->error >= 0)
			printf("  differs by %.1e", p->error);
		printf("\n");
	}
	fflush(stdout);
}

// A number that was measured.
static json_t *number_or_null(double x) { return x < 0 || !isfinite(x) ? json_null() : json_real(x); }

// name; device; threads, rounds; tf32 (products of f32 may be rounded); ms (median of a step); rate, ceiling, unit
// ("GFLOP/s" or "GB/s"); percent (median of pairs); flops or bytes (of a step); first_ms, first_warm_ms (process start
// to first result, empty and full cache); compiled (kernels, empty cache); launches (of a step); host_us (of a
// network's step: finding its plan and binding, else null); error (relative difference from f64, null: not compared);
// peers: [{kind, ms, ratio (median of pairs, theirs / ours), first_ms (of its first step, without loading the
// framework), error (against ours; of networks the losses of the first steps)}].
void bench_print_json(const struct bench_result *r, int threads, int rounds, bool tf32)
{
	const struct bench_workload *w = r->w;
	json_t *peers = json_array();
	for (int i = 0; i < r->peers_count; i++) {
		const struct bench_peer_result *p = &r->peers[i];
		json_array_append_new(peers, json_pack("{s:s, s:f, s:f, s:f, s:o}", "kind", p->kind, "ms", p->ms,
		                                       "ratio", p->ratio, "first_ms", p->first_ms, "error",
		                                       number_or_null(p->error)));
	}
	json_t *line = json_pack("{s:s, s:s, s:i, s:i, s:b, s:f, s:f, s:f, s:s, s:f, s:f, s:f, s:f, s:I, s:I, s:o, s:o, s:o}",
	                         "name", w->name, "device", r->device, "threads", threads, "rounds", rounds, "tf32", tf32, "ms", r->ms, "rate",
	                         r->rate, "ceiling", r->ceiling, "unit", w->flops > 0 ? "GFLOP/s" : "GB/s",
	                         "percent", r->percent, w->flops > 0 ? "flops" : "bytes",
	                         w->flops > 0 ? w->flops : w->bytes, "first_ms", r->cold.first_ms,
	                         "first_warm_ms", r->warm.first_ms, "compiled", (json_int_t)r->cold.compiled,
	                         "launches", (json_int_t)r->launches, "host_us", number_or_null(r->host_us), "error", number_or_null(r->error), "peers", peers);
	json_dumpf(line, stdout, JSON_REAL_PRECISION(6));
	printf("\n");
	fflush(stdout);
	json_decref(line);
}
