// Runs a plan on the CPU.
// In:  a plan ready to run and the memory of its leaves and outputs. Out: outputs and assigned variables
// written; INDEX if a check failed. Everything that can be known before is known before (plans.c).
#include "runtime.h"

#include <math.h>
#include <time.h>

void number_store(tgc_type t, union number v, void *to)
{
	switch (t) {
	case TGC_F32: *(float *)to = (float)v.f; break;
	case TGC_F64: *(double *)to = v.f; break;
	case TGC_F16:
	case TGC_BF16: {
		struct interp_value x = {.type = t, .elems = 1, .f = &v.f};
		interp_store(&x, to);
		break;
	}
	default: memcpy(to, &v.i, tgc_type_bytes(t)); break; // little-endian
	}
}

union number number_load(tgc_type t, const void *from)
{
	union number v = {.i = 0};
	float f;
	uint16_t h;
	switch (t) {
	case TGC_F32: memcpy(&f, from, 4); v.f = (double)f; break;
	case TGC_F64: memcpy(&v.f, from, 8); break;
	case TGC_BF16: {
		memcpy(&h, from, 2);
		uint32_t bits = (uint32_t)h << 16;
		memcpy(&f, &bits, 4);
		v.f = (double)f;
		break;
	}
	case TGC_F16: {
		memcpy(&h, from, 2);
		int e = h >> 10 & 31, m = h & 1023;
		double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
		v.f = h >> 15 ? -x : x;
		break;
	}
	case TGC_I8: v.i = *(const int8_t *)from; break;
	case TGC_I16: v.i = *(const int16_t *)from; break;
	case TGC_I32: v.i = *(const int32_t *)from; break;
	default: memcpy(&v.i, from, tgc_type_bytes(t)); break;
	}
	return v;
}

void exec_skip_kernels(struct tgc_context *c, bool skip) { device_of(c)->skip_kernels = skip; }

// ---- memory of one run --------------------------------------------------------------------------------------------

static bool at_least(struct tgc_context *c, struct buffer **b, int64_t bytes)
{
	if (bytes == 0 || (*b && (*b)->bytes >= bytes))
		return true;
	buffer_unref(*b);
	*b = buffer_new(device_of(c)->memory, bytes);
	return *b != NULL;
}

static int64_t scratch_of(const struct plan_entry *e)
{
	int64_t most = 0;
	for (int i = 0; i < e->plan->nsteps; i++)
		if (e->steps[i].code && e->steps[i].code->scratch_bytes > most)
			most = e->steps[i].code->scratch_bytes;
	return (most + 4095) / 4096 * 4096;
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

static void run_step(struct tgc_context *c, struct plan_entry *e, const struct step_run *r, void *const *leaf_data,
                     int64_t scratch_bytes)
{
	struct device *d = device_of(c);
	if (!r->code) {
		if (r->bytes)
			memcpy(e->memory[r->dst], e->memory[r->src], (size_t)r->bytes);
		return;
	}
	fill_args(e, r, leaf_data);
	struct launch l = {.args = e->args, .scratch_bytes = scratch_bytes};
	l.scratch = d->scratch ? d->scratch->data : NULL;
	for (int p = 0; p < r->code->nphases; p++) {
		l.fn = r->code->fn[p];
		if (r->parallel)
			pool_run(d->pool, r->code->blocks[p], run_range, &l);
		else if (r->code->blocks[p] > 0)
			run_range(&l, 0, 0, r->code->blocks[p]);
	}
	c->stats.launches++;
}

static tgc_status check_flags(struct tgc_context *c, const struct plan_entry *e)
{
	for (int i = 0; i < e->plan->nflags; i++)
		if (e->flags[i]) {
			const struct pnode *n = &e->plan->prog.nodes[e->plan->flag_nodes[i]];
			return context_fail(c, TGC_ERROR_INDEX, op_info[n->op].name,
			                    n->op == OP_CHECK ? "a condition was false at run time"
			                                      : "an index was out of range at run time");
		}
	return TGC_OK;
}

tgc_status exec_run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data)
{
	struct device *d = device_of(c);
	int64_t scratch = scratch_of(e);
	if (!at_least(c, &d->arena, e->plan->arena_bytes) || !at_least(c, &d->scratch, scratch * pool_threads(d->pool)))
		return context_fail(c, TGC_ERROR_MEMORY, "realize",
		                    "no memory for intermediate values of %lld bytes; the device holds %lld",
		                    (long long)e->plan->arena_bytes, (long long)allocator_bytes(d->memory));
	resolve(e, d->arena ? d->arena->data : NULL, leaf_data, out_data);
	if (d->skip_kernels)
		return TGC_OK;
	for (int i = 0; i < e->plan->nflags; i++)
		e->flags[i] = 0;
	for (int i = 0; i < e->plan->nsteps; i++)
		run_step(c, e, &e->steps[i], leaf_data, scratch);
	return check_flags(c, e);
}
