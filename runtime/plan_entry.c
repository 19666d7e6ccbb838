// A scheduled plan made ready to run: lowered, compiled, its kernels' parameters bound to plan buffers.
// In:  a plan. Out: steps with code and everything that does not change from run to run.
// Not here: finding plans (plans.c), running them (exec.c). Groups are lowered side by side, on stacks large
// enough for a compiler.
#include "runtime.h"

#include <stdlib.h>

enum { LONG_NS = 4000 }; // work on one thread that is worth waking others

// ---- lowering ------------------------------------------------------------------------------------------------------

static char *copied(const char *s)
{
	struct text t = {0};
	text_add(&t, "%s", s);
	return text_take(&t);
}

// Which plan buffers and leaves the kernel's parameters stand for; before the passes, which drop segments.
static bool bind(struct step_run *r, const struct kernel *k, const struct pstep *step)
{
	int n = 0, segs = k->nsegs ? k->nsegs : 1;
	while (n < k->nbufs && k->bufs[n].space == SPACE_GLOBAL)
		n++;
	r->nargs = n;
	r->nsegs = segs;
	r->nscalars = k->nscalars;
	r->segmented = calloc((size_t)n + 1, sizeof *r->segmented);
	r->bufs = calloc((size_t)(n * segs) + 1, sizeof *r->bufs);
	r->scalars = calloc((size_t)k->nscalars + 1, sizeof *r->scalars);
	if (!r->segmented || !r->bufs || !r->scalars)
		return false;
	for (int i = 0; i < n; i++) {
		r->segmented[i] = k->bufs[i].segmented;
		for (int s = 0; s < segs; s++)
			r->bufs[i * segs + s] = plan_step_buf(
			    step, k->bufs[i].segmented ? k->bufs[i].seg_nodes[s] : k->bufs[i].node);
	}
	for (int i = 0; i < k->nscalars; i++)
		r->scalars[i] = k->scalar_leaf[i];
	return true;
}

static void lower(void *user, int i)
{
	struct lowered *j = (struct lowered *)user + i;
	j->kernel = lower_step(j->plan, j->step, j->target, &j->error);
	if (!j->kernel)
		return;
	if (!bind(&j->run, j->kernel, j->step)) {
		j->error = copied("out of memory");
		return;
	}
	if (j->print) {
		struct text t = {0};
		kernel_print(j->kernel, &t);
		j->text = text_take(&t);
	}
#ifdef NDEBUG
	j->error = kernel_run_passes(j->kernel, j->target, false);
#else
	j->error = kernel_run_passes(j->kernel, j->target, true);
#endif
}

void lowered_free(struct lowered *x, int n)
{
	for (int i = 0; i < n; i++) {
		kernel_free(x[i].kernel);
		free(x[i].run.segmented);
		free(x[i].run.bufs);
		free(x[i].run.scalars);
		free(x[i].text);
		free(x[i].error);
	}
	free(x);
}

static int count_kernels(const struct plan *p)
{
	int n = 0;
	for (int i = 0; i < p->nsteps; i++)
		n += p->steps[i].kind == STEP_KERNEL;
	return n;
}

static struct lowered *jobs_new(const struct plan *p, const struct target *t, bool print, int n)
{
	struct lowered *x = calloc((size_t)n + 1, sizeof *x);
	int k = 0;
	for (int i = 0; i < p->nsteps && x; i++)
		if (p->steps[i].kind == STEP_KERNEL)
			x[k++] = (struct lowered){.plan = p,
			                          .target = t,
			                          .step = &p->steps[i],
			                          .print = print};
	return x;
}

struct lowered *lowered_new(struct tgc_context *c, const struct plan *p, const struct target *t, bool print,
                            int *n)
{
	*n = count_kernels(p);
	struct lowered *x = jobs_new(p, t, print, *n);
	if (!x) {
		context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for %d kernels", *n);
		return NULL;
	}
	parallel_run(*n, pool_threads(device_of(c)->pool), lower, x);
	for (int i = 0; i < *n; i++) {
		if (x[i].kernel && !x[i].error)
			continue;
		const char *why = x[i].error ? x[i].error : "out of memory";
		context_fail(c, strstr(why, "out of memory") ? TGC_ERROR_MEMORY : TGC_ERROR_INTERNAL, "lower",
		             "group %d: %s", x[i].step->group, why);
		lowered_free(x, *n);
		return NULL;
	}
	return x;
}

// ---- binding -------------------------------------------------------------------------------------------------------

static bool is_long(const struct plan *p, const struct step_run *r, const struct kernel *k,
                    const struct target *t)
{
	double bytes = 0;
	for (int i = 0; i < r->nargs; i++)
		for (int s = 0; s < (r->segmented[i] ? r->nsegs : 1); s++)
			bytes += (double)p->bufs[r->bufs[i * r->nsegs + s]].bytes;
	double ns = bytes / t->bandwidth, math = k->work / t->flops;
	return (ns > math ? ns : math) > LONG_NS;
}

static bool stores_variable(const struct plan *p, const struct step_run *r, const struct kernel *k)
{
	for (int i = 0; i < r->nargs; i++)
		if (k->bufs[i].written && p->bufs[r->bufs[i * r->nsegs]].cls == BUF_LEAF)
			return true;
	return false;
}

