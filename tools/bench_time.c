// Timing: ours, the ceiling and each peer take turns, round by round; what is reported are medians of rounds,
// and medians of the pairs that a round gives. In:  a workload, a peer process or none. Out: a result. A turn
// is one untimed step (the one before it left the caches full of something else) and then some timed ones.
#include "bench.h"
#include "ceiling.h"

#include <stdlib.h>
#include <string.h>

enum { WARM = 2, COUNTED = 3, MAX_TURN = 9 };
enum { FEW = 3, SLOW = 10 }; // so many rounds for a peer that takes so many times as long
static const double TURN_MS = 4;

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

double bench_median(double *v, int n)
{
	qsort(v, (size_t)n, sizeof *v, ascending);
	return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

double bench_timed_step(struct bench_run *r)
{
	tgc_tensor *out[BENCH_OUT];
	int n;
	tgc_scope_begin(r->c);
	double t = ceiling_now();
	tgc_status s = bench_step(r, out, &n);
	t = ceiling_now() - t;
	tgc_scope_end(r->c);
	return s == TGC_OK ? 1e3 * t : -1;
}

static double turn(struct bench_run *r)
{
	double ms[MAX_TURN], first = bench_timed_step(r), total = 0;
	int n = 0;
	for (; first >= 0 && n < MAX_TURN && (n == 0 || total < TURN_MS); n++) {
		ms[n] = bench_timed_step(r);
		if (ms[n] < 0)
			return -1;
		total += ms[n];
	}
	return n ? bench_median(ms, n) : -1;
}

static bool far_step(void *user) { return bench_timed_step(user) >= 0; }

static double turn_of(struct bench_run *r)
{
	return bench_is_far(r->c) ? 1e3 * bench_far_seconds(r->c, far_step, r) : turn(r);
}

struct buffers {
	struct ceiling *threads; // NULL: the device's ceilings
	struct bench_device device;
	float *from, *to;
	size_t bytes; // of each
};

static bool buffers_open(struct buffers *b, tgc_context *c, int threads, double moved)
{
	if (bench_is_far(c)) {
		*b = (struct buffers){0};
		return bench_device_open(&b->device, c, moved);
	}
	*b = (struct buffers){.threads = ceiling_open(threads), .bytes = (size_t)moved / 2 / 64 * 64};
	if (!b->bytes || !b->threads)
		return b->threads;
	b->from = aligned_alloc(64, b->bytes);
	b->to = aligned_alloc(64, b->bytes);
	if (!b->from || !b->to)
		return false;
	memset(b->from, 1, b->bytes);
	memset(b->to, 1, b->bytes);
	return true;
}

static void buffers_close(struct buffers *b)
{
	bench_device_close(&b->device);
	ceiling_close(b->threads);
	free(b->from);
	free(b->to);
}

static double ceiling_of(struct buffers *b)
{
	if (!b->threads)
		return b->device.bytes ? bench_device_copy(&b->device) : bench_device_fma(&b->device);
	return b->bytes ? ceiling_copy(b->threads, b->to, b->from, b->bytes) : ceiling_fma(b->threads);
}

static void rounds(struct bench_run *r, int count, struct buffers *b, struct bench_peer *peer,
                   struct bench_result *out)
{
	static double ms[BENCH_ROUNDS], ceiling[BENCH_ROUNDS], percent[BENCH_ROUNDS];
	static double theirs[BENCH_PEERS][BENCH_ROUNDS], ratio[BENCH_PEERS][BENCH_ROUNDS];
	int turns[BENCH_PEERS] = {0};
	double work = 1e-6 * (r->w->flops > 0 ? r->w->flops : r->w->bytes);
	for (int i = 0; i < count; i++) {
		ms[i] = turn_of(r);
		if (ms[i] < 0)
			return;
		ceiling[i] = ceiling_of(b);
		percent[i] = 100 * work / ms[i] / ceiling[i];
		for (int p = 0; p < out->peers_count; p++) {
			if (turns[p] == FEW && theirs[p][0] > SLOW * ms[0])
				continue;
			theirs[p][i] = bench_peer_turn(peer, p);
			if (theirs[p][i] <= 0)
				out->peers_count = 0;
			ratio[p][i] = theirs[p][i] / ms[i];
			turns[p]++;
		}
	}
	for (int p = 0; p < out->peers_count; p++) {
		out->peers[p].ms = bench_median(theirs[p], turns[p]);
		out->peers[p].ratio = bench_median(ratio[p], turns[p]);
	}
	out->ms = bench_median(ms, count);
	out->rate = work / out->ms;
	out->ceiling = bench_median(ceiling, count);
	out->percent = bench_median(percent, count);
}

// What a step counts, over some that are not timed.
static void count_step(struct bench_run *r, struct bench_result *out)
{
	tgc_stats before = tgc_get_stats(r->c);
	for (int i = 0; i < COUNTED; i++)
		bench_timed_step(r);
	tgc_stats after = tgc_get_stats(r->c);
	out->launches = (after.launches - before.launches) / COUNTED;
	out->host_us = r->w->optim ? 1e-3 * (double)(after.host_ns_build - before.host_ns_build) / COUNTED : -1;
}

bool bench_measure(const struct bench_workload *w, int threads, int count, struct bench_peer *peer,
                   struct bench_result *out)
{
	struct bench_run r;
	struct buffers b = {0};
	bool good = bench_open(&r, w, threads);
	snprintf(out->device, sizeof out->device, "%s", tgc_device_name(r.c));
	if (good && !buffers_open(&b, r.c, threads, w->bytes)) {
		fprintf(stderr, "tgc bench: no memory for what %s is compared with\n", w->name);
		good = false;
	}
	if (good) {
		if (peer)
			out->peers_count = bench_peer_open(peer, &r, out->peers);
		out->error = bench_check(&r);
		for (int i = 0; i < WARM; i++)
			bench_timed_step(&r);
		count_step(&r, out);
		if (tgc_error_status(r.c) == TGC_OK)
			rounds(&r, count, &b, peer, out);
	}
	good = good && tgc_error_status(r.c) == TGC_OK;
	tgc_print_error(r.c);
	buffers_close(&b);
	bench_close(&r);
	return good;
}
