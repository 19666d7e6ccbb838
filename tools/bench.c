// `tgc bench`: the workloads of the benchmark, timed beside the machine's ceilings.
// In:  a command line. Out: a table or JSON on standard output, progress on standard error. Exit status 1 if a
// workload failed or its result was wrong. Not here: workloads, timing, printing (bench.h).
#include "bench.h"
#include "commands.h"

#include <errno.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

static const char USAGE[] =
    "usage: tgc bench [OPTION]...\n"
    "\n"
    "  --only NAME,...     these workloads; a name also stands for all that begin with it\n"
    "  --threads N         of the CPU device, the ceilings and the peers, on as many processors (default: TGC_THREADS,\n"
    "                      else every processor that this process may use)\n"
    "  --rounds N          how often ours and the ceiling take turns, 1 to 1000 (default 21)\n"
    "  --json              one object a line instead of a table\n"
    "  --compare FILE      show the times of an earlier --json beside these\n"
    "  --peers PYTHON      the same in PyTorch (eager, channels-last, compiled), JAX and tinygrad (some), those that\n"
    "                      this interpreter has, from the same data, in turns with ours (those 10 times slower: the\n"
    "                      first 3 rounds); their results are compared with ours, the ratio is their time over ours;\n"
    "                      they allocate by tcmalloc (Debian: libtcmalloc-minimal4) where it is installed\n"
    "  --model             each kernel's time as the scheduler predicts it beside its median, the furthest off first\n"
    "  --memory            networks within memory budgets of 100, 70 and 50 % of what they take freely: peaks, the\n"
    "                      step's time over that of the free one, and whether all bits of the parameters stay\n"
    "  --tf32              products of f32 may be rounded to TF32, ours and the peers': TGC_MATMUL_PRECISION=tf32\n"
    "  --list              names of the workloads\n"
    "  --first [START_MS]  with one workload: run its first step in this process and tell how long it took, "
    "counted\n"
    "                      from START_MS on the boot clock\n"
    "  --help              this text\n";

// Above it, an f32 result is wrong rather than rounded.
static const double WORST_ERROR = 1e-3, WORST_ROUNDED = 2e-2; // where products may be rounded

struct options {
	const char *only, *compare, *peers;
	int threads, rounds;
	double begun_ms;
	bool json, list, help, first, model, memory, tf32;
};

static bool number(const char *text, int most, int *out)
{
	char *end;
	errno = 0;
	long v = text ? strtol(text, &end, 10) : 0;
	if (!text || !*text || *end || errno || v < 1 || v > most)
		return false;
	*out = (int)v;
	return true;
}

// NULL: there is none of that name.
static bool *flag_of(struct options *o, const char *name)
{
	const struct {
		const char *name;
		bool *flag;
	} flags[] = {{"--json", &o->json},   {"--list", &o->list},     {"--help", &o->help},
	             {"--model", &o->model}, {"--memory", &o->memory},
	             {"--tf32", &o->tf32}};
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
		if (!strcmp(name, flags[i].name))
			return flags[i].flag;
	return NULL;
}

// False: said why.
static bool parse(int argc, char **argv, struct options *o)
{
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
		bool good = true, takes = true;
		if (!strcmp(a, "--only"))
			good = (o->only = value) != NULL;
		else if (!strcmp(a, "--compare"))
			good = (o->compare = value) != NULL;
		else if (!strcmp(a, "--peers"))
			good = (o->peers = value) != NULL;
		else if (!strcmp(a, "--threads"))
			good = number(value, 64, &o->threads);
		else if (!strcmp(a, "--rounds"))
			good = number(value, BENCH_ROUNDS, &o->rounds);
		else if (!strcmp(a, "--first")) {
			o->first = true;
			takes = value && *value != '-';
			o->begun_ms = takes ? atof(value) : 0;
		} else {
			takes = false;
			bool *flag = flag_of(o, a);
			if (flag)
				*flag = true;
			else {
				fprintf(stderr, "tgc bench: there is no option \"%s\"\n", a);
				return false;
			}
		}
		if (!good) {
			fprintf(stderr, "tgc bench: %s does not take \"%s\"\n", a, value ? value : "");
			return false;
		}
		i += takes;
	}
	return true;
}

static bool begins(const char *name, const char *part, size_t n, bool whole)
{
	return strncmp(name, part, n) == 0 && (!whole || name[n] == 0);
}

// A part of the list that is a whole name means that one only.
static bool part_is_name(const char *part, size_t n)
{
	for (int i = 0; i < bench_workloads_count; i++)
		if (begins(bench_workloads[i].name, part, n, true))
			return true;
	return false;
}

static bool is_gpu(void)
{
	const char *device = getenv("TGC_DEVICE");
	return device && !strncmp(device, "cuda", 4);
}

