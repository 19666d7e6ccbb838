// TGC_TRACE=DIR: what became of each plan, as one JSON file a plan, and when everything ran (timeline.c).
// In:  a plan made ready, its kernels, a clock around each step. Out: DIR/plan-PID-N.json when the plan is dropped,
// at the latest when its context closes.
// Tracing reads only: it changes no plan and no bit of a result. What finds no memory or no folder is left out, and
// the program runs on. Not here: what the file says (trace_json.c), showing it (tools/dump.c).
#include "runtime.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLES = 512 }; // the last runs of each step, whose median is told

struct trace {
	json_t *plan;
	int nsteps;
	uint64_t *runs; // by step
	float *us;      // [nsteps * SAMPLES]
	char path[PATH_MAX];
};

bool trace_wanted(void)
{
	const char *dir = getenv("TGC_TRACE");
	return dir && *dir;
}

bool trace_path(struct tgc_context *c, const char *name, char *path, size_t bytes)
{
	static atomic_int serial;
	const char *dir = getenv("TGC_TRACE");
	if (!dir || (mkdir(dir, 0777) && errno != EEXIST)) {
		context_log(c, 't', "no trace: %s: %s", dir ? dir : "TGC_TRACE", dir ? strerror(errno) : "is gone");
		return false;
	}
	int n = snprintf(path, bytes, "%s/%s-%d-%04d.json", dir, name, (int)getpid(), serial++);
	return n > 0 && n + 4 < (int)bytes;
}

bool trace_write(void *json, const char *path)
{
	char part[PATH_MAX + 8];
	int n = snprintf(part, sizeof part, "%s.new", path); // renamed when whole: a reader meets no half file
	bool ok = json && n < (int)sizeof part && json_dump_file(json, part, JSON_INDENT(1)) == 0 && rename(part, path) == 0;
	if (!ok)
		unlink(part);
	json_decref(json);
	return ok;
}

static void trace_free(struct trace *t)
{
	json_decref(t->plan);
	free(t->runs);
	free(t->us);
	free(t);
}

struct trace *trace_new(struct tgc_context *c, const struct plan_entry *e, const struct linear *l,
                        const struct lowered *jobs)
{
	struct trace *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->nsteps = e->plan->nsteps;
	t->runs = calloc((size_t)t->nsteps + 1, sizeof *t->runs);
	t->us = calloc((size_t)t->nsteps * SAMPLES + 1, sizeof *t->us);
	if (t->runs && t->us && trace_path(c, "plan", t->path, sizeof t->path))
		t->plan = trace_describe(c, e, l, jobs);
	if (t->plan)
		return t;
	trace_free(t);
	return NULL;
}

void trace_step(struct tgc_context *c, struct trace *t, int step, uint64_t begun_ns, uint64_t ended_ns)
{
	t->us[(size_t)step * SAMPLES + t->runs[step] % SAMPLES] = (float)(1e-3 * (double)(ended_ns - begun_ns));
	t->runs[step]++;
	struct timeline *line = device_of(c)->timeline;
	if (!line)
		return;
	json_t *title = json_object_get(json_array_get(json_object_get(t->plan, "steps"), (size_t)step), "title");
	timeline_add(line, "step", json_is_string(title) ? json_string_value(title) : "step", begun_ns, ended_ns);
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static void add_times(struct trace *t)
{
	json_t *steps = json_object_get(t->plan, "steps");
	for (int i = 0; i < t->nsteps; i++) {
		json_t *step = json_array_get(steps, (size_t)i);
		size_t n = t->runs[i] < SAMPLES ? (size_t)t->runs[i] : SAMPLES;
		float *us = t->us + (size_t)i * SAMPLES;
		qsort(us, n, sizeof *us, by_size);
		json_object_set_new(step, "launches", json_integer((json_int_t)t->runs[i]));
		json_object_set_new(step, "median_us", n ? json_real((double)us[(n - 1) / 2]) : json_null());
		json_object_set_new(step, "least_us", n ? json_real((double)us[0]) : json_null());
	}
}

void trace_close(struct trace *t)
{
	if (!t)
		return;
	add_times(t);
	trace_write(json_incref(t->plan), t->path);
	trace_free(t);
}
