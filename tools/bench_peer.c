// Other frameworks as a co-process, so that their turns alternate with ours: bench_peers.py run by the
// interpreter that the user names. In:  a workload's inputs, first parameters and results, handed over as .npy
// files. Out: milliseconds of a turn. The talk, a line each way: "open NAME DIR INPUTS PARAMS RESULTS STEPS"
// gives a line of KIND ERROR FIRST (ERROR: how far its results are from ours, -1: not compared; FIRST:
// milliseconds of its first step), empty if it has none; "turn KIND" gives milliseconds. STEPS: the results are
// the losses of so many training steps, or what these steps made of the parameters. It ends with its input. Not
// here: what it computes and how it times (bench_peers*.py).
#include "bench.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char talk[] =
#include "bench_peers_py.h"
    ;
static const char names[] =
#include "bench_peers_names_py.h"
    ;
static const char in_torch[] =
#include "bench_peers_torch_py.h"
    ;
static const char in_jax[] =
#include "bench_peers_jax_py.h"
    ;
static const char in_tinygrad[] =
#include "bench_peers_tinygrad_py.h"
    ;
static const struct {
	const char *name, *text;
} scripts[] = {
    {"bench_peers.py", talk},
    {"bench_peers_names.py", names},
    {"bench_peers_torch.py", in_torch},
    {"bench_peers_jax.py", in_jax},
    {"bench_peers_tinygrad.py", in_tinygrad},
};
enum { SCRIPTS = sizeof scripts / sizeof *scripts, NPY_HEAD = 192 };

struct bench_peer {
	char folder[64], kinds[BENCH_PEERS][32];
	pid_t pid;
	FILE *to, *from;
	bool lost;
};

static bool write_file(const char *path, const void *head, size_t head_bytes, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");
	bool good = f && fwrite(head, 1, head_bytes, f) == head_bytes && fwrite(data, 1, bytes, f) == bytes;
	if (f && fclose(f) != 0)
		good = false;
	if (!good)
		fprintf(stderr, "tgc bench: cannot write %s\n", path);
	return good;
}

static bool write_scripts(const struct bench_peer *p)
{
	char path[96];
	bool good = true;
	for (int i = 0; i < SCRIPTS; i++) {
		snprintf(path, sizeof path, "%s/%s", p->folder, scripts[i].name);
		good = good && write_file(path, "", 0, scripts[i].text, strlen(scripts[i].text));
	}
	return good;
}

// A library that serves large requests again without giving their pages back first, where it is installed: without
// it the peers' large tensors are slower. NULL: it is not.
static const char *allocator(void)
{
	static const char *const places[] = {
	    "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4", "/usr/lib/aarch64-linux-gnu/libtcmalloc_minimal.so.4",
	    "/usr/lib64/libtcmalloc_minimal.so.4", "/usr/lib/libtcmalloc_minimal.so.4",
	    "/usr/local/lib/libtcmalloc_minimal.so.4"};
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (access(places[i], R_OK) == 0)
			return places[i];
	return NULL;
}

// With the allocator loaded ahead, unless the caller loads something himself.
static pid_t spawn(char **argv, FILE **to, FILE **from)
{
	const char *library = getenv("LD_PRELOAD") ? NULL : allocator();
	if (library)
		setenv("LD_PRELOAD", library, 1);
	pid_t pid = bench_spawn(argv, to, from);
	if (library)
		unsetenv("LD_PRELOAD");
	fprintf(stderr, "tgc bench: the peers allocate by %s\n", library ? library : "what they come with");
	return pid;
}

struct bench_peer *bench_peer_start(const char *python, int threads, bool gpu)
{
	char path[96], count[16];
	struct bench_peer *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	if (!bench_folder_new("peer", p->folder, sizeof p->folder)) {
		free(p);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN); // a peer that died is an answer that does not come
	snprintf(path, sizeof path, "%s/%s", p->folder, scripts[0].name);
	snprintf(count, sizeof count, "%d", threads);
	// -B: no compiled copies beside the scripts
	char *argv[] = {(char *)python, "-B", path, count, gpu ? "cuda" : "cpu", NULL};
	p->pid = write_scripts(p) ? spawn(argv, &p->to, &p->from) : -1;
	if (p->pid > 0 && p->to && p->from)
		return p;
	fprintf(stderr, "tgc bench: cannot run %s\n", python);
	bench_peer_stop(p);
	return NULL;
}

bool bench_peer_stop(struct bench_peer *p)
{
	if (!p)
		return true;
	bool good = !p->lost;
	if (p->to)
		fclose(p->to);
	if (p->from)
		fclose(p->from);
	if (p->pid > 0)
		waitpid(p->pid, NULL, 0);
	bench_folder_remove(p->folder);
	free(p);
	return good;
}

// False: the process is gone, which is said once.
static bool ask(struct bench_peer *p, const char *question, char *answer, size_t bytes)
{
	if (p->lost)
		return false;
	fputs(question, p->to);
	if (fflush(p->to) == 0 && fgets(answer, (int)bytes, p->from))
		return true;
	fprintf(stderr, "tgc bench: the peers ended at \"%.*s\"\n", (int)strcspn(question, "\n"), question);
	p->lost = true;
	return false;
}

static void name_file(const struct bench_peer *p, const char *what, int i, char *path, size_t bytes)
{
	snprintf(path, bytes, "%s/%s%d.npy", p->folder, what, i);
}

