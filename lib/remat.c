// Values computed again where memory is short.
// In:  a plan that is placed, and what its arena may hold. Out: the same plan with steps that run a group once more,
// and buffers for what these write; placed. A repeated step is the very kernel that ran before on the same values,
// so results keep their bits. While the fullest step is over the budget, a buffer that lies idle there is given up
// and its group runs again before the next use, with the groups whose results are gone by then; each such change
// makes the fullest step less full, or one fewer of them. The cheapest by bytes and steps saved comes first.
// Not here: which step uses which memory (memory.c), what a group computes (group.c).
#include "plan.h"

#include <stdlib.h>

enum { MAX_CHAIN = 48, MAX_TRIES = 48, MAX_ATTEMPTS = 16, SMALL = 8 };

struct work { // what a step of the plan does to the arena
	int32_t *bufs;
	int nreads, n; // read ones first, then written ones
	int32_t before; // may be repeated while this step has not run; 0: never
	double ns;
};
struct entry {
	int32_t step; // of the plan as it was
	bool again;
};
struct choice {
	int32_t buf, before; // to be computed again at this place
	double score;
};
struct load {
	int64_t most;
	int count, at; // places that are as full; the first of them
};
struct remat {
	struct plan *p;
	const struct target *target;
	struct arena *scratch;
	int nsteps, nbufs; // of the plan as it was
	const struct pstep *steps;
	struct work *work;   // by step
	int32_t *maker;      // by buffer: the step that writes it, -1
	struct entry *list, *trial;
	int n, cap;
	int nuses, uses_cap;
	int64_t *live;        // by place
	int32_t *begun, *last; // by buffer: the version that is alive
	int32_t *uses_at, *uses; // by buffer, in order: twice the place, and one if it is written there
	int32_t *upcoming;    // by place: the first step from there on that is no repetition
	struct choice *choices;
	int32_t chain[MAX_CHAIN];
	int nchain;
};

// ---- what steps do ------------------------------------------------------------------------------------------
static bool in_arena(const struct remat *r, int buf)
{
	return r->p->bufs[buf].cls == BUF_ARENA && r->p->bufs[buf].bytes > 0;
}

static int64_t bytes_of(const struct remat *r, int buf)
{
	return plan_aligned(r->p->bufs[buf].bytes);
}

static bool read_once(const struct work *w, int buf)
{
	for (int i = 0; i < w->n; i++)
		if (w->bufs[i] == buf)
			return false;
	return true;
}

// A variable's old value is gone once a step has written to it: the first one, by leaf. NULL: out of memory.
static int32_t *first_writers(const struct remat *r)
{
	const struct plan *p = r->p;
	int32_t *writer = ARENA_ARRAY(r->scratch, int32_t, p->prog.nleaves + 1);

	for (int i = 0; writer && i < p->prog.nleaves; i++)
		writer[i] = r->nsteps;
	for (int i = r->nsteps - 1; writer && i >= 0; i--) {
		const struct pstep *s = &r->steps[i];
		bool copy = s->kind == STEP_COPY;
		const int32_t *to = copy ? &s->dst : p->groups[s->group].root_bufs;

		for (int k = copy ? 0 : p->groups[s->group].nroots - 1; k >= 0; k--)
			if (p->bufs[to[k]].cls == BUF_LEAF)
				writer[p->bufs[to[k]].index] = i;
	}
	return writer;
}

static void writes(struct remat *r, int step, int buf)
{
	struct work *w = &r->work[step];

	if (buf < 0 || !in_arena(r, buf))
		return;
	w->bufs[w->n++] = buf;
	r->maker[buf] = step;
}

static bool learn_kernel(struct remat *r, int step, const int32_t *writer)
{
	const struct plan *p = r->p;
	const struct group *g = &p->groups[r->steps[step].group];
	struct work *w = &r->work[step];
	struct group_size size;
	struct source *s;
	int n = group_walk(p, r->steps[step].group, &s, &size);
	double bytes = 0;

	w->bufs = n < 0 ? NULL : ARENA_ARRAY(r->scratch, int32_t, n + g->nroots + 1);
	w->before = r->nsteps;
	for (int i = 0; w->bufs && i < n; i++) {
		int buf = p->node_buf[s[i].node];

		bytes += (double)p->bufs[buf].bytes;
		if (p->bufs[buf].cls == BUF_LEAF && writer[p->bufs[buf].index] < w->before)
			w->before = writer[p->bufs[buf].index];
		if (in_arena(r, buf) && read_once(w, buf))
			w->bufs[w->n++] = buf;
	}
	free(s);
	if (w->bufs && g->half == HALF_FINISH)
		w->bufs[w->n++] = g->scratch_buf;
	w->nreads = w->n;
	for (int i = 0; w->bufs && i < g->nroots; i++) {
		bytes += (double)p->bufs[g->root_bufs[i]].bytes;
		if (p->bufs[g->root_bufs[i]].cls == BUF_LEAF)
			w->before = 0;
		writes(r, step, g->root_bufs[i]);
	}
	if (w->bufs && g->half == HALF_NONE)
		writes(r, step, g->scratch_buf);
	w->ns = group_ns(p, r->target, g, bytes, &size);
	return w->bufs != NULL;
}

