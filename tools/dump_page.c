// The listing: a summary of each plan, a table of its kernels, and one paragraph a kernel.
// In:  what was chosen. Out: text, or the same as JSON (the trace's own schema, with the sums added).
#include "dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_OPS = 24 };
static const double SMALL_SHARE = 0.01; // a plan below it is only counted

const char *dump_bytes(double bytes)
{
	static char ring[8][24];
	static int at;
	static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
	char *s = ring[at++ % 8];
	int u = 0;
	while (bytes >= 999.5 && u < 4) {
		bytes /= 1000;
		u++;
	}
	snprintf(s, sizeof *ring, bytes < 10 && u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
	return s;
}

void dump_shape(json_t *shape, const char *type, char *text, size_t bytes)
{
	size_t i, n = (size_t)snprintf(text, bytes, "%s[", type ? type : "");
	json_t *d;
	json_array_foreach(shape, i, d) if (n + 24 < bytes) n +=
	    (size_t)snprintf(text + n, bytes - n, "%s%lld", i ? "," : "", (long long)json_integer_value(d));
	snprintf(text + n, bytes - n, "]");
}

// "253.6 ms"; in a ring of texts, good for one line.
static const char *time_text(double us)
{
	static char ring[8][24];
	static int at;
	char *s = ring[at++ % 8];
	const char *unit = us >= 1e6 ? "s" : us >= 1e3 ? "ms" : "us";
	snprintf(s, sizeof *ring, "%.4g %s", us >= 1e6 ? 1e-6 * us : us >= 1e3 ? 1e-3 * us : us, unit);
	return s;
}

static const char *s_of(double n) { return n == 1 ? "" : "s"; } // of more than one

static bool coloured(void) { return isatty(1) && !getenv("NO_COLOR"); }

static const char *bold(void) { return coloured() ? "\033[1m" : ""; }

static const char *plain(void) { return coloured() ? "\033[0m" : ""; }

static double best_us(const struct dump_step *s) { return s->ceiling_us > 0 ? s->ceiling_us : s->bound_us; }

// ---- a kernel ----------------------------------------------------------------------------------------------------------

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

// Operations in a row that come from one place of the user's program share a line.
static void print_operations(const struct dump_step *s)
{
	const char *name = NULL, *site = NULL;
	bool gradient = false;
	char shape[96];
	size_t i;
	int shown = 0, more = 0;
	json_t *op;
	json_array_foreach(s->operations, i, op) {
		bool g = json_is_true(json_object_get(op, "gradient"));
		if (json_object_get(op, "literal"))
			continue;
		if (shown == SHOWN_OPS) {
			more++;
			continue;
		}
		if (!name || strcmp(name, text_of(op, "name")) != 0 || strcmp(site, text_of(op, "site")) != 0 || g != gradient) {
			name = text_of(op, "name");
			site = text_of(op, "site");
			gradient = g;
			printf("%s%s%s%s%s%s%s:", shown ? "\n            " : "  fused     ", gradient ? "gradient of " : "", name,
			       name[0] && site[0] ? " (" : "", site, name[0] && site[0] ? ")" : "",
			       name[0] || site[0] ? "" : "unnamed");
		}
		dump_shape(json_object_get(op, "shape"), text_of(op, "type"), shape, sizeof shape);
		printf(" %s %s", text_of(op, "op"), shape);
		shown++;
	}
	if (more)
		printf("\n            and %d more (--json lists them)", more);
	printf("%s\n", shown ? "" : "  fused     literals only");
}

static void print_layout(const struct dump_buffer *b)
{
	size_t n = json_array_size(b->strides), i;
	json_int_t want = 1;
	bool rows = true;
	for (i = n; i-- > 0;) {
		rows &= json_integer_value(json_array_get(b->strides, i)) == want ||
		        json_integer_value(json_array_get(b->shape, i)) == 1;
		want *= json_integer_value(json_array_get(b->shape, i));
	}
	if (rows)
		return;
	printf(" strides {");
	for (i = 0; i < n; i++)
		printf("%s%lld", i ? "," : "", (long long)json_integer_value(json_array_get(b->strides, i)));
	printf("}");
}

static void print_arguments(const struct dump_step *s, bool written)
{
	enum { SHOWN = 8 };
	char shape[96];
	int shown = 0;
	size_t i;
	json_t *a;
	printf("  %-9s", written ? "writes" : "reads");
	json_array_foreach(s->arguments, i, a) {
		int at = (int)json_integer_value(json_object_get(a, "buffer"));
		if (!json_is_true(json_object_get(a, written ? "written" : "read")) || at < 0 || at >= s->plan->nbuffers)
			continue;
		if (shown++ >= SHOWN)
			continue;
		const struct dump_buffer *b = &s->plan->buffers[at];
		dump_shape(b->shape, b->type, shape, sizeof shape);
		printf("%s b%d %s %s%s%s", shown > 1 ? "," : "", at, shape, b->class, b->name[0] ? " " : "", b->name);
		print_layout(b);
	}
	printf("%s", shown ? "" : " nothing");
	if (shown > SHOWN)
		printf(", and %d more", shown - SHOWN);
	printf("\n");
}

// The rate that bounds it: measured here, or the target record's.
static void print_bound(const struct dump_step *s, const struct dump_ceilings *c)
{
	double moved = s->bytes_read + s->bytes_written;
	int all = s->threads > 1;
	printf("\n  time      at best %s (%s", time_text(best_us(s)), s->bound_by);
	if (s->ceiling_us <= 0)
		printf(", the target record's rates)");
	else if (strcmp(s->bound_by, "bytes") == 0)
		printf(" at %.1f GB/s, measured)", dump_copy_rate(c, all, moved));
	else
		printf(" at %.0f GF/s, measured)", c->fma[all]);
}

static void print_numbers(const struct dump_step *s, const struct dump_ceilings *c)
{
	double moved = s->bytes_read + s->bytes_written, best = best_us(s);
	printf("  bytes     %s moved, %s if each operation were a kernel of its own (%d launch%s)", dump_bytes(moved),
	       dump_bytes(s->bytes_unfused), s->launches_unfused, s->launches_unfused == 1 ? "" : "es");
	if (s->flops > 0)
		printf("; %.*f Mflop", s->flops < 1e7 ? 2 : 0, 1e-6 * s->flops);
	print_bound(s, c);
	if (s->launches > 0 && s->median_us > 0)
		printf("; took %s, %.1f times that (median of %.0f, least %s): %.1f GB/s, %.1f GF/s", time_text(s->median_us),
		       best > 0 ? s->median_us / best : 0, s->launches, time_text(s->least_us), 1e-3 * moved / s->median_us,
		       1e-3 * s->flops / s->median_us);
	printf("\n");
}

static void print_code(const struct dump_step *s)
{
	size_t i;
	json_t *b;
	printf("  code      blocks");
	json_array_foreach(json_object_get(s->json, "blocks"), i, b)
	    printf("%s%lld", i ? ", then " : " ", (long long)json_integer_value(b));
	printf(" on %d thread%s; %s %.1f ms; %s scratch a thread, %d spill%s\n", s->threads, s_of(s->threads),
	       s->from_disk ? "from the disk cache in" : "compiled in", s->compile_ms, dump_bytes(s->scratch_bytes),
	       s->spills, s_of(s->spills));
}

// For a GPU that need not be there.
static void print_gpu(const struct dump_step *s)
{
	json_t *gpu = json_object_get(s->json, "gpu"), *f, *registers;
	const char *why = text_of(gpu, "why");
	size_t i;
	json_array_foreach(json_object_get(gpu, "functions"), i, f) {
		printf("  %-9s %s: %lld blocks of %lld threads, %s shared memory", i ? "" : text_of(gpu, "target"), text_of(f, "name"),
		       (long long)json_integer_value(json_object_get(f, "blocks")),
		       (long long)json_integer_value(json_object_get(f, "threads")),
		       dump_bytes((double)json_integer_value(json_object_get(f, "shared_bytes"))));
		if ((registers = json_object_get(f, "registers")))
			printf(", %lld registers, %s spilled", (long long)json_integer_value(registers),
			       dump_bytes((double)json_integer_value(json_object_get(f, "spill_bytes"))));
		printf("\n");
	}
	if (why[0])
		printf("  %-9s no machine code: %s\n", "", why);
}

static void print_text(const struct dump_step *s, const char *key)
{
	const char *text = text_of(s->json, key);
	printf("  ---- %s\n%s%s", key, text, text[0] && text[strlen(text) - 1] == '\n' ? "" : "\n");
}

static void print_texts(const struct dump_step *s, const char *emit)
{
	static const char *const kinds[] = {"ir", "llvm", "asm", "cuda", "ptx"};
	for (size_t i = 0; emit && i < sizeof kinds / sizeof *kinds; i++)
		if (strstr(emit, kinds[i]))
			print_text(s, kinds[i]);
}

static void print_kernel(const struct dump_step *s, int number, const struct dump_options *o,
                         const struct dump_ceilings *c)
{
	printf("\n%sp%d.%d %s %s%s\n", bold(), number, s->at, s->group, s->title, plain());
	if (s->kernel < 0) {
		printf("  copies    %s\n", dump_bytes(s->bytes_read));
		return;
	}
	print_operations(s);
	printf("  ends here %s\n", s->why);
	print_arguments(s, false);
	print_arguments(s, true);
	print_numbers(s, c);
	print_code(s);
	print_gpu(s);
	print_texts(s, o->emit);
}

// ---- the table -----------------------------------------------------------------------------------------------------------

static void print_plan(const struct dump_plan *p, int number)
{
	int kernels = 0, copies;
	double moved = 0, unfused = 0, leaves = 0;
	for (int i = 0; i < p->nsteps; i++) {
		kernels += p->steps[i].kernel >= 0;
		moved += p->steps[i].bytes_read + p->steps[i].bytes_written;
		unfused += p->steps[i].bytes_unfused;
	}
	for (int i = 0; i < p->nbuffers; i++)
		leaves += strcmp(p->buffers[i].class, "leaf") == 0 ? p->buffers[i].bytes : 0;
	copies = p->nsteps - kernels;
	printf("%splan %d%s, run %.0f time%s, %s in kernels each: %d kernel%s, %d cop%s, %s moved against %s unfused\n", bold(),
	       number, plain(), p->runs, s_of(p->runs), time_text(p->run_us), kernels, s_of(kernels), copies,
	       copies == 1 ? "y" : "ies", dump_bytes(moved), dump_bytes(unfused));
	printf("  memory: variables and inputs %s, arena %s", dump_bytes(leaves), dump_bytes(p->arena_bytes));
	if (p->peak_bytes > 0) {
		printf(", its peak %s (lower bound %s) in ", dump_bytes(p->peak_bytes), dump_bytes(p->lower_bound_bytes));
		dump_peak(p, number);
	}
	printf("\n");
}

static double time_of(const struct dump_plan *p) { return p->runs * p->run_us; }

static int by_time(const void *a, const void *b)
{
	const struct dump_plan *x = *(const struct dump_plan *const *)a, *y = *(const struct dump_plan *const *)b;
	double tx = time_of(x), ty = time_of(y);
	return tx != ty ? (tx < ty) - (tx > ty) : (x > y) - (x < y);
}

// Those that cost the run most first; the small ones are counted only, but for --plan.
static void print_plans(const struct dump *d, bool every)
{
	const struct dump_plan **p = calloc((size_t)d->nplans + 1, sizeof *p);
	double all = 0, rest = 0;
	int shown = 0;
	for (int i = 0; p && i < d->nplans; i++) {
		p[i] = &d->plans[i];
		all += time_of(p[i]);
	}
	if (p)
		qsort(p, (size_t)d->nplans, sizeof *p, by_time);
	for (; p && shown < d->nplans && (every || !shown || time_of(p[shown]) >= SMALL_SHARE * all); shown++) {
		print_plan(p[shown], (int)(p[shown] - d->plans));
		if (every)
			dump_arena(p[shown]);
	}
	for (int i = shown; p && i < d->nplans; i++)
		rest += time_of(p[i]);
	if (shown < d->nplans)
		printf("%d smaller plan%s, %s together (--plan lists all)\n", d->nplans - shown, s_of(d->nplans - shown),
		       time_text(rest));
	free(p);
}

static void print_row(const struct dump_step *s, double all, int plan)
{
	double best = best_us(s), moved = s->bytes_read + s->bytes_written;
	bool ran = s->launches > 0 && s->median_us > 0;
	printf("p%d.%-4d %-9s %9.*f %6.1f %8.0f %8.*f %5.0f %7.1f %7.1f %9s %9s  %s\n", plan, s->at, s->group,
	       s->median_us < 100 ? 2 : 0, s->median_us, all > 0 ? 100 * s->total_us / all : 0, s->launches,
	       best < 100 ? 2 : 0, best, ran ? 100 * best / s->median_us : 0,
	       ran ? 1e-3 * moved / s->median_us : 0, ran ? 1e-3 * s->flops / s->median_us : 0, dump_bytes(moved),
	       dump_bytes(s->bytes_unfused), s->title);
}

// The kernel whose distance from its bound costs the run most.
static const struct dump_step *to_look_at(struct dump_step *const *s, int n)
{
	const struct dump_step *worst = NULL;
	double most = 0;
	for (int i = 0; i < n; i++) {
		double lost = s[i]->launches * (s[i]->median_us - best_us(s[i]));
		if (s[i]->kernel >= 0 && lost > most) {
			most = lost;
			worst = s[i];
		}
	}
	return worst;
}

static void print_words(void)
{
	printf("\nkernel p1.2 is step 2 of plan 1, one launch. Its kind: map (elementwise), reduce, contract (a product or\n"
	       "convolution), scatter, segmented (one body over many tensors), chain (stages over a block of rows, what passes\n"
	       "between them in scratch), beside (several that need nothing of each other), library, copy. best: the larger of\n"
	       "bytes moved over the copy ceiling of that working set and flops over the FMA ceiling; best%%: best over\n"
	       "measured time. b3 is buffer 3 of its plan: leaf (a variable or an input), out (an output), arena (between\n"
	       "steps), flags (of index checks), scratch. \"ends here\" says why fusion stopped: an estimate with its two\n"
	       "times, else a rule. Flops of a convolution's gradient count the zeros of its padding. The first run of a kernel\n"
	       "also pays for fresh memory: with few runs see the least time.\n");
}

static void print_ceilings(const struct dump_ceilings *c, const struct dump_plan *p)
{
	const double busy = 1.3; // threads that have a processor each add up
	if (c->fma[1] <= 0)
		return;
	printf("ceilings measured here (%s, %d thread%s), one thread / all: FMA %.0f / %.0f GF/s; copy of", p->target, p->threads,
	       s_of(p->threads), c->fma[0], c->fma[1]);
	for (int i = 0; i < DUMP_SIZES; i++)
		printf("%s %s %.0f / %.0f GB/s", i ? "," : "", dump_bytes(dump_sizes[i]), c->copy[0][i], c->copy[1][i]);
	printf("\n");
	if (p->threads > 1 && c->fma[1] < busy * c->fma[0])
		printf("warning: %d threads computed no faster than one just now: something else is running, times and ceilings say "
		       "little\n", p->threads);
}

void dump_page(const struct dump *d, const struct dump_options *o, const struct dump_ceilings *c)
{
	int n;
	struct dump_step **s = dump_select(d, o, &n);
	double all = 0;
	if (!s)
		return;
	for (int i = 0; i < d->nplans; i++)
		for (int k = 0; k < d->plans[i].nsteps; k++)
			all += d->plans[i].steps[k].total_us;
	const struct dump_step *first = to_look_at(s, n);
	if (first)
		printf("look first at %sp%d.%d%s: %s, %s of them above its bound, run %.0f time%s, %.0f %% of all kernel time\n",
		       bold(), (int)(first->plan - d->plans), first->at, plain(), time_text(first->median_us),
		       time_text(first->median_us - best_us(first)), first->launches, s_of(first->launches),
		       100 * first->total_us / all);
	print_ceilings(c, &d->plans[0]);
	print_plans(d, o->plan);
	printf("\n%-7s %-8s %10s %6s %8s %8s %5s %7s %7s %9s %9s  %s\n", "kernel", "kind", "us", "share%", "runs", "best us",
	       "best%", "GB/s", "GF/s", "moved", "unfused", "operations");
	for (int i = 0; i < n; i++)
		print_row(s[i], all, (int)(s[i]->plan - d->plans));
	for (int i = 0; i < n; i++)
		print_kernel(s[i], (int)(s[i]->plan - d->plans), o, c);
	print_words();
	free(s);
}

void dump_json(const struct dump *d, const struct dump_options *o)
{
	int n;
	struct dump_step **s = dump_select(d, o, &n);
	json_t *plans = json_array(), *kernels = json_array();
	for (int i = 0; i < d->nplans; i++) {
		const struct dump_plan *p = &d->plans[i];
		json_array_append_new(plans, json_pack("{s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:f,s:i,s:O}", "file", p->file, "target",
		                                       p->target, "threads", p->threads, "runs", p->runs, "run_us", p->run_us,
		                                       "arena_bytes", p->arena_bytes, "peak_bytes", p->peak_bytes,
		                                       "lower_bound_bytes", p->lower_bound_bytes, "steps", p->nsteps, "buffers",
		                                       json_object_get(p->json, "buffers")));
	}
	for (int i = 0; s && i < n; i++) {
		json_object_set_new(s[i]->json, "plan", json_integer(s[i]->plan - d->plans));
		json_object_set_new(s[i]->json, "step", json_integer(s[i]->at));
		if (s[i]->ceiling_us > 0)
			json_object_set_new(s[i]->json, "ceiling_us", json_real(s[i]->ceiling_us));
		if (!o->emit)
			for (const char *const *t = (const char *const[]){"ir_before", "ir", "llvm", "asm", "cuda", "ptx", NULL}; *t; t++)
				json_object_del(s[i]->json, *t);
		json_array_append(kernels, s[i]->json);
	}
	json_t *all = json_pack("{s:i,s:o,s:o}", "version", 2, "plans", plans, "kernels", kernels);
	json_dumpf(all, stdout, JSON_INDENT(1));
	printf("\n");
	json_decref(all);
	free(s);
}
