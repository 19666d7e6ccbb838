// Trace files as structs.
// In:  a folder that TGC_TRACE filled, or one of its plan files. Out: struct dump, in the order of the files' names.
#include "dump.h"

#include "ceiling.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { VERSION = 2 };

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static double number_of(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static int int_of(const json_t *o, const char *key) { return (int)number_of(o, key); }

static struct dump_buffer buffer_of(const json_t *j)
{
	return (struct dump_buffer){.class = text_of(j, "class"),
	                            .type = text_of(j, "type"),
	                            .holds = text_of(j, "holds"),
	                            .name = text_of(j, "name"),
	                            .shape = json_object_get(j, "shape"),
	                            .strides = json_object_get(j, "strides"),
	                            .bytes = number_of(j, "bytes"),
	                            .offset = number_of(j, "offset"),
	                            .first = int_of(j, "first"),
	                            .last = int_of(j, "last")};
}

static struct dump_step step_of(const struct dump_plan *p, int at, json_t *j)
{
	bool copy = strcmp(text_of(j, "kind"), "copy") == 0;
	struct dump_step s = {.plan = p,
	                      .at = at,
	                      .kernel = copy ? -1 : int_of(j, "kernel"),
	                      .title = text_of(j, "title"),
	                      .name = text_of(j, "name"),
	                      .site = text_of(j, "site"),
	                      .group = copy ? "copy" : text_of(j, "group"),
	                      .why = text_of(j, "why"),
	                      .bound_by = copy ? "bytes" : text_of(j, "bound_by"),
	                      .launches = number_of(j, "launches"),
	                      .median_us = number_of(j, "median_us"),
	                      .least_us = number_of(j, "least_us"),
	                      .bound_us = number_of(j, "bound_us"),
	                      .model_us = number_of(j, "model_us"),
	                      .bytes_read = copy ? number_of(j, "bytes") : number_of(j, "bytes_read"),
	                      .bytes_written = copy ? number_of(j, "bytes") : number_of(j, "bytes_written"),
	                      .bytes_unfused = copy ? 2 * number_of(j, "bytes") : number_of(j, "bytes_unfused"),
	                      .flops = number_of(j, "flops"),
	                      .compile_ms = number_of(j, "compile_ms"),
	                      .scratch_bytes = number_of(j, "scratch_bytes"),
	                      .threads = copy ? 1 : int_of(j, "threads"),
	                      .launches_unfused = copy ? 1 : int_of(j, "launches_unfused"),
	                      .spills = int_of(j, "spills"),
	                      .from_disk = json_is_true(json_object_get(j, "from_disk")),
	                      .json = j,
	                      .operations = json_object_get(j, "operations"),
	                      .arguments = json_object_get(j, "arguments")};
	s.total_us = s.launches * s.median_us;
	return s;
}

// false: no plan of this version.
static bool plan_of(struct dump_plan *p, json_t *j, const char *path)
{
	json_t *buffers = json_object_get(j, "buffers"), *steps = json_object_get(j, "steps");
	*p = (struct dump_plan){.json = j};
	if (int_of(j, "version") != VERSION || !json_is_array(buffers) || !json_is_array(steps)) {
		fprintf(stderr, "tgc dump-kernels: %s: not a plan of version %d\n", path, VERSION);
		return false;
	}
	snprintf(p->file, sizeof p->file, "%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
	p->target = text_of(j, "target");
	p->threads = int_of(j, "threads");
	p->arena_bytes = number_of(j, "arena_bytes");
	p->peak_bytes = number_of(j, "peak_bytes");
	p->lower_bound_bytes = number_of(j, "lower_bound_bytes");
	p->nbuffers = (int)json_array_size(buffers);
	p->nsteps = (int)json_array_size(steps);
	p->buffers = calloc((size_t)p->nbuffers + 1, sizeof *p->buffers);
	p->steps = calloc((size_t)p->nsteps + 1, sizeof *p->steps);
	if (!p->buffers || !p->steps)
		return false;
	for (int i = 0; i < p->nbuffers; i++)
		p->buffers[i] = buffer_of(json_array_get(buffers, (size_t)i));
	for (int i = 0; i < p->nsteps; i++) {
		p->steps[i] = step_of(NULL, i, json_array_get(steps, (size_t)i));
		p->runs = p->steps[i].launches > p->runs ? p->steps[i].launches : p->runs;
		p->run_us += p->steps[i].median_us;
	}
	return true;
}

static int load_file(struct dump *d, const char *path)
{
	json_error_t error;
	json_t *j = json_load_file(path, 0, &error);
	struct dump_plan *more = realloc(d->plans, sizeof *more * ((size_t)d->nplans + 1));
	if (more)
		d->plans = more;
	if (!j)
		fprintf(stderr, "tgc dump-kernels: %s: %s\n", path, error.text);
	if (!j || !more) {
		json_decref(j);
		return 1;
	}
	if (!plan_of(&more[d->nplans], j, path)) {
		free(more[d->nplans].buffers);
		free(more[d->nplans].steps);
		json_decref(j);
		return 1;
	}
	d->nplans++;
	return 0;
}

static int is_plan(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return strncmp(e->d_name, "plan-", 5) == 0 && n > 5 && strcmp(e->d_name + n - 5, ".json") == 0;
}

static int load_folder(struct dump *d, const char *path)
{
	struct dirent **names;
	char file[4096];
	int n = scandir(path, &names, is_plan, alphasort), status = n < 0;
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
		if (!status)
			status = load_file(d, file);
		free(names[i]);
	}
	if (n < 0)
		perror(path);
	else
		free(names);
	if (!status && d->nplans == 0) {
		fprintf(stderr, "tgc dump-kernels: no plan in %s: nothing was realized on the device cpu\n", path);
		return 1;
	}
	return status;
}

int dump_load(struct dump *d, const char *path)
{
	struct stat st;
	*d = (struct dump){0};
	if (stat(path, &st)) {
		perror(path);
		return 1;
	}
	int status = S_ISDIR(st.st_mode) ? load_folder(d, path) : load_file(d, path);
	for (int i = 0; i < d->nplans; i++) // the array stands still now
		for (int s = 0; s < d->plans[i].nsteps; s++)
			d->plans[i].steps[s].plan = &d->plans[i];
	return status;
}

void dump_free(struct dump *d)
{
	for (int i = 0; i < d->nplans; i++) {
		free(d->plans[i].buffers);
		free(d->plans[i].steps);
		json_decref(d->plans[i].json);
	}
	free(d->plans);
	*d = (struct dump){0};
}

double dump_copy_rate(const struct dump_ceilings *c, int all, double bytes)
{
	int i = 1;
	while (i + 1 < DUMP_SIZES && bytes > dump_sizes[i])
		i++;
	double part = log(bytes / dump_sizes[i - 1]) / log(dump_sizes[i] / dump_sizes[i - 1]);
	part = bytes <= dump_sizes[0] || part < 0 ? 0 : part > 1 ? 1 : part;
	return c->copy[all][i - 1] + part * (c->copy[all][i] - c->copy[all][i - 1]);
}

static void bound(struct dump_step *s, const struct dump_ceilings *c)
{
	int all = s->threads > 1;
	double moved = s->bytes_read + s->bytes_written;
	double bytes = 1e-3 * moved / dump_copy_rate(c, all, moved), math = 1e-3 * s->flops / c->fma[all];
	s->ceiling_us = bytes > math ? bytes : math;
	s->bound_by = bytes > math ? "bytes" : "flops";
}

const double dump_sizes[DUMP_SIZES] = {32e3, 512e3, 8e6, 128e6};

void dump_measure(struct dump *d, struct dump_ceilings *c)
{
	int threads = d->nplans ? d->plans[0].threads : 1;
	size_t most = (size_t)dump_sizes[DUMP_SIZES - 1] / 2 / 64 * 64;
	float *from = aligned_alloc(64, most), *to = aligned_alloc(64, most);
	struct ceiling *one = ceiling_open(1), *every = ceiling_open(threads);
	if (from && to && one && every) {
		memset(from, 0, most);
		memset(to, 1, most);
		for (int all = 0; all < 2; all++) {
			for (int i = 0; i < DUMP_SIZES; i++)
				c->copy[all][i] = ceiling_copy(all ? every : one, to, from, (size_t)dump_sizes[i] / 2 / 64 * 64);
			c->fma[all] = ceiling_fma(all ? every : one);
		}
		for (int i = 0; i < d->nplans; i++)
			for (int k = 0; k < d->plans[i].nsteps; k++)
				bound(&d->plans[i].steps[k], c);
	}
	ceiling_close(one);
	ceiling_close(every);
	free(from);
	free(to);
}