static bool learn(struct remat *r)
{
	const int32_t *writer = first_writers(r);

	for (int i = 0; i < r->nbufs; i++)
		r->maker[i] = -1;
	for (int i = 0; writer && i < r->nsteps; i++) {
		struct work *w = &r->work[i];

		if (r->steps[i].kind == STEP_KERNEL) {
			if (!learn_kernel(r, i, writer))
				return false;
			continue;
		}
		w->bufs = ARENA_ARRAY(r->scratch, int32_t, 2);
		if (!w->bufs)
			return false;
		if (in_arena(r, r->steps[i].src))
			w->bufs[w->n++] = r->steps[i].src;
		w->nreads = w->n;
		writes(r, i, r->steps[i].dst);
	}
	return writer != NULL;
}

// ---- how full it is -----------------------------------------------------------------------------------------
// A buffer holds one version from each step that writes it to the last one that reads that; nothing in between.
static void end_version(struct remat *r, int buf)
{
	if (r->begun[buf] < 0)
		return;
	r->live[r->begun[buf]] += bytes_of(r, buf);
	r->live[r->last[buf] + 1] -= bytes_of(r, buf);
}

static struct load measure(struct remat *r, const struct entry *list, int n)
{
	struct load load = {0};

	memset(r->live, 0, sizeof *r->live * (size_t)(n + 1));
	for (int b = 0; b < r->nbufs; b++)
		r->begun[b] = -1;
	for (int i = 0; i < n; i++) {
		const struct work *w = &r->work[list[i].step];

		for (int k = 0; k < w->n; k++) {
			if (k >= w->nreads) {
				end_version(r, w->bufs[k]);
				r->begun[w->bufs[k]] = i;
			}
			r->last[w->bufs[k]] = i;
		}
	}
	for (int b = 0; b < r->nbufs; b++)
		end_version(r, b);
	for (int i = 0; i < n; i++) {
		r->live[i] += i ? r->live[i - 1] : 0;
		if (r->live[i] > load.most)
			load = (struct load){.most = r->live[i], .at = i};
		load.count += r->live[i] == load.most;
	}
	return load;
}

static bool less(const struct load *a, const struct load *b)
{
	return a->most != b->most ? a->most < b->most : a->count < b->count;
}

// ---- what may be given up -----------------------------------------------------------------------------------
static void find_uses(struct remat *r)
{
	int total = 0;

	memset(r->uses_at, 0, sizeof *r->uses_at * (size_t)(r->nbufs + 2));
	for (int i = 0; i < r->n; i++)
		for (int k = 0; k < r->work[r->list[i].step].n; k++)
			r->uses_at[r->work[r->list[i].step].bufs[k] + 2]++;
	for (int b = 2; b < r->nbufs + 2; b++)
		r->uses_at[b] = total += r->uses_at[b];
	for (int i = 0; i < r->n; i++) {
		const struct work *w = &r->work[r->list[i].step];

		for (int k = 0; k < w->n; k++)
			r->uses[r->uses_at[w->bufs[k] + 1]++] = 2 * i + (k >= w->nreads);
	}
	for (int i = r->n, next = r->nsteps; i >= 0; i--) {
		next = i < r->n && !r->list[i].again ? r->list[i].step : next;
		r->upcoming[i] = next;
	}
}

// The first use of the buffer at the place or later; uses_at[buf + 1] if there is none.
static int use_from(const struct remat *r, int buf, int place)
{
	int i = r->uses_at[buf];

	while (i < r->uses_at[buf + 1] && r->uses[i] / 2 < place)
		i++;
	return i;
}

static bool alive(const struct remat *r, int buf, int place)
{
	int i = use_from(r, buf, place);

	return i < r->uses_at[buf + 1] && !(r->uses[i] & 1);
}

