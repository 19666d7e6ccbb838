// Runs a plan on a GPU: its launches are one CUDA graph, or two where checks stand before the first store to a variable.
// In:  a plan ready to run, its leaves and outputs in device memory, late scalars on the host. Out: outputs and
// variables written, in the order of the stream. A graph is kept for as long as addresses stay: the arena never
// moves, variables neither; some are kept for outputs that alternate, the oldest is updated where none fits.
// What changes at every run without new addresses (late scalars, tables of pointers, error flags) lies in one
// block of device memory that is copied before the graph, out of pinned memory that is not reused before it was
// read. The host waits only for plans with checks: it looks at their flags before the steps that store to variables, so
// that a failed one stores nothing. What raises behind them only repeats checks (lib/order.c): nobody waits for that.
// Under a trace every step is launched by itself between two events. Not here: memory (cuda_device.c), copies (cuda_copy.c).
#include "cuda.h"

#include <stdlib.h>

enum { SLOTS = 4, GRAPHS = 4, CAPTURE_RELAXED = 2, EVENT_NO_TIMING = 2, MAX_PARAMS = 1024 };

struct slot { // pinned
	char *data;
	void *event; // it was read
};
struct graph {
	void *exec[2]; // before and after the flags are looked at; NULL: nothing to do
	void **memory; // addresses that it was captured for
	void *scratch;
	uint64_t used;
};
struct cuda_plan {
	struct cuda *gpu;
	struct slot slots[SLOTS];
	struct graph graphs[GRAPHS];
	uint64_t runs;
	struct buffer *block; // device memory
	int64_t *tables;      // by step: where its first table begins
	int64_t bytes, flags_at;
	int split;            // the first step behind the flags; all steps: there is none
	bool checks[2];       // of the steps before it, and of the others
	struct lt_product **products; // by step; NULL: none of a library
	void **marks;         // by step: an event before it, and one more; NULL: it was never traced
};

// ---- where the flags are looked at -------------------------------------------------------------------------------

static bool find_split(struct cuda_plan *p, const struct plan_entry *e, const struct host_alloc *h)
{
	int n = e->plan->nsteps, first = 0;
	struct arena scratch;
	arena_init(&scratch, h);
	const bool *raises = group_raises(e->plan, &scratch, false);
	while (first < n && !e->steps[first].stores)
		first++;
	p->split = first;
	for (int i = 0; i < n && raises; i++)
		for (int k = 0; k < e->plan->steps[i].ngroups; k++)
			p->checks[i >= first] |= raises[e->plan->steps[i].group + k];
	p->split = p->checks[0] ? first : n;
	p->checks[0] |= p->checks[1] && p->split == n;
	arena_free(&scratch);
	return raises != NULL;
}

// ---- the block: scalars, one of 8 bytes a leaf; tables; flags --------------------------------------------------------

static bool lay_out(struct cuda_plan *p, struct plan_entry *e)
{
	p->tables = ARENA_ARRAY(&e->arena, int64_t, e->plan->nsteps + 1);
	if (!p->tables)
		return false;
	p->bytes = 8 * (int64_t)e->plan->prog.nleaves;
	for (int i = 0; i < e->plan->nsteps; i++) {
		const struct step_run *r = &e->steps[i];
		p->tables[i] = p->bytes;
		for (int k = 0; k < r->nargs; k++)
			p->bytes += r->segmented[k] ? 8 * (int64_t)r->nsegs : 0;
	}
	p->flags_at = p->bytes;
	p->bytes += 4 * (int64_t)e->plan->nflags + 8;
	return true;
}

static tgc_status open_slots(struct tgc_context *c, struct cuda_plan *p)
{
	tgc_status s = TGC_OK;
	for (int i = 0; i < SLOTS && !s; i++) {
		s = CUDA_CALL(c, "realize", cuMemAllocHost, (void **)&p->slots[i].data, (size_t)p->bytes);
		if (!s)
			s = CUDA_CALL(c, "realize", cuEventCreate, &p->slots[i].event, EVENT_NO_TIMING);
	}
	return s;
}

static tgc_status open_products(struct tgc_context *c, struct cuda_plan *p, struct plan_entry *e)
{
	tgc_status s = TGC_OK;
	for (int i = 0; i < e->plan->nsteps && !s; i++) {
		if (!e->steps[i].product)
			continue;
		if (!p->products && !(p->products = ARENA_ARRAY(&e->arena, struct lt_product *, e->plan->nsteps)))
			return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
		s = cuda_lt_prepare(c, e->steps[i].product, &p->products[i]);
	}
	return s;
}

