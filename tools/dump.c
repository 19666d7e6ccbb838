// `tgc dump-kernels`: every generated kernel of a run, and why it looks so.
// In:  a program to run, a folder that TGC_TRACE filled, a plan file, or a saved program. Out: the listing.
// Not here: the parts of the listing, a file each (dump.h).
#include "dump.h"

#include "commands.h"

#include <dirent.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <tgc/tgc.h>
#include <unistd.h>

extern char **environ;

static void usage(FILE *to)
{
	fprintf(to,
	        "usage: tgc dump-kernels [OPTION]... -- PROGRAM [ARGUMENT]...   run it and list its kernels\n"
	        "       tgc dump-kernels [OPTION]... PATH    a folder filled by TGC_TRACE=FOLDER, a plan file in it, or a\n"
	        "                                            program saved by tgc_program_save (not run: no times)\n"
	        "       tgc dump-kernels diff A B            compare two such folders by structure\n\n"
	        "  --kernel RE      kernels whose title, name or place (\"p0.3\") matches this extended regular expression\n"
	        "  --op NAME        kernels that contain this operation\n"
	        "  --sort KEY       time (of all runs; the default), bytes, spills, or order\n"
	        "  --top N          the first N\n"
	        "  --emit=KIND,...  also the text of each kernel: ir (tgc's own), llvm, asm, cuda (CUDA C), ptx (by NVRTC)\n"
	        "  --target sm_NN   cuda, ptx: for this GPU, which need not be there (75, 80, 90, 100, 120); sm_90 if not given. Fused\n"
	        "                   as this machine's plan is. Where NVRTC is installed, with registers, spills and shared memory. A\n"
	        "                   folder has it if TGC_TRACE_TARGET=sm_NN was set when it was filled\n"
	        "  --plan           also each plan: its steps, the arena over time, the peak and who holds it\n"
	        "  --repro FILE     write the first kernel chosen as a C file of its own, with inputs\n"
	        "  --json           one JSON object (--schema describes it); --emit adds the texts\n"
	        "  --no-ceilings    compare with the target record's rates instead of measuring this machine's\n"
	        "  --schema         the fields of the JSON files and of --json\n"
	        "  --help           this text\n");
}

static void schema(void)
{
	printf("--json: {version, plans: [plan], kernels: [step]}. TGC_TRACE=FOLDER writes plan-PID-N.json (a plan with its\n"
	       "steps) and timeline-PID-N.json (Chrome's trace events, for Perfetto). Bytes are bytes, us microseconds.\n\n"
	       "plan     file, target, threads, runs, run_us (sum of medians), arena_bytes, peak_bytes, lower_bound_bytes,\n"
	       "         steps (their number), buffers: [buffer]\n"
	       "buffer   class (leaf, out, arena, flags, scratch), type, shape, strides (elements), bytes, offset (arena),\n"
	       "         first, last (steps that write it first and read it last), holds (operation), name, site, gradient\n"
	       "step     kind (kernel, copy), plan, step, title, name and site of the main operation, gradient (it was\n"
	       "         appended by tgc_grad), kernel, group (map, reduce, contract, scatter, segmented, chain, or beside:\n"
	       "         several), why (why fusion ended here; of several, with the buffers that each writes), blocks (a phase), threads, from_disk, compile_ms, operations: [operation],\n"
	       "         bytes_unfused and launches_unfused (each operation a kernel of its own), arguments: [{buffer,\n"
	       "         parameter, segmented, read, written}], scalars (types of late ones), bytes_read, bytes_written,\n"
	       "         flops, bound_us, bound_by (bytes, flops; rates of the target record), model_us (with a\n"
	       "         launch, as the scheduler assumes it), ceiling_us (bound_us with measured rates), scratch_bytes (a thread), spills, launches, median_us, least_us; with --emit\n"
	       "         ir_before and ir (before and after the passes), llvm, asm, cuda, ptx; with --target gpu\n"
	       "gpu      target, why (there are no registers: no NVRTC, or its messages), functions: [{name, blocks, threads,\n"
	       "         shared_bytes (as declared), registers, stack_bytes, spill_bytes (stored and loaded) of a thread}]\n"
	       "operation  node, op, type, shape, name, site, gradient; literal: every element is this number\n");
}

// ---- choosing -------------------------------------------------------------------------------------------------------------

bool dump_chosen(const struct dump_options *o, const struct dump_step *s)
{
	size_t i;
	json_t *op;
	bool has = !o->op;
	if (!has)
		json_array_foreach(s->operations, i, op)
		    has |= strcmp(json_string_value(json_object_get(op, "op")), o->op) == 0;
	return has;
}

static bool matches(const struct dump_options *o, const struct dump *d, const struct dump_step *s)
{
	char place[48];
	snprintf(place, sizeof place, "p%d.%d", (int)(s->plan - d->plans), s->at);
	return !o->kernel_set || !regexec(&o->kernel, s->title, 0, NULL, 0) || !regexec(&o->kernel, s->name, 0, NULL, 0) ||
	       !regexec(&o->kernel, place, 0, NULL, 0);
}

