// TGC_TRACE=DIR: when everything ran, as slices that chrome://tracing and Perfetto show.
// In:  begin and end of what the thread of a context did. Out: DIR/timeline-PID-N.json when the context closes.
// A context works on one thread, so its slices nest. The first MAX_SLICES are kept; how many came after them is told.
// Not here: medians by kernel (trace.c).
#include "runtime.h"

#include <jansson.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SLICES = 200000 };

struct slice {
	const char *what; // static
	char *detail;
	uint64_t begun, ended;
};
struct timeline {
	struct slice *slices;
	int n, cap;
	int64_t left_out;
};

uint64_t clock_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct timeline *timeline_open(void) { return calloc(1, sizeof(struct timeline)); }

void timeline_add(struct timeline *t, const char *what, const char *detail, uint64_t begun_ns, uint64_t ended_ns)
{
	if (!t)
		return;
	if (t->n == t->cap) {
		int cap = t->cap ? 2 * t->cap : 1024;
		struct slice *more = t->n < MAX_SLICES ? realloc(t->slices, sizeof *more * (size_t)cap) : NULL;
		if (!more) {
			t->left_out++;
			return;
		}
		t->slices = more;
		t->cap = cap;
	}
	t->slices[t->n++] = (struct slice){what, detail[0] ? strdup(detail) : NULL, begun_ns, ended_ns};
}

// The outer ones first.
static int by_begin(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;
	if (x->begun != y->begun)
		return x->begun < y->begun ? -1 : 1;
	return (x->ended < y->ended) - (x->ended > y->ended);
}

void timeline_close(struct tgc_context *c, struct timeline *t)
{
	char path[4096];
	if (!t)
		return;
	json_t *events = t->n && trace_path(c, "timeline", path, sizeof path) ? json_array() : NULL;
	qsort(t->slices, (size_t)t->n, sizeof *t->slices, by_begin);
	for (int i = 0; i < t->n; i++) {
		struct slice *s = &t->slices[i];
		if (events) // microseconds
			json_array_append_new(events, json_pack("{s:s,s:s,s:s,s:f,s:f,s:i,s:i}", "name",
			                                        s->detail ? s->detail : s->what, "cat", s->what, "ph", "X",
			                                        "ts", 1e-3 * (double)s->begun, "dur",
			                                        1e-3 * (double)(s->ended - s->begun), "pid", (int)getpid(),
			                                        "tid", 1));
		free(s->detail);
	}
	if (events)
		trace_write(json_pack("{s:o,s:s,s:I}", "traceEvents", events, "displayTimeUnit", "ms", "slicesLeftOut",
		                      (json_int_t)t->left_out),
		            path);
	free(t->slices);
	free(t);
}
