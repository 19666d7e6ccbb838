// Another framework as a co-process, so that its turns alternate with ours: bench_peers.py run by the
// interpreter that the user names. In:  a workload's inputs and results, handed over as files. Out:
// milliseconds of a turn. The talk, a line each way: "open NAME DIR INPUTS OUTPUTS" gives a line of KIND ERROR
// pairs (ERROR: how far its results are from ours, -1: not compared), empty if it has none; "turn KIND" gives
// milliseconds. It ends with its input. Not here: what it computes and how it times (bench_peers.py).
#include "bench.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char script[] =
#include "bench_peers_py.h"
    ;

struct bench_peer {
	char folder[32], kinds[BENCH_PEERS][32];
	pid_t pid;
	FILE *to, *from;
	bool lost;
};

static bool write_file(const char *path, const void *data, size_t bytes)
{
	FILE *f = fopen(path, "wb");
	bool good = f && fwrite(data, 1, bytes, f) == bytes;
	if (f && fclose(f) != 0)
		good = false;
	if (!good)
		fprintf(stderr, "tgc bench: cannot write %s\n", path);
	return good;
}

struct bench_peer *bench_peer_start(const char *python, int threads)
{
	char path[64], count[16];
	struct bench_peer *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	strcpy(p->folder, "/tmp/tgc-peer-XXXXXX");
	if (!mkdtemp(p->folder)) {
		fprintf(stderr, "tgc bench: cannot make a folder like %s\n", p->folder);
		free(p);
		return NULL;
	}
	signal(SIGPIPE, SIG_IGN); // a peer that died is an answer that does not come
	snprintf(path, sizeof path, "%s/peers.py", p->folder);
	snprintf(count, sizeof count, "%d", threads);
	char *argv[] = {(char *)python, path, count, NULL};
	p->pid = write_file(path, script, sizeof script - 1) ? bench_spawn(argv, &p->to, &p->from) : -1;
	if (p->pid > 0 && p->to && p->from)
		return p;
	fprintf(stderr, "tgc bench: cannot run %s\n", python);
	bench_peer_stop(p);
	return NULL;
}

bool bench_peer_stop(struct bench_peer *p)
{
	char path[64];
	if (!p)
		return true;
	bool good = !p->lost;
	if (p->to)
		fclose(p->to);
	if (p->from)
		fclose(p->from);
	if (p->pid > 0)
		waitpid(p->pid, NULL, 0);
	snprintf(path, sizeof path, "%s/peers.py", p->folder);
	unlink(path);
	if (rmdir(p->folder) != 0)
		fprintf(stderr, "tgc bench: cannot remove %s\n", p->folder);
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
	snprintf(path, bytes, "%s/%s%d", p->folder, what, i);
}

static bool hand_over(struct bench_peer *p, tgc_tensor *t, const char *what, int i)
{
	char path[64];
	size_t bytes = (size_t)tgc_tensor_elems(t) * tgc_type_bytes(tgc_tensor_type(t));
	void *data = malloc(bytes);
	name_file(p, what, i, path, sizeof path);
	bool good = data && tgc_read(t, data, bytes) == TGC_OK && write_file(path, data, bytes);
	free(data);
	return good;
}

// Inputs and parameters, as record met them; and the outputs, unless a step changes the parameters.
static bool hand_over_all(struct bench_peer *p, struct bench_run *r, int *ins, int *outs)
{
	tgc_tensor *out[BENCH_OUT];
	bool good = true;
	*ins = *outs = 0;
	for (int i = 0; i < r->w->inputs; i++)
		good = good && hand_over(p, r->in[i], "in", (*ins)++);
	bool fixed = !r->w->optim && r->w->record != NULL;
	tgc_scope_begin(r->c);
	int n = 0;
	if (fixed && bench_step(r, out, &n) != TGC_OK)
		good = false;
	for (int i = 0; n && r->params && i < tgc_params_count(r->params); i++)
		good = good && hand_over(p, tgc_param(r->params, i), "in", (*ins)++);
	for (int i = 0; i < n; i++)
		good = good && hand_over(p, out[i], "out", (*outs)++);
	tgc_scope_end(r->c);
	return good;
}

static void forget(struct bench_peer *p, const char *what, int count)
{
	char path[64];
	for (int i = 0; i < count; i++) {
		name_file(p, what, i, path, sizeof path);
		unlink(path);
	}
}

int bench_peer_open(struct bench_peer *p, struct bench_run *r, struct bench_peer_result *out)
{
	char line[512], *rest = line;
	int ins, outs, n = 0, used;
	bool good = hand_over_all(p, r, &ins, &outs);
	snprintf(line, sizeof line, "open %s %s %d %d\n", r->w->name, p->folder, ins, outs);
	good = good && ask(p, line, line, sizeof line);
	forget(p, "in", ins);
	forget(p, "out", outs);
	while (good && n < BENCH_PEERS && sscanf(rest, "%31s %lf%n", out[n].kind, &out[n].error, &used) == 2) {
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