static bool repeats(const struct remat *r, int step, int place)
{
	return step >= 0 && r->steps[step].kind == STEP_KERNEL && r->upcoming[place] <= r->work[step].before &&
	       r->work[step].before > 0;
}

static bool link(struct remat *r, int step)
{
	for (int i = 0; i < r->nchain; i++)
		if (r->chain[i] == step)
			return true;
	if (r->nchain == MAX_CHAIN)
		return false;
	r->chain[r->nchain++] = step;
	return true;
}

static int by_number(const void *x, const void *y)
{
	return *(const int32_t *)x - *(const int32_t *)y;
}

// Steps to repeat so that `buf` is there at the place. stretch: small values that are gone by then are kept until
// then instead; so are those that cannot be computed again.
static bool find_chain(struct remat *r, int buf, int place, bool stretch, double *ns)
{
	*ns = 0;
	r->nchain = 0;
	if (!repeats(r, r->maker[buf], place) || !link(r, r->maker[buf]))
		return false;
	for (int i = 0; i < r->nchain; i++) {
		const struct work *w = &r->work[r->chain[i]];

		*ns += w->ns;
		for (int k = 0; k < w->nreads; k++) {
			int from = r->maker[w->bufs[k]];

			if (!alive(r, w->bufs[k], place) && repeats(r, from, place) &&
			    !(stretch && SMALL * bytes_of(r, w->bufs[k]) <= bytes_of(r, buf)) && !link(r, from))
				return false;
		}
	}
	qsort(r->chain, (size_t)r->nchain, sizeof *r->chain, by_number); // steps were in order
	return true;
}

static int by_score(const void *x, const void *y)
{
	const struct choice *a = x, *b = y;

	return a->score != b->score ? (a->score > b->score ? -1 : 1) : a->buf - b->buf;
}

// Buffers that are alive at the place and not used there, the best first.
static int find_choices(struct remat *r, int place)
{
	int n = 0;

	for (int b = 0; b < r->nbufs; b++) {
		int i = use_from(r, b, place), next;
		double ns;

		if (!in_arena(r, b) || i == r->uses_at[b] || i == r->uses_at[b + 1] || r->uses[i] & 1 ||
		    r->uses[i] / 2 == place)
			continue;
		next = r->uses[i] / 2;
		if (find_chain(r, b, next, true, &ns))
			r->choices[n++] = (struct choice){
			    b, next, (double)bytes_of(r, b) * (next - r->uses[i - 1] / 2) / ns};
	}
	qsort(r->choices, (size_t)n, sizeof *r->choices, by_score);
	return n;
}

static bool attempt(struct remat *r, const struct choice *c, bool stretch, struct load *load)
{
	struct load after;
	double ns;
	int uses = r->nuses;

	if (!find_chain(r, c->buf, c->before, stretch, &ns))
		return false;
	for (int i = 0; i < r->nchain; i++)
		uses += r->work[r->chain[i]].n;
	if (r->n + r->nchain > r->cap || uses > r->uses_cap)
		return false;
	memcpy(r->trial, r->list, sizeof *r->list * (size_t)c->before);
	for (int i = 0; i < r->nchain; i++)
		r->trial[c->before + i] = (struct entry){r->chain[i], true};
	memcpy(r->trial + c->before + r->nchain, r->list + c->before,
	       sizeof *r->list * (size_t)(r->n - c->before));
	after = measure(r, r->trial, r->n + r->nchain);
	if (!less(&after, load))
		return false;
	memcpy(r->list, r->trial, sizeof *r->list * (size_t)(r->n + r->nchain));
	r->n += r->nchain;
	r->nuses = uses;
	*load = after;
	return true;
}

static bool improve(struct remat *r, struct load *load)
{
	int n;

	find_uses(r);
	n = find_choices(r, load->at);
	for (int i = 0; i < n && i < MAX_TRIES; i++)
		if (attempt(r, &r->choices[i], true, load) || attempt(r, &r->choices[i], false, load))
			return true;
	return false;
}

// Repetitions that later choices made unnecessary go.
static void trim(struct remat *r, int64_t goal)
{
	for (int i = r->n - 1; i >= 0; i--) {
		if (!r->list[i].again)
			continue;
		memcpy(r->trial, r->list, sizeof *r->list * (size_t)i);
		memcpy(r->trial + i, r->list + i + 1, sizeof *r->list * (size_t)(r->n - i - 1));
		if (measure(r, r->trial, r->n - 1).most > goal)
			continue;
		r->n--;
		r->nuses -= r->work[r->list[i].step].n;
		memcpy(r->list, r->trial, sizeof *r->list * (size_t)r->n);
	}
}

