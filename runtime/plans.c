// Plans found by structure. A literal that is seen with a third value at one place of an otherwise equal
// program becomes a late scalar, so that a changing rate never recompiles.
// In:  a linearised program. Out: a plan ready to run: found, or scheduled, lowered, compiled and bound.
// Not here: running it (exec.c), scheduling (lib/), lowering (codegen/).
#include "runtime.h"

#include <stdlib.h>

enum { TABLE = 1024, FEW_VALUES = 2 };

struct skeleton { // programs that differ in literals only
	struct skeleton *next;
	uint64_t hash;
	uint32_t *key;
	size_t key_words;
	int nconsts;        // before promotion
	uint8_t *promoted;  // [nconsts]
	int npromoted;
	struct plan_entry *plans; // newest first; those of another npromoted are out of use
};
struct plans {
	struct skeleton *table[TABLE];
};

static struct skeleton *find(struct plans *t, const struct linear *l)
{
	for (struct skeleton *s = t->table[l->hash % TABLE]; s; s = s->next)
		if (s->hash == l->hash && s->key_words == l->key_words && s->nconsts == l->nconsts &&
		    memcmp(s->key, l->key, sizeof *l->key * l->key_words) == 0)
			return s;
	return NULL;
}

static struct skeleton *add(struct plans *t, const struct linear *l)
{
	struct skeleton *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->hash = l->hash;
	s->key_words = l->key_words;
	s->nconsts = l->nconsts;
	s->key = malloc(sizeof *s->key * (l->key_words + 1));
	s->promoted = calloc((size_t)l->nconsts + 1, 1);
	if (!s->key || !s->promoted) {
		free(s->key);
		free(s->promoted);
		free(s);
		return NULL;
	}
	memcpy(s->key, l->key, sizeof *s->key * l->key_words);
	s->next = t->table[l->hash % TABLE];
	return t->table[l->hash % TABLE] = s;
}

static struct plan_entry *match(const struct skeleton *s, const struct linear *l)
{
	for (struct plan_entry *e = s->plans; e; e = e->next)
		if (e->nconsts == l->nconsts && memcmp(e->consts, l->consts, sizeof *l->consts * (size_t)l->nconsts) == 0)
			return e;
	return NULL;
}

// Marks every literal that differs from a plan in use; mask is by the literals that l still has.
static int differing(const struct skeleton *s, const struct linear *l, uint8_t *mask)
{
	int plans = 0, more = 0;
	for (struct plan_entry *e = s->plans; e; e = e->next) {
		if (e->nconsts != l->nconsts)
			continue;
		plans++;
		for (int i = 0; i < l->nconsts; i++)
			if (e->consts[i].i != l->consts[i].i && !mask[i]) {
				mask[i] = 1;
				more++;
			}
	}
	return plans >= FEW_VALUES ? more : 0;
}

// A third value: the places that differ become late scalars. False: out of memory.
static bool promote(struct tgc_context *c, struct skeleton *s, struct linear *l)
{
	uint8_t *mask = calloc((size_t)l->nconsts + 1, 1);
	if (!mask)
		return false;
	int more = differing(s, l, mask);
	for (int i = 0, live = 0; more && i < s->nconsts; i++)
		if (!s->promoted[i])
			s->promoted[i] = mask[live++];
	bool ok = !more || linear_promote(l, mask);
	if (more) {
		s->npromoted += more;
		c->stats.promoted_literals += (uint64_t)more;
		context_log(c, 'p', "%d literal%s seen with a third value: late scalar%s from now on", more,
		            more > 1 ? "s" : "", more > 1 ? "s" : "");
	}
	free(mask);
	return ok;
}