// The head of an .npy file, version 1: padded to NPY_HEAD bytes, the last one a line feed.
static void npy_head(tgc_type t, tgc_shape s, char *head)
{
	char text[NPY_HEAD];
	int n = snprintf(text, sizeof text, "{'descr': '<%c%zu', 'fortran_order': False, 'shape': (",
	                 t <= TGC_BF16 ? 'f' : 'i', tgc_type_bytes(t));
	for (int i = 0; i < s.rank; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "%lld,", (long long)s.dims[i]);
	n += snprintf(text + n, sizeof text - (size_t)n, ")}");
	memset(head, ' ', NPY_HEAD);
	memcpy(head, "\x93NUMPY\x01\x00", 8);
	head[8] = (char)(NPY_HEAD - 10);
	head[9] = 0;
	memcpy(head + 10, text, (size_t)n);
	head[NPY_HEAD - 1] = '\n';
}

static bool hand_over(struct bench_peer *p, const char *what, int i, tgc_type t, tgc_shape s, const void *data,
                      size_t bytes)
{
	char path[96], head[NPY_HEAD];
	name_file(p, what, i, path, sizeof path);
	npy_head(t, s, head);
	return write_file(path, head, NPY_HEAD, data, bytes);
}

// NumPy has no bf16: f32 holds it.
static bool hand_tensor(struct bench_peer *p, const char *what, int i, tgc_tensor *t)
{
	t = tgc_tensor_type(t) == TGC_BF16 ? tgc_cast(t, TGC_F32) : t;
	size_t bytes = (size_t)tgc_tensor_elems(t) * tgc_type_bytes(tgc_tensor_type(t));
	void *data = malloc(bytes);
	bool good = data && tgc_read(t, data, bytes) == TGC_OK &&
	            hand_over(p, what, i, tgc_tensor_type(t), tgc_tensor_shape(t), data, bytes);
	free(data);
	return good;
}

struct handed {
	int ins, params, outs, steps;
};

// Takes the first training steps and hands over their losses, in one file.
static bool hand_losses(struct bench_peer *p, struct bench_run *r, struct handed *h)
{
	float loss[BENCH_STEPS];
	bool good = true;
	for (int i = 0; good && i < BENCH_STEPS; i++) {
		tgc_tensor *out[BENCH_OUT];
		int n;
		tgc_scope_begin(r->c);
		good = bench_step(r, out, &n) == TGC_OK;
		loss[i] = good ? (float)tgc_item(out[0]) : 0;
		tgc_scope_end(r->c);
	}
	h->steps = BENCH_STEPS;
	return good && hand_over(p, "out", h->outs++, TGC_F32, TGC_SHAPE(BENCH_STEPS), loss, sizeof loss);
}

static bool hand_params(struct bench_peer *p, struct bench_run *r, const char *what, int *count)
{
	bool good = true;
	for (int i = 0; r->params && i < tgc_params_count(r->params); i++)
		good = good && hand_tensor(p, what, (*count)++, tgc_param(r->params, i));
	return good;
}

// Takes the first steps of a workload that only assigns, and hands over what they made of the parameters.
static bool hand_assigned(struct bench_peer *p, struct bench_run *r, struct handed *h)
{
	bool good = true;
	for (int i = 0; good && i < BENCH_STEPS; i++) {
		int n;
		tgc_scope_begin(r->c);
		good = bench_step(r, NULL, &n) == TGC_OK;
		tgc_scope_end(r->c);
	}
	h->steps = BENCH_STEPS;
	return good && hand_params(p, r, "out", &h->outs);
}

static bool hand_outputs(struct bench_peer *p, struct bench_run *r, struct handed *h)
{
	tgc_tensor *out[BENCH_OUT];
	int n;
	tgc_scope_begin(r->c);
	bool good = bench_step(r, out, &n) == TGC_OK;
	for (int i = 0; i < n; i++)
		good = good && hand_tensor(p, "out", h->outs++, out[i]);
	tgc_scope_end(r->c);
	return good;
}

static bool hand_all(struct bench_peer *p, struct bench_run *r, struct handed *h)
{
	bool good = true;
	for (int i = 0; i < r->w->inputs; i++)
		good = good && hand_tensor(p, "in", h->ins++, r->in[i]);
	good = good && hand_params(p, r, "param", &h->params);
	if (r->w->optim)
		return good && hand_losses(p, r, h);
	return good && (r->w->assigns ? hand_assigned : hand_outputs)(p, r, h);
}

static void forget(struct bench_peer *p, const char *what, int count)
{
	char path[96];
	for (int i = 0; i < count; i++) {
		name_file(p, what, i, path, sizeof path);
		unlink(path);
	}
}

int bench_peer_open(struct bench_peer *p, struct bench_run *r, struct bench_peer_result *out)
{
	struct handed h = {0};
	char line[512], *rest = line;
	int n = 0, used;
	bool good = hand_all(p, r, &h);
	snprintf(line, sizeof line, "open %s %s %d %d %d %d\n", r->w->name, p->folder, h.ins, h.params, h.outs,
	         h.steps);
	good = good && ask(p, line, line, sizeof line);
	forget(p, "in", h.ins);
	forget(p, "param", h.params);
	forget(p, "out", h.outs);
	while (good && n < BENCH_PEERS &&
	       sscanf(rest, "%31s %lf %lf%n", out[n].kind, &out[n].error, &out[n].first_ms, &used) == 3) {
		strcpy(p->kinds[n], out[n].kind);
		rest += used;
		n++;
	}
	return n;
}

double bench_peer_turn(struct bench_peer *p, int i)
{
	// Long enough for the threads of either side to fall asleep.
	static const struct timespec pause = {0, 5000000};
	char line[64];
	snprintf(line, sizeof line, "turn %s\n", p->kinds[i]);
	double ms = ask(p, line, line, sizeof line) ? atof(line) : 0;
	nanosleep(&pause, NULL);
	return ms;
}