// ---- the new plan -------------------------------------------------------------------------------------------
static void use_version(struct pstep *s, int buf, int version)
{
	if (version == buf)
		return;
	if (s->kind == STEP_COPY) {
		s->src = s->src == buf ? version : s->src;
		s->dst = s->dst == buf ? version : s->dst;
		return;
	}
	s->moved[2 * s->nmoved] = buf;
	s->moved[2 * s->nmoved++ + 1] = version;
}

// The first version is the buffer itself, each later one a new buffer.
static bool emit(struct remat *r)
{
	struct plan *p = r->p;
	int32_t *version = ARENA_ARRAY(r->scratch, int32_t, r->nbufs + 1);
	int more = 0;

	for (int i = 0; i < r->n; i++)
		more += r->list[i].again ? r->work[r->list[i].step].n : 0;
	p->bufs = arena_grow(&p->arena, p->bufs, sizeof *p->bufs * (size_t)r->nbufs,
	                     sizeof *p->bufs * (size_t)(r->nbufs + more));
	p->steps = ARENA_ARRAY(&p->arena, struct pstep, r->n + 1);
	p->nbufs = r->nbufs;
	p->nsteps = 0;
	for (int b = 0; version && b < r->nbufs; b++)
		version[b] = -1;
	for (int i = 0; i < r->n && version && !p->arena.failed; i++) {
		const struct work *w = &r->work[r->list[i].step];
		struct pstep *s = &p->steps[p->nsteps++];

		*s = r->steps[r->list[i].step];
		s->moved = ARENA_ARRAY(&p->arena, int32_t, 2 * w->n);
		for (int k = 0; k < w->n && s->moved; k++) {
			int b = w->bufs[k];

			if (k >= w->nreads && version[b] >= 0) {
				version[b] = p->nbufs;
				p->bufs[p->nbufs++] = p->bufs[b];
			} else if (k >= w->nreads) {
				version[b] = b;
			}
			use_version(s, b, version[b]);
		}
	}
	return version && !p->arena.failed;
}

static bool prepare(struct remat *r)
{
	struct arena *a = r->scratch;

	r->cap = 4 * r->nsteps + 256;
	r->work = ARENA_ARRAY(a, struct work, r->nsteps + 1);
	r->maker = ARENA_ARRAY(a, int32_t, r->nbufs + 1);
	r->list = ARENA_ARRAY(a, struct entry, r->cap);
	r->trial = ARENA_ARRAY(a, struct entry, r->cap);
	r->live = ARENA_ARRAY(a, int64_t, r->cap + 2);
	r->begun = ARENA_ARRAY(a, int32_t, r->nbufs + 1);
	r->last = ARENA_ARRAY(a, int32_t, r->nbufs + 1);
	r->uses_at = ARENA_ARRAY(a, int32_t, r->nbufs + 2);
	r->upcoming = ARENA_ARRAY(a, int32_t, r->cap + 1);
	r->choices = ARENA_ARRAY(a, struct choice, r->nbufs + 1);
	if (a->failed || !learn(r))
		return false;
	for (int i = 0; i < r->nsteps; i++) {
		r->nuses += r->work[i].n;
		r->list[r->n++] = (struct entry){i, false};
	}
	r->uses_cap = 4 * r->nuses + 256;
	r->uses = ARENA_ARRAY(a, int32_t, r->uses_cap);
	return r->uses != NULL;
}

bool plan_fit(struct plan *p, const struct target *t, int64_t budget, struct arena *scratch)
{
	struct remat r = {.p = p,
	                  .target = t,
	                  .scratch = scratch,
	                  .nsteps = p->nsteps,
	                  .nbufs = p->nbufs,
	                  .steps = p->steps};
	int64_t goal = budget, least = p->peak_bytes;
	struct load load;

	if (!prepare(&r))
		return false;
	load = measure(&r, r.list, r.n);
	for (int i = 0; i < MAX_ATTEMPTS && goal > 0; i++) {
		while (load.most > goal && improve(&r, &load))
			;
		if (load.most <= goal)
			trim(&r, goal);
		if (!emit(&r) || !plan_place(p))
			return false;
		least = p->peak_bytes < least ? p->peak_bytes : least;
		if (p->peak_bytes <= budget || load.most > goal)
			break;
		goal -= p->peak_bytes - budget; // what packing cannot use
		load = measure(&r, r.list, r.n);
	}
	p->peak_bytes = least;
	return true;
}