static void no_memory(struct tgc_context *c) { context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan"); }

// ---- making a plan ready ----------------------------------------------------------------------------------------

static void print_stage(struct tgc_context *c, char letter, void (*print)(const void *, struct text *), const void *x)
{
	if (!(c->debug >> (letter - 'a') & 1))
		return;
	struct text t = {0};
	print(x, &t);
	char *s = text_take(&t);
	if (s)
		fputs(s, stderr);
	free(s);
}

static void print_kernel(const void *k, struct text *t) { kernel_print(k, t); }
static void print_plan(const void *p, struct text *t) { plan_print(p, t); }
static void print_prog(const void *p, struct text *t) { prog_print(p, t); }

// Which plan buffers and leaves the kernel's parameters stand for; before the passes, which do not touch them.
static bool bind(struct plan_entry *e, struct step_run *r, const struct kernel *k, struct pstep *step)
{
	int n = 0, segs = k->nsegs ? k->nsegs : 1;
	while (n < k->nbufs && k->bufs[n].space == SPACE_GLOBAL)
		n++;
	r->nargs = n;
	r->nsegs = segs;
	r->nscalars = k->nscalars;
	r->segmented = ARENA_ARRAY(&e->arena, bool, n + 1);
	r->bufs = ARENA_ARRAY(&e->arena, int32_t, n * segs + 1);
	r->scalars = ARENA_ARRAY(&e->arena, int32_t, k->nscalars + 1);
	if (!r->segmented || !r->bufs || !r->scalars)
		return false;
	for (int i = 0; i < n; i++) {
		r->segmented[i] = k->bufs[i].segmented;
		for (int s = 0; s < segs; s++)
			r->bufs[i * segs + s] = k->bufs[i].segmented ? k->bufs[i].seg_nodes[s] : k->bufs[i].node;
	}
	for (int i = 0; i < k->nscalars; i++)
		r->scalars[i] = k->scalar_leaf[i];
	step->nargs = n * segs;
	step->args = r->bufs;
	step->nscalars = k->nscalars;
	step->scalars = r->scalars;
	return true;
}

// Threads are woken for what takes one thread more than a few microseconds.
static bool is_long(const struct plan *p, const struct step_run *r, const struct kernel *k, const struct target *t)
{
	double bytes = 0;
	for (int i = 0; i < r->nargs * r->nsegs; i++)
		bytes += (double)p->bufs[r->bufs[i]].bytes;
	double ns = bytes / t->bandwidth, math = k->flops / t->flops;
	return (ns > math ? ns : math) > 5000;
}

static tgc_status lower_step(struct tgc_context *c, struct plan_entry *e, int i, int kernel)
{
	struct device *d = device_of(c);
	struct plan *p = e->plan;
	char *why = NULL;
	struct kernel *k = lower_group(p, p->steps[i].group, d->target, &why);
	if (k) {
		p->kernels[kernel] = k;
		p->nkernels = kernel + 1;
		p->steps[i].kernel = kernel;
		if (!bind(e, &e->steps[i], k, &p->steps[i]))
			return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
		e->steps[i].parallel = is_long(p, &e->steps[i], k, d->target);
		print_stage(c, 'f', print_kernel, k);
#ifdef NDEBUG
		why = kernel_run_passes(k, d->target, false);
#else
		why = kernel_run_passes(k, d->target, true);
#endif
		print_stage(c, 'k', print_kernel, k);
	}
	if (!why && k)
		return TGC_OK;
	context_fail(c, TGC_ERROR_INTERNAL, "lower", "group %d: %s", p->steps[i].group, why ? why : "out of memory");
	free(why);
	return TGC_ERROR_INTERNAL;
}

static tgc_status lower_all(struct tgc_context *c, struct plan_entry *e)
{
	struct plan *p = e->plan;
	int kernels = 0;
	p->kernels = ARENA_ARRAY(&e->arena, struct kernel *, p->nsteps + 1);
	e->steps = ARENA_ARRAY(&e->arena, struct step_run, p->nsteps + 1);
	tgc_status s = p->kernels && e->steps ? TGC_OK : TGC_ERROR_MEMORY;
	for (int i = 0; i < p->nsteps && !s; i++) {
		struct pstep *step = &p->steps[i];
		if (step->kind == STEP_KERNEL)
			s = lower_step(c, e, i, kernels++);
		else {
			e->steps[i].src = step->src;
			e->steps[i].dst = step->dst;
			e->steps[i].bytes = p->bufs[step->dst].bytes;
		}
	}
	return s;
}

static tgc_status compile_all(struct tgc_context *c, struct plan_entry *e)
{
	struct device *d = device_of(c);
	struct plan *p = e->plan;
	const struct code **codes = calloc((size_t)p->nkernels + 1, sizeof *codes);
	if (!codes)
		return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
	tgc_status s = jit_compile(c, d->process, pool_threads(d->pool), p->nkernels, p->kernels, d->target, codes);
	for (int i = 0; i < p->nsteps && !s; i++)
		if (p->steps[i].kind == STEP_KERNEL)
			e->steps[i].code = codes[p->steps[i].kernel];
	free(codes);
	return s;
}

static bool make_room(struct plan_entry *e)
{
	int widest = 1;
	for (int i = 0; i < e->plan->nsteps; i++) {
		const struct step_run *r = &e->steps[i];
		int n = r->nargs * (r->nsegs + 1) + r->nscalars;
		widest = n > widest ? n : widest;
	}
	e->memory = ARENA_ARRAY(&e->arena, void *, e->plan->nbufs + 1);
	e->args = ARENA_ARRAY(&e->arena, void *, widest);
	e->flags = ARENA_ARRAY(&e->arena, int32_t, e->plan->nflags + 1);
	return !e->arena.failed;
}

struct plan_entry *plan_ready(struct tgc_context *c, struct plan *p)
{
	struct plan_entry *e = calloc(1, sizeof *e);
	if (!e) {
		plan_free(p);
		no_memory(c);
		return NULL;
	}
	arena_init(&e->arena, &c->host);
	e->plan = p;
	print_stage(c, 'p', print_plan, p);
	tgc_status s = lower_all(c, e);
	if (!s)
		s = compile_all(c, e);
	if (!s && !make_room(e))
		s = TGC_ERROR_MEMORY;
	if (!s)
		return e;
	if (s == TGC_ERROR_MEMORY)
		no_memory(c);
	plan_entry_free(e);
	return NULL;
}

void plan_entry_free(struct plan_entry *e)
{
	if (!e)
		return;
	for (int i = 0; i < e->plan->nkernels; i++)
		kernel_free(e->plan->kernels[i]);
	plan_free(e->plan);
	free(e->consts);
	arena_free(&e->arena);
	free(e);
}

// ---- the door -----------------------------------------------------------------------------------------------------

static struct plan_entry *build(struct tgc_context *c, struct skeleton *s, struct linear *l)
{
	print_stage(c, 'g', print_prog, &l->prog);
	struct plan *p = schedule_build(c, l, device_of(c)->target);
	struct plan_entry *e = p ? plan_ready(c, p) : NULL;
	if (!e)
		return NULL;
	e->nconsts = l->nconsts;
	e->consts = malloc(sizeof *e->consts * ((size_t)l->nconsts + 1));
	if (!e->consts) {
		plan_entry_free(e);
		no_memory(c);
		return NULL;
	}
	if (l->nconsts)
		memcpy(e->consts, l->consts, sizeof *e->consts * (size_t)l->nconsts);
	e->next = s->plans;
	s->plans = e;
	c->stats.plans_built++;
	return e;
}

struct plan_entry *plans_get(struct tgc_context *c, struct linear *l)
{
	struct device *d = device_of(c);
	if (!d->plans)
		d->plans = calloc(1, sizeof *d->plans);
	struct skeleton *s = d->plans ? find(d->plans, l) : NULL;
	if (!s && d->plans)
		s = add(d->plans, l);
	if (!s || (s->npromoted && !linear_promote(l, s->promoted))) {
		no_memory(c);
		return NULL;
	}
	struct plan_entry *e = match(s, l);
	if (e) {
		c->stats.plans_found++;
		return e;
	}
	if (!promote(c, s, l)) {
		no_memory(c);
		return NULL;
	}
	return build(c, s, l);
}

void plans_free(struct tgc_context *c)
{
	struct plans *t = device_of(c)->plans;
	for (int i = 0; t && i < TABLE; i++)
		while (t->table[i]) {
			struct skeleton *s = t->table[i];
			t->table[i] = s->next;
			while (s->plans) {
				struct plan_entry *e = s->plans;
				s->plans = e->next;
				plan_entry_free(e);
			}
			free(s->key);
			free(s->promoted);
			free(s);
		}
	free(t);
	device_of(c)->plans = NULL;
}