// Marks the wanted ones; returns how many, 0 with a message if a part of the list names none.
static int choose(const char *only, bool *wanted)
{
	int all = 0;
	for (int i = 0; i < bench_workloads_count; i++)
		wanted[i] = !only && (is_gpu() || !bench_workloads[i].gpu);
	for (const char *part = only; part && *part; part += *part == ',') {
		size_t n = strcspn(part, ",");
		bool whole = part_is_name(part, n);
		int found = 0;
		for (int i = 0; i < bench_workloads_count; i++)
			if (n && (whole || is_gpu() || !bench_workloads[i].gpu) && begins(bench_workloads[i].name, part, n, whole))
				wanted[i] = true, found++;
		if (!found) {
			fprintf(stderr, "tgc bench: no workload is named \"%.*s\"; --list shows them\n", (int)n,
			        part);
			return 0;
		}
		part += n;
	}
	for (int i = 0; i < bench_workloads_count; i++)
		all += wanted[i];
	return all;
}

// One workload in an empty cache of its own.
static bool run(const struct bench_workload *w, const struct options *o, struct bench_peer *peer,
                struct bench_result *out)
{
	*out = (struct bench_result){.w = w};
	tgc_cache_clear();
	if (!bench_first_run(w->name, o->threads, &out->cold) ||
	    !bench_first_run(w->name, o->threads, &out->warm)) {
		fprintf(stderr, "tgc bench: %s failed in a process of its own\n", w->name);
		return false;
	}
	if (!bench_measure(w, o->threads, o->rounds, peer, out))
		return false;
	double worst = w->rough > 0 ? w->rough : o->tf32 ? WORST_ROUNDED : WORST_ERROR;
	if (out->error > worst)
		fprintf(stderr, "tgc bench: %s differs from its value in f64 by %g\n", w->name, out->error);
	return out->error <= worst;
}

static int run_all(const struct options *o, const bool *wanted, int count, const struct bench_old *old)
{
	int status = 0, at = 0;
	struct bench_peer *peer = o->peers ? bench_peer_start(o->peers, o->threads, is_gpu()) : NULL;
	if (o->peers && !peer)
		return 1;
	if (!o->json)
		bench_print_head(o->threads, o->rounds, old);
	for (int i = 0; i < bench_workloads_count; i++) {
		struct bench_result r;
		if (!wanted[i])
			continue;
		fprintf(stderr, "tgc bench: %d of %d: %s\n", ++at, count, bench_workloads[i].name);
		if (!run(&bench_workloads[i], o, peer, &r))
			status = 1;
		if (r.ms > 0 && o->json)
			bench_print_json(&r, o->threads, o->rounds, o->tf32);
		else if (r.ms > 0)
			bench_print_row(&r, old);
	}
	if (!bench_peer_stop(peer))
		status = 1;
	return status;
}

// With a cache folder of its own, which every process below it sees.
static int with_cache(const struct options *o, const bool *wanted, int count, const struct bench_old *old)
{
	char folder[64];
	bench_folder_guard();
	if (!bench_folder_new("bench", folder, sizeof folder))
		return 1;
	setenv("TGC_CACHE", folder, 1);
	int status = run_all(o, wanted, count, old);
	bench_folder_remove(folder);
	return status;
}

static int default_threads(void)
{
	cpu_set_t may;
	int n = 0;
	if (!number(getenv("TGC_THREADS"), 64, &n) && sched_getaffinity(0, sizeof may, &may) == 0)
		n = CPU_COUNT(&may);
	return n < 1 ? 1 : n > 64 ? 64 : n;
}

// As many processors as there are threads, for this process and all that it starts: neither side has more than the
// other. The first ones that it may use; on fewer, all of them.
static void pin(int threads)
{
	cpu_set_t may, used;
	if (sched_getaffinity(0, sizeof may, &may) != 0)
		return;
	CPU_ZERO(&used);
	for (size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&used) < threads; i++)
		if (CPU_ISSET(i, &may))
			CPU_SET(i, &used);
	if (sched_setaffinity(0, sizeof used, &used) != 0)
		fprintf(stderr, "tgc bench: cannot choose processors: %s\n", strerror(errno));
}

int command_bench(int argc, char **argv)
{
	struct options o = {.threads = default_threads(), .rounds = 21};
	bool wanted[BENCH_WORKLOADS];
	if (!parse(argc, argv, &o))
		return fputs(USAGE, stderr), 2;
	if (o.help)
		return fputs(USAGE, stdout), 0;
	if (o.tf32)
		setenv("TGC_MATMUL_PRECISION", "tf32", 1); // every process below it sees that
	int count = choose(o.only, wanted), one = 0;
	if (!count)
		return 2;
	for (int i = 0; o.list && i < bench_workloads_count; i++)
		if (wanted[i])
			printf("%s\n", bench_workloads[i].name);
	if (o.list)
		return 0;
	while (!wanted[one])
		one++;
	if (o.first)
		return bench_first_main(&bench_workloads[one], o.threads, o.begun_ms);
	if (o.model)
		return bench_model(wanted, o.threads, o.json);
	pin(o.threads);
	if (o.memory)
		return bench_memory(wanted, o.threads, o.rounds, o.json);
	struct bench_old *old = o.compare ? bench_old_load(o.compare) : NULL;
	int status = o.compare && !old ? 1 : with_cache(&o, wanted, count, old);
	bench_old_free(old);
	return status;
}