static enum dump_sort sort_by; // qsort has no place for it

static int in_order(const void *a, const void *b)
{
	const struct dump_step *x = *(struct dump_step *const *)a, *y = *(struct dump_step *const *)b;
	double vx = sort_by == SORT_TIME    ? x->total_us
	            : sort_by == SORT_BYTES ? x->bytes_read + x->bytes_written
	                                    : x->spills;
	double vy = sort_by == SORT_TIME    ? y->total_us
	            : sort_by == SORT_BYTES ? y->bytes_read + y->bytes_written
	                                    : y->spills;
	if (vx != vy && sort_by != SORT_ORDER)
		return vx > vy ? -1 : 1;
	return x->plan != y->plan ? (x->plan > y->plan) - (x->plan < y->plan) : x->at - y->at;
}

struct dump_step **dump_select(const struct dump *d, const struct dump_options *o, int *n)
{
	int all = 0;
	for (int i = 0; i < d->nplans; i++)
		all += d->plans[i].nsteps;
	struct dump_step **s = calloc((size_t)all + 1, sizeof *s);
	*n = 0;
	for (int i = 0; s && i < d->nplans; i++)
		for (int k = 0; k < d->plans[i].nsteps; k++)
			if (dump_chosen(o, &d->plans[i].steps[k]) && matches(o, d, &d->plans[i].steps[k]))
				s[(*n)++] = &d->plans[i].steps[k];
	sort_by = o->sort;
	if (s)
		qsort(s, (size_t)*n, sizeof(struct dump_step *), in_order);
	*n = o->top > 0 && o->top < *n ? o->top : *n;
	return s;
}

// ---- where traces come from ------------------------------------------------------------------------------------------------

void dump_remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	char path[4096];
	for (struct dirent *e; dir && (e = readdir(dir));)
		if (e->d_name[0] != '.' && snprintf(path, sizeof path, "%s/%s", folder, e->d_name) < (int)sizeof path)
			unlink(path);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

bool dump_make_folder(char *folder, size_t bytes)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(folder, bytes, "%s/tgc-dump-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (mkdtemp(folder) && setenv("TGC_TRACE", folder, 1) == 0)
		return true;
	perror(folder);
	return false;
}