void cuda_forget(struct plan_entry *e)
{
	struct cuda_plan *p = e->own;
	if (!p)
		return;
	const struct driver *d = p->gpu ? p->gpu->driver : NULL;
	for (int i = 0; i < GRAPHS && d; i++) {
		for (int k = 0; k < 2; k++)
			if (p->graphs[i].exec[k])
				d->cuGraphExecDestroy(p->graphs[i].exec[k]);
		free(p->graphs[i].memory);
	}
	for (int i = 0; i < e->plan->nsteps && p->products; i++)
		cuda_lt_free(p->gpu->lt, p->products[i]);
	for (int i = 0; i <= e->plan->nsteps && p->marks; i++)
		if (p->marks[i])
			d->cuEventDestroy(p->marks[i]);
	for (int i = 0; i < SLOTS && d; i++) {
		if (p->slots[i].event) {
			d->cuEventSynchronize(p->slots[i].event);
			d->cuEventDestroy(p->slots[i].event);
		}
		if (p->slots[i].data)
			d->cuMemFreeHost(p->slots[i].data);
	}
	buffer_unref(p->block);
	free(p);
	e->own = NULL;
}

static tgc_status plan_of(struct tgc_context *c, struct plan_entry *e, struct cuda_plan **out)
{
	struct cuda_plan *p = e->own;
	*out = p;
	if (p)
		return TGC_OK;
	p = *out = e->own = calloc(1, sizeof *p);
	if (!p || !lay_out(p, e) || !find_split(p, e, &c->host)) {
		cuda_forget(e);
		return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a plan");
	}
	p->gpu = cuda_of(c);
	p->block = device_alloc(c, "realize", p->bytes);
	tgc_status s = p->block ? open_slots(c, p) : c->status;
	if (!s)
		s = open_products(c, p, e);
	if (s)
		cuda_forget(e);
	return s;
}

static void fill_slot(const struct cuda_plan *p, const struct plan_entry *e, char *to, void *const *leaf_data)
{
	memset(to, 0, (size_t)p->bytes);
	for (int i = 0; i < e->plan->prog.nleaves; i++)
		if (e->plan->prog.leaves[i].cls == LEAF_SCALAR)
			memcpy(to + 8 * i, leaf_data[i],
			       tgc_type_bytes((tgc_type)e->plan->prog.leaves[i].type));
	for (int i = 0; i < e->plan->nsteps; i++) {
		const struct step_run *r = &e->steps[i];
		void **table = (void **)(void *)(to + p->tables[i]);
		for (int k = 0; k < r->nargs; k++)
			for (int s = 0; r->segmented[k] && s < r->nsegs; s++)
				*table++ = e->memory[r->bufs[k * r->nsegs + s]];
	}
}

// ---- launches ------------------------------------------------------------------------------------------------------

static bool at_least(struct tgc_context *c, struct buffer **b, int64_t bytes)
{
	if (bytes == 0 || (*b && (*b)->bytes >= bytes))
		return true;
	buffer_unref(*b);
	*b = device_alloc(c, "realize", bytes);
	return *b;
}

static void resolve(struct tgc_context *c, struct plan_entry *e, const struct cuda_plan *p,
                    void *const *leaf_data, void *const *out_data)
{
	const struct buffer *arena = device_of(c)->arena;
	for (int i = 0; i < e->plan->nbufs; i++) {
		const struct pbuf *b = &e->plan->bufs[i];
		switch (b->cls) {
		case BUF_LEAF:
			e->memory[i] = leaf_data[b->index];
			break;
		case BUF_OUT:
			e->memory[i] = out_data[b->index];
			break;
		case BUF_ARENA:
			e->memory[i] = (char *)(arena ? arena->data : NULL) + b->offset_bytes;
			break;
		default:
			e->memory[i] = (char *)p->block->data + p->flags_at;
			break;
		}
	}
}

