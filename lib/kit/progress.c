// A progress line on a terminal.
// In:  how much is done. Out: one line on standard error, redrawn at most ten times a second; nothing when
// standard error is no terminal.
#include "kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BAR = 28 };

struct tgc_progress {
	char label[64];
	int64_t total;
	double begun, drawn;
	bool terminal;
};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

tgc_progress *tgc_progress_begin(const char *label, int64_t total)
{
	tgc_progress *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	snprintf(p->label, sizeof p->label, "%s", label ? label : "");
	p->total = total > 0 ? total : 1;
	p->begun = now();
	p->terminal = isatty(STDERR_FILENO) != 0;
	return p;
}

void tgc_progress_update(tgc_progress *p, int64_t done, const char *note)
{
	if (!p || !p->terminal)
		return;
	double t = now();
	if (t - p->drawn < 0.1 && done < p->total)
		return;
	p->drawn = t;
	char bar[BAR + 1];
	int64_t full = done >= p->total ? BAR : done * BAR / p->total;
	memset(bar, '#', (size_t)full);
	memset(bar + full, '.', (size_t)(BAR - full));
	bar[BAR] = 0;
	double left = done > 0 ? (t - p->begun) * (double)(p->total - done) / (double)done : 0;
	fprintf(stderr, "\r%s [%s] %lld/%lld %.0f s left  %s\033[K", p->label, bar, (long long)done,
	        (long long)p->total, left, note ? note : "");
	fflush(stderr);
}

void tgc_progress_end(tgc_progress **p)
{
	if (!p || !*p)
		return;
	if ((*p)->terminal)
		fprintf(stderr, "\r\033[K");
	free(*p);
	*p = NULL;
}