// The program's own output goes to standard error, so that the listing can be piped.
static int run_program(char **argv)
{
	pid_t pid;
	int status;
	posix_spawn_file_actions_t a;
	posix_spawn_file_actions_init(&a);
	posix_spawn_file_actions_adddup2(&a, 2, 1);
	int error = posix_spawnp(&pid, argv[0], &a, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&a);
	if (error) {
		fprintf(stderr, "tgc dump-kernels: %s: %s\n", argv[0], strerror(error));
		return 1;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 1;
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fprintf(stderr, "tgc dump-kernels: %s ended with %s %d; what it wrote is shown\n", argv[0],
		        WIFEXITED(status) ? "status" : "signal", WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return 0;
}

static bool is_saved_program(const char *path)
{
	char magic[8] = "";
	FILE *f = fopen(path, "rb");
	bool saved = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "tgcprog1", 8) == 0;
	if (f)
		fclose(f);
	return saved;
}

// Loading schedules and compiles it; that is what is traced.
static int load_program(const char *path)
{
	tgc_context *c = tgc_context_new(NULL);
	tgc_program *p = tgc_program_load(c, path);
	int status = p == NULL;
	if (status)
		tgc_print_error(c);
	tgc_program_free(&p);
	tgc_context_free(&c);
	return status;
}

// ---- the command -------------------------------------------------------------------------------------------------------------

static int show(struct dump *d, const struct dump_options *o, bool ceilings)
{
	struct dump_ceilings c = {0};
	int n;
	if (o->repro) {
		struct dump_step **s = dump_select(d, o, &n);
		int status = s && n ? dump_repro(s[0], o->repro) : 1;
		if (s && !n)
			fprintf(stderr, "tgc dump-kernels: --repro: no kernel is chosen\n");
		free(s);
		return status;
	}
	if (ceilings)
		dump_measure(d, &c);
	if (o->json)
		dump_json(d, o);
	else
		dump_page(d, o, &c);
	return 0;
}

static int list(const char *path, char **program, const struct dump_options *o, bool ceilings)
{
	struct dump d = {0};
	char folder[512] = "";
	bool run = program && *program, saved = !run && is_saved_program(path);
	int status = 0;
	if ((run || saved) && !dump_make_folder(folder, sizeof folder))
		return 1;
	if (o->target || (o->emit && (strstr(o->emit, "cuda") || strstr(o->emit, "ptx"))))
		setenv("TGC_TRACE_TARGET", o->target ? o->target : "sm_90", 1);
	if (run)
		status = run_program(program);
	else if (saved)
		status = load_program(path);
	if (!status)
		status = dump_load(&d, folder[0] ? folder : path);
	unsetenv("TGC_TRACE");
	if (folder[0])
		dump_remove_folder(folder);
	if (!status)
		status = show(&d, o, ceilings && !saved);
	dump_free(&d);
	return status;
}

static int wrong(const char *what, const char *value)
{
	fprintf(stderr, "tgc dump-kernels: %s \"%s\"\n", what, value);
	usage(stderr);
	return 2;
}

// The value of "--name value" or "--name=value"; NULL: argv[*i] is another option.
static const char *value_of(const char *name, int argc, char **argv, int *i)
{
	size_t n = strlen(name);
	if (strncmp(argv[*i], name, n) != 0)
		return NULL;
	if (argv[*i][n] == '=')
		return argv[*i] + n + 1;
	return !argv[*i][n] && *i + 1 < argc ? argv[++*i] : NULL;
}

static bool parse_sort(const char *v, enum dump_sort *sort)
{
	static const char *const names[] = {"time", "bytes", "spills", "order"};
	for (int i = 0; i < 4; i++)
		if (strcmp(v, names[i]) == 0) {
			*sort = (enum dump_sort)i;
			return true;
		}
	return false;
}

static bool parse_emit(const char *v)
{
	static const char *const kinds[] = {"ir", "llvm", "asm", "cuda", "ptx"};
	while (*v) {
		size_t n = strcspn(v, ",");
		bool known = false;
		for (int i = 0; i < 5; i++)
			known |= n == strlen(kinds[i]) && !strncmp(v, kinds[i], n);
		if (!known)
			return false;
		v += n + (v[n] == ',');
	}
	return true;
}

static bool parse_target(const char *v)
{
	static const char *const names[] = {"sm_75", "sm_80", "sm_90", "sm_100", "sm_120"};
	for (int i = 0; i < 5; i++)
		if (strcmp(v, names[i]) == 0)
			return true;
	return false;
}

// 0: understood, else the exit status.
static int parse_option(int argc, char **argv, int *i, struct dump_options *o)
{
	const char *v, *name = argv[*i];
	if ((v = value_of("--kernel", argc, argv, i))) {
		if (o->kernel_set)
			regfree(&o->kernel);
		o->kernel_set = regcomp(&o->kernel, v, REG_EXTENDED | REG_NOSUB) == 0;
		return o->kernel_set ? 0 : wrong("--kernel takes a regular expression, not", v);
	}
	if ((v = value_of("--op", argc, argv, i))) {
		o->op = v;
		return 0;
	}
	if ((v = value_of("--sort", argc, argv, i)))
		return parse_sort(v, &o->sort) ? 0 : wrong("--sort takes time, bytes, spills or order, not", v);
	if ((v = value_of("--top", argc, argv, i))) {
		o->top = atoi(v);
		return o->top > 0 ? 0 : wrong("--top takes a number from 1 on, not", v);
	}
	if ((v = value_of("--emit", argc, argv, i))) {
		o->emit = v;
		return parse_emit(v) ? 0 : wrong("--emit takes ir, llvm, asm, cuda and ptx, not", v);
	}
	if ((v = value_of("--target", argc, argv, i))) {
		o->target = v;
		return parse_target(v) ? 0 : wrong("--target takes sm_75, sm_80, sm_90, sm_100 or sm_120, not", v);
	}
	if ((v = value_of("--repro", argc, argv, i))) {
		o->repro = v;
		return 0;
	}
	return wrong("there is no option, or no value for,", name);
}

static int diff(int argc, char **argv)
{
	if (argc == 4)
		return dump_diff(argv[2], argv[3]);
	usage(stderr);
	return 2;
}

int command_dump_kernels(int argc, char **argv)
{
	struct dump_options o = {0};
	const char *path = NULL;
	char **program = NULL;
	bool ceilings = true;
	int status = 0;
	if (argc > 1 && !strcmp(argv[1], "diff"))
		return diff(argc, argv);
	for (int i = 1; i < argc && !program && !status; i++) {
		if (!strcmp(argv[i], "--"))
			program = argv + i + 1;
		else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return usage(stdout), 0;
		else if (!strcmp(argv[i], "--schema"))
			return schema(), 0;
		else if (!strcmp(argv[i], "--json"))
			o.json = true;
		else if (!strcmp(argv[i], "--plan"))
			o.plan = true;
		else if (!strcmp(argv[i], "--no-ceilings"))
			ceilings = false;
		else if (argv[i][0] == '-')
			status = parse_option(argc, argv, &i, &o);
		else if (path)
			status = wrong("one path at a time; a program to run stands behind \"--\". What is", argv[i]);
		else
			path = argv[i];
	}
	if (!status && !path == !(program && *program))
		status = wrong("either a path or \"--\" and a program; given:", path ? path : "");
	if (!status)
		status = list(path, program, &o, ceilings);
	if (o.kernel_set)
		regfree(&o.kernel);
	return status;
}