static tgc_status launch(struct tgc_context *c, const struct cuda_plan *p, struct plan_entry *e, int step)
{
	const struct step_run *r = &e->steps[step];
	const struct cuda_code *x = (const struct cuda_code *)(const void *)r->code;
	struct cuda *g = p->gpu;
	void *args[MAX_PARAMS], *params[MAX_PARAMS];
	char *block = p->block->data, *table = block + p->tables[step];
	int n = 0;
	if (r->product)
		return cuda_lt_run(c, r->product, p->products[step], e->memory);
	if (!x)
		return r->bytes ? CUDA_CALL(c, "realize", cuMemcpyDtoDAsync, (uintptr_t)e->memory[r->dst],
		                            (uintptr_t)e->memory[r->src], (size_t)r->bytes, g->stream)
		                : TGC_OK;
	if (r->nargs + r->nscalars + 1 > MAX_PARAMS)
		return context_fail(c, TGC_ERROR_INTERNAL, "realize", "a kernel of %d parameters",
		                    r->nargs + r->nscalars);
	for (int i = 0; i < r->nargs; i++) {
		args[n++] = r->segmented[i] ? (void *)table : e->memory[r->bufs[i * r->nsegs]];
		table += r->segmented[i] ? 8 * r->nsegs : 0;
	}
	for (int i = 0; i < r->nscalars; i++)
		args[n++] = block + 8 * r->scalars[i];
	if (x->code.scratch_bytes)
		args[n++] = device_of(c)->scratch->data;
	for (int i = 0; i < n; i++)
		params[i] = &args[i];
	tgc_status s = TGC_OK;
	for (int i = 0; i < x->code.nphases && !s; i++)
		if (x->phases[i].blocks > 0)
			s = CUDA_CALL(c, "realize", cuLaunchKernel, x->function[i],
			              (unsigned)x->phases[i].blocks, 1, 1, (unsigned)x->phases[i].threads, 1, 1,
			              (unsigned)x->phases[i].dynamic_bytes, g->stream, params, NULL);
	return s;
}

static tgc_status launch_some(struct tgc_context *c, const struct cuda_plan *p, struct plan_entry *e, int from, int to)
{
	tgc_status s = TGC_OK;
	for (int i = from; i < to && !s; i++)
		s = launch(c, p, e, i);
	return s;
}

// ---- traced --------------------------------------------------------------------------------------------------------

static tgc_status mark(struct tgc_context *c, struct cuda_plan *p, struct plan_entry *e, int i)
{
	if (!p->marks && !(p->marks = ARENA_ARRAY(&e->arena, void *, e->plan->nsteps + 1)))
		return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for events");
	tgc_status s = p->marks[i] ? TGC_OK : CUDA_CALL(c, "realize", cuEventCreate, &p->marks[i], 0);
	return s ? s : CUDA_CALL(c, "realize", cuEventRecord, p->marks[i], p->gpu->stream);
}

// When the last one ended is the host's clock after waiting for it; the others lie so much before it.
static tgc_status trace_some(struct tgc_context *c, const struct cuda_plan *p, struct plan_entry *e, int from, int to)
{
	uint64_t now = clock_ns(), begun = 0, ended;
	tgc_status s = TGC_OK;
	for (int i = from; i <= to && !s; i++) {
		float ms = 0;
		s = CUDA_CALL(c, "realize", cuEventElapsedTime, &ms, p->marks[i], p->marks[to]);
		ended = now - (uint64_t)(1e6 * (double)ms);
		if (i > from && !s)
			trace_step(c, e->trace, i - 1, begun, ended);
		begun = ended;
	}
	return s;
}

static tgc_status run_traced(struct tgc_context *c, struct cuda_plan *p, struct plan_entry *e, int from, int to)
{
	tgc_status s = TGC_OK;
	for (int i = from; i < to && !s; i++) {
		s = mark(c, p, e, i);
		if (!s)
			s = launch(c, p, e, i);
	}
	if (!s)
		s = mark(c, p, e, to);
	if (!s)
		s = CUDA_CALL(c, "realize", cuEventSynchronize, p->marks[to]);
	return s ? s : trace_some(c, p, e, from, to);
}

// ---- graphs --------------------------------------------------------------------------------------------------------

static tgc_status capture(struct tgc_context *c, const struct cuda_plan *p, struct plan_entry *e, int from, int to,
                          void **graph)
{
	void *stream = p->gpu->stream;
	tgc_status s = CUDA_CALL(c, "realize", cuStreamBeginCapture, stream, CAPTURE_RELAXED);
	if (s)
		return s;
	s = launch_some(c, p, e, from, to);
	tgc_status ended = CUDA_CALL(c, "realize", cuStreamEndCapture, stream, graph);
	return s ? s : ended;
}

// Steps as a graph to launch: *exec updated, or a new one.
static tgc_status make_exec(struct tgc_context *c, const struct cuda_plan *p, struct plan_entry *e, int from, int to,
                            void **exec)
{
	const struct driver *d = p->gpu->driver;
	void *graph = NULL;
	struct {
		int result;
		void *node, *from;
	} info;
	if (from == to)
		return TGC_OK;
	tgc_status s = capture(c, p, e, from, to, &graph);
	if (!s && *exec && d->cuGraphExecUpdate(*exec, graph, &info)) { // of another shape
		d->cuGraphExecDestroy(*exec);
		*exec = NULL;
	}
	if (!s && !*exec)
		s = CUDA_CALL(c, "realize", cuGraphInstantiateWithFlags, exec, graph, 0);
	if (graph)
		d->cuGraphDestroy(graph);
	return s;
}

