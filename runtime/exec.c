// Runs a plan on the CPU.
// In:  a plan ready to run and the memory of its leaves and outputs. Out: outputs and assigned variables
// written; INDEX if a check failed. Everything that can be known before is known before (plan_entry.c).
#include "runtime.h"

void exec_skip_kernels(struct tgc_context *c, bool skip) { device_of(c)->skip_kernels = skip; }

// ---- memory of one run --------------------------------------------------------------------------------------------

static bool at_least(struct tgc_context *c, struct buffer **b, int64_t bytes)
{
	if (bytes == 0 || (*b && (*b)->bytes >= bytes))
		return true;
	buffer_unref(*b);
	*b = device_alloc(c, "realize", bytes);
	return *b != NULL;
}

static void resolve(struct plan_entry *e, void *arena, void *const *leaf_data, void *const *out_data)
{
	for (int i = 0; i < e->plan->nbufs; i++) {
		const struct pbuf *b = &e->plan->bufs[i];
		switch (b->cls) {
		case BUF_LEAF: e->memory[i] = leaf_data[b->index]; break;
		case BUF_OUT: e->memory[i] = out_data[b->index]; break;
		case BUF_ARENA: e->memory[i] = (char *)arena + b->offset_bytes; break;
		default: e->memory[i] = e->flags; break;
		}
	}
}

// ---- one step -----------------------------------------------------------------------------------------------------

struct launch {
	kernel_fn *fn;
	void *const *args;
	char *scratch;
	int64_t scratch_bytes;
};

static void run_range(void *user, int thread, int64_t begin, int64_t end)
{
	struct launch *l = user;
	l->fn(l->args, begin, end, l->scratch + thread * l->scratch_bytes);
}

static void fill_args(struct plan_entry *e, const struct step_run *r, void *const *leaf_data)
{
	void **table = e->args + r->nargs + r->nscalars;
	for (int i = 0; i < r->nargs; i++) {
		if (!r->segmented[i]) {
			e->args[i] = e->memory[r->bufs[i * r->nsegs]];
			continue;
		}
		e->args[i] = table;
		for (int s = 0; s < r->nsegs; s++)
			*table++ = e->memory[r->bufs[i * r->nsegs + s]];
	}
	for (int i = 0; i < r->nscalars; i++)
		e->args[r->nargs + i] = leaf_data[r->scalars[i]];
}

static tgc_status run_step(struct tgc_context *c, struct plan_entry *e, const struct step_run *r, void *const *leaf_data)
{
	struct device *d = device_of(c);
	if (!r->code) {
		if (r->bytes)
			memcpy(e->memory[r->dst], e->memory[r->src], (size_t)r->bytes);
		return TGC_OK;
	}
	fill_args(e, r, leaf_data);
	if (d->kind->launch) {
		c->stats.launches++;
		return d->kind->launch(c, e, r);
	}
	struct launch l = {.args = e->args, .scratch_bytes = e->scratch_bytes};
	l.scratch = d->scratch ? d->scratch->data : NULL;
	for (int p = 0; p < r->code->nphases; p++) {
		l.fn = r->code->fn[p];
		if (r->parallel)
			pool_run(d->pool, r->code->blocks[p], run_range, &l);
		else if (r->code->blocks[p] > 0)
			run_range(&l, 0, 0, r->code->blocks[p]);
	}
	c->stats.launches++;
	return TGC_OK;
}

// ---- a run ----------------------------------------------------------------------------------------------------------

tgc_status exec_flag_error(struct tgc_context *c, int op)
{
	return context_fail(c, TGC_ERROR_INDEX, op_info[op].name,
	                    op == OP_CHECK ? "a condition was false at run time"
	                                   : "an index was out of range at run time");
}

static tgc_status check_flags(struct tgc_context *c, const struct plan_entry *e)
{
	for (int i = 0; i < e->plan->nflags; i++)
		if (e->flags[i])
			return exec_flag_error(c, e->plan->prog.nodes[e->plan->flag_nodes[i]].op);
	return TGC_OK;
}

tgc_status exec_run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data)
{
	struct device *d = device_of(c);
	bool stored = false;
	tgc_status s = TGC_OK;
	if (d->kind->run)
		return d->kind->run(c, e, leaf_data, out_data);
	if (!at_least(c, &d->arena, e->plan->arena_bytes) ||
	    !at_least(c, &d->scratch, e->scratch_bytes * (d->kind->whole_device ? 1 : pool_threads(d->pool))))
		return c->status ? c->status : TGC_ERROR_MEMORY;
	resolve(e, d->arena ? d->arena->data : NULL, leaf_data, out_data);
	if (d->skip_kernels)
		return TGC_OK;
	if (device_poison(c, "realize", d->arena) || device_poison(c, "realize", d->scratch))
		return c->status;
	for (int i = 0; i < e->plan->nflags; i++)
		e->flags[i] = 0;
	for (int i = 0; i < e->plan->nsteps && !s; i++) {
		if (e->steps[i].stores && !stored) {
			s = check_flags(c, e);
			stored = true;
		}
		uint64_t begun = e->trace ? clock_ns() : 0;
		if (!s)
			s = run_step(c, e, &e->steps[i], leaf_data);
		if (!s && e->trace)
			trace_step(c, e->trace, i, begun, clock_ns());
	}
	return s ? s : check_flags(c, e);
}
