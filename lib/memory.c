// Places intermediates in one arena.
// In:  a plan with steps, groups and buffers. Out: bufs[].first, last, offset_bytes; arena, peak and lower
// bound. Best fit over the free ranges, step by step; deterministic, and near-linear as few ranges are free at
// once. Not here: leaves and outputs, which have memory of their own.
#include "plan.h"

#include <stdlib.h>

enum { ALIGN = 64 };

struct range {
	int64_t at, bytes;
};
struct placing {
	struct plan *p;
	struct range *free; // sorted by place; what lies behind the last one is free too
	int nfree;
	int64_t top;
	int32_t *starts, *ends; // bufs by first and by last step
	int32_t *starts_at, *ends_at;
};

int64_t plan_aligned(int64_t bytes)
{
	return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static void touch(struct pbuf *b, int step)
{
	b->first = b->first < 0 ? step : b->first;
	b->last = step;
}

static bool touch_group(struct plan *p, int step, int group)
{
	const struct pstep *at = &p->steps[step];
	const struct group *g = &p->groups[group];
	struct source *s;
	int n = group_sources(p, group, &s);

	for (int i = 0; i < n; i++)
		touch(&p->bufs[plan_step_buf(at, p->node_buf[s[i].node])], step);
	free(s);
	for (int i = 0; i < g->nroots; i++)
		touch(&p->bufs[plan_step_buf(at, g->root_bufs[i])], step);
	if (g->scratch_buf >= 0)
		touch(&p->bufs[plan_step_buf(at, g->scratch_buf)], step);
	return n >= 0;
}

static bool live_ranges(struct plan *p)
{
	for (int i = 0; i < p->nbufs; i++)
		p->bufs[i].first = p->bufs[i].last = -1;
	for (int i = 0; i < p->nsteps; i++) {
		for (int k = 0; p->steps[i].kind == STEP_KERNEL && k < p->steps[i].ngroups; k++)
			if (!touch_group(p, i, p->steps[i].group + k))
				return false;
		if (p->steps[i].kind == STEP_KERNEL)
			continue;
		touch(&p->bufs[p->steps[i].src], i);
		touch(&p->bufs[p->steps[i].dst], i);
	}
	return true;
}

static bool wanted(const struct pbuf *b)
{
	return b->cls == BUF_ARENA && b->first >= 0 && b->bytes > 0;
}

// Counting sort of buffers by step; at[s] .. at[s + 1] are those of step s.
static void bucket(const struct plan *p, bool by_last, int32_t *list, int32_t *at)
{
	for (int i = 0; i < p->nbufs; i++)
		if (wanted(&p->bufs[i]))
			at[(by_last ? p->bufs[i].last : p->bufs[i].first) + 2]++;
	for (int s = 2; s < p->nsteps + 2; s++)
		at[s] += at[s - 1];
	for (int i = 0; i < p->nbufs; i++)
		if (wanted(&p->bufs[i]))
			list[at[(by_last ? p->bufs[i].last : p->bufs[i].first) + 1]++] = i;
}

static void remove_range(struct placing *m, int at)
{
	m->nfree--;
	memmove(m->free + at, m->free + at + 1, sizeof *m->free * (size_t)(m->nfree - at));
}

static int64_t take(struct placing *m, int64_t bytes)
{
	int best = -1;
	int64_t at;

	for (int i = 0; i < m->nfree; i++)
		if (m->free[i].bytes >= bytes && (best < 0 || m->free[i].bytes < m->free[best].bytes))
			best = i;
	if (best >= 0) {
		at = m->free[best].at;
		m->free[best].at += bytes;
		m->free[best].bytes -= bytes;
		if (m->free[best].bytes == 0)
			remove_range(m, best);
		return at;
	}
	at = m->top;
	if (m->nfree && m->free[m->nfree - 1].at + m->free[m->nfree - 1].bytes == m->top)
		at = m->free[--m->nfree].at;
	m->top = at + bytes;
	return at;
}

static void give(struct placing *m, int64_t at, int64_t bytes)
{
	int i = m->nfree;

	while (i > 0 && m->free[i - 1].at > at)
		i--;
	memmove(m->free + i + 1, m->free + i, sizeof *m->free * (size_t)(m->nfree - i));
	m->free[i] = (struct range){at, bytes};
	m->nfree++;
	if (i + 1 < m->nfree && at + bytes == m->free[i + 1].at) {
		m->free[i].bytes += m->free[i + 1].bytes;
		remove_range(m, i + 1);
	}
	if (i > 0 && m->free[i - 1].at + m->free[i - 1].bytes == at) {
		m->free[i - 1].bytes += m->free[i].bytes;
		remove_range(m, i);
	}
}

static void place(struct placing *m)
{
	struct plan *p = m->p;
	int64_t live = 0;

	p->lower_bound_bytes = 0;
	for (int s = 0; s < p->nsteps; s++) {
		for (int i = m->starts_at[s]; i < m->starts_at[s + 1]; i++) {
			struct pbuf *b = &p->bufs[m->starts[i]];

			b->offset_bytes = take(m, plan_aligned(b->bytes));
			live += plan_aligned(b->bytes);
		}
		p->peak_bytes = m->top > p->peak_bytes ? m->top : p->peak_bytes;
		p->lower_bound_bytes = live > p->lower_bound_bytes ? live : p->lower_bound_bytes;
		for (int i = m->ends_at[s]; i < m->ends_at[s + 1]; i++) {
			const struct pbuf *b = &p->bufs[m->ends[i]];

			give(m, b->offset_bytes, plan_aligned(b->bytes));
			live -= plan_aligned(b->bytes);
		}
	}
	p->arena_bytes = p->peak_bytes;
}

bool plan_place(struct plan *p)
{
	struct placing m = {.p = p};
	struct arena scratch;
	bool ok = live_ranges(p);

	arena_init(&scratch, p->arena.host);
	m.free = ARENA_ARRAY(&scratch, struct range, p->nbufs + 2);
	m.starts = ARENA_ARRAY(&scratch, int32_t, p->nbufs + 1);
	m.ends = ARENA_ARRAY(&scratch, int32_t, p->nbufs + 1);
	m.starts_at = ARENA_ARRAY(&scratch, int32_t, p->nsteps + 3);
	m.ends_at = ARENA_ARRAY(&scratch, int32_t, p->nsteps + 3);
	ok = ok && !scratch.failed;
	if (ok) {
		p->peak_bytes = 0;
		bucket(p, false, m.starts, m.starts_at);
		bucket(p, true, m.ends, m.ends_at);
		place(&m);
	}
	arena_free(&scratch);
	return ok;
}