// The graphs for the addresses of this run: kept, updated or new.
static tgc_status graph_of(struct tgc_context *c, struct cuda_plan *p, struct plan_entry *e, struct graph **out)
{
	size_t bytes = sizeof(void *) * (size_t)e->plan->nbufs;
	void *scratch = device_of(c)->scratch ? device_of(c)->scratch->data : NULL;
	struct graph *g = &p->graphs[0];
	for (int i = 0; i < GRAPHS; i++) {
		struct graph *x = &p->graphs[i];
		if (x->memory && x->scratch == scratch && memcmp(x->memory, e->memory, bytes) == 0) {
			x->used = p->runs;
			*out = x;
			return TGC_OK;
		}
		g = x->used < g->used ? x : g;
	}
	void **memory = g->memory; // it fits nothing until all of it is made
	g->memory = NULL;
	if (!memory && !(memory = malloc(bytes + 1)))
		return context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a graph");
	tgc_status s = make_exec(c, p, e, 0, p->split, &g->exec[0]);
	if (!s)
		s = make_exec(c, p, e, p->split, e->plan->nsteps, &g->exec[1]);
	if (s) {
		free(memory);
		return s;
	}
	memcpy(memory, e->memory, bytes);
	g->memory = memory;
	g->scratch = scratch;
	g->used = p->runs;
	*out = g;
	return TGC_OK;
}

// ---- a run ---------------------------------------------------------------------------------------------------------

static tgc_status read_flags(struct tgc_context *c, const struct cuda_plan *p, struct plan_entry *e)
{
	tgc_status s = device_read(c, "realize", e->flags, (char *)p->block->data + p->flags_at,
	                           sizeof *e->flags * (size_t)e->plan->nflags);
	for (int i = 0; i < e->plan->nflags && !s; i++)
		if (e->flags[i])
			s = exec_flag_error(c, e->plan->prog.nodes[e->plan->flag_nodes[i]].op);
	return s;
}

static tgc_status send_block(struct tgc_context *c, struct cuda_plan *p, struct plan_entry *e,
                             void *const *leaf_data)
{
	struct slot *slot = &p->slots[p->runs++ % SLOTS];
	tgc_status s = CUDA_CALL(c, "realize", cuEventSynchronize, slot->event);
	if (s)
		return s;
	fill_slot(p, e, slot->data, leaf_data);
	s = CUDA_CALL(c, "realize", cuMemcpyHtoDAsync, (uintptr_t)p->block->data, slot->data, (size_t)p->bytes,
	              p->gpu->stream);
	if (s)
		return s;
	s = CUDA_CALL(c, "realize", cuEventRecord, slot->event, p->gpu->stream);
	if (s)
		p->gpu->driver->cuStreamSynchronize(p->gpu->stream); // the copy still reads the slot, and nothing else tells when
	return s;
}

// Steps before or behind the place where flags are looked at, and a look at them if these steps check something.
static tgc_status run_part(struct tgc_context *c, struct cuda_plan *p, struct plan_entry *e, const struct graph *g, int part)
{
	int from = part ? p->split : 0, to = part ? e->plan->nsteps : p->split;
	tgc_status s = TGC_OK;
	if (from == to)
		return TGC_OK;
	if (e->trace)
		s = run_traced(c, p, e, from, to);
	else
		s = CUDA_CALL(c, "realize", cuGraphLaunch, g->exec[part], p->gpu->stream);
	for (int i = from; i < to && !s; i++)
		c->stats.launches += e->steps[i].code || e->steps[i].product;
	return !s && p->checks[part] ? read_flags(c, p, e) : s;
}

tgc_status cuda_run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data)
{
	struct device *d = device_of(c);
	struct cuda_plan *p;
	struct graph *g = NULL;
	tgc_status s = CUDA_CALL(c, "realize", cuCtxSetCurrent, cuda_of(c)->context);
	if (!s &&
	    (!at_least(c, &d->arena, e->plan->arena_bytes) || !at_least(c, &d->scratch, e->scratch_bytes)))
		s = c->status ? c->status : TGC_ERROR_MEMORY;
	if (!s)
		s = plan_of(c, e, &p);
	if (s)
		return s;
	resolve(c, e, p, leaf_data, out_data);
	if (d->skip_kernels || e->plan->nsteps == 0)
		return TGC_OK;
	s = device_poison(c, "realize", d->arena);
	if (!s)
		s = device_poison(c, "realize", d->scratch);
	if (!s)
		s = send_block(c, p, e, leaf_data);
	if (!s && !e->trace)
		s = graph_of(c, p, e, &g);
	for (int part = 0; part < 2 && !s; part++)
		s = run_part(c, p, e, g, part);
	return s;
}