// Moves a job's findings into the entry and into the plan's text.
static void take_step(struct plan_entry *e, int i, int kernel, struct lowered *j, const struct target *t)
{
	struct step_run *r = &e->steps[i];
	struct pstep *step = &e->plan->steps[i];
	struct arena *a = &e->arena;
	size_t n = (size_t)j->run.nargs, bufs = n * (size_t)j->run.nsegs, scalars = (size_t)j->run.nscalars;
	*r = j->run;
	r->segmented = arena_dup(a, j->run.segmented, sizeof *r->segmented * n);
	r->bufs = arena_dup(a, j->run.bufs, sizeof *r->bufs * bufs);
	r->scalars = arena_dup(a, j->run.scalars, sizeof *r->scalars * scalars);
	if (a->failed)
		return;
	if (step->library) {
		struct matmul x;
		plan_product(e->plan, &e->plan->groups[step->group], &x);
		for (int32_t **p = (int32_t *[]){&x.left, &x.right, &x.out, &x.bias, NULL}; *p; p++)
			**p = **p < 0 ? -1 : plan_step_buf(step, **p);
		r->product = arena_dup(a, &x, sizeof x);
	}
	r->parallel = is_long(e->plan, r, j->kernel, t);
	r->stores = stores_variable(e->plan, r, j->kernel);
	step->kernel = kernel;
	step->nargs = (int)bufs;
	step->args = r->bufs;
	step->nscalars = r->nscalars;
	step->scalars = r->scalars;
}

static bool take_steps(struct plan_entry *e, struct lowered *jobs, const struct target *t)
{
	struct plan *p = e->plan;
	int kernels = 0, widest = 1;
	e->steps = ARENA_ARRAY(&e->arena, struct step_run, p->nsteps + 1);
	for (int i = 0; i < p->nsteps && !e->arena.failed; i++) {
		struct step_run *r = &e->steps[i];
		if (p->steps[i].kind == STEP_KERNEL) {
			take_step(e, i, kernels, &jobs[kernels], t);
			kernels++;
		} else {
			*r = (struct step_run){.src = p->steps[i].src, .dst = p->steps[i].dst};
			r->bytes = p->bufs[r->dst].bytes;
			r->stores = p->bufs[r->dst].cls == BUF_LEAF;
		}
		int n = r->nargs * (r->nsegs + 1) + r->nscalars;
		widest = n > widest ? n : widest;
	}
	e->memory = ARENA_ARRAY(&e->arena, void *, p->nbufs + 1);
	e->args = ARENA_ARRAY(&e->arena, void *, widest);
	e->flags = ARENA_ARRAY(&e->arena, int32_t, p->nflags + 1);
	return !e->arena.failed;
}

// ---- compiling -----------------------------------------------------------------------------------------------------

static void print_kernels(struct tgc_context *c, const struct lowered *jobs, int n)
{
	for (int i = 0; i < n; i++) {
		struct text t = {0};
		kernel_print(jobs[i].kernel, &t);
		char *text = text_take(&t);
		debug_text(c, 'f', jobs[i].text);
		if (debug_on(c, 'k'))
			debug_text(c, 'k', text);
		free(text);
	}
}

static bool compile(struct tgc_context *c, struct plan_entry *e, const struct lowered *jobs, int n)
{
	struct device *d = device_of(c);
	const struct code **codes = calloc((size_t)n + 1, sizeof *codes);
	struct kernel **kernels = calloc((size_t)n + 1, sizeof(struct kernel *));
	tgc_status s = codes && kernels ? TGC_OK : TGC_ERROR_MEMORY;
	int own = 0;
	for (int i = 0; i < n && !s; i++)
		if (!jobs[i].step->library)
			kernels[own++] = jobs[i].kernel;
	if (!s)
		s = d->kind->compile(c, own, kernels, codes);
	own = 0;
	for (int i = 0; i < e->plan->nsteps && !s; i++) {
		if (e->plan->steps[i].kind != STEP_KERNEL || e->steps[i].product)
			continue;
		const struct code *code = e->steps[i].code = codes[own++];
		int64_t scratch = (code->scratch_bytes + 4095) / 4096 * 4096;
		e->scratch_bytes = scratch > e->scratch_bytes ? scratch : e->scratch_bytes;
	}
	free(codes);
	free(kernels);
	return s == TGC_OK;
}

struct plan_entry *plan_entry_new(struct tgc_context *c, struct plan *p, const struct linear *l)
{
	struct device *d = device_of(c);
	struct plan_entry *e = calloc(1, sizeof *e);
	int n = 0;
	bool print = debug_on(c, 'f') || debug_on(c, 'k'), traced = trace_wanted(), ok = false;
	uint64_t begun = clock_ns();
	struct lowered *jobs = e ? lowered_new(c, p, d->target, print || traced, &n) : NULL;
	timeline_add(d->timeline, "lower", "", begun, clock_ns());
	if (e) {
		arena_init(&e->arena, &c->host);
		e->refs = 1;
		e->plan = p;
		e->process = d->process;
		e->kind = d->kind;
	} else {
		plan_free(p);
	}
	if (jobs) {
		if (print)
			print_kernels(c, jobs, n);
		begun = clock_ns();
		ok = take_steps(e, jobs, d->target) && compile(c, e, jobs, n);
		timeline_add(d->timeline, "compile", "", begun, clock_ns());
		if (ok && traced)
			e->trace = trace_new(c, e, l, jobs);
		lowered_free(jobs, n);
	}
	if (ok)
		return e;
	context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
	plan_entry_unref(e);
	return NULL;
}

struct plan_entry *plan_entry_ref(struct plan_entry *e)
{
	e->refs++;
	return e;
}

void plan_entry_unref(struct plan_entry *e)
{
	if (!e || --e->refs > 0)
		return;
	trace_close(e->trace);
	if (e->kind->forget)
		e->kind->forget(e);
	for (int i = 0; e->steps && i < e->plan->nsteps; i++)
		e->kind->release(e->process, e->steps[i].code);
	plan_free(e->plan);
	free(e->consts);
	arena_free(&e->arena);
	free(e);
}
