// What a trace tells of a plan that does not change from run to run.
// In:  a plan made ready, its kernels, where its operations come from. Out: a JSON object:
//     version 2; target; threads; target_bandwidth (GB/s) and target_gflops, one thread, as the scheduler assumes;
//     arena_bytes, peak_bytes, lower_bound_bytes
//     buffers [{class, type, shape, strides, bytes, offset, first, last, holds}]   first and last: steps
//     steps   [{kind "kernel", title, name, site, gradient, kernel, group, why, blocks, threads, from_disk, compile_ms,
//               operations [{node, op, type, shape, name, site, gradient, literal}], bytes_unfused, launches_unfused,
//               arguments [{buffer, parameter, segmented, read, written}], scalars [type], bytes_read, bytes_written,
//               flops, bound_us, model_us, bound_by, scratch_bytes, spills, ir_before, ir, llvm, asm,
//               cuda, ptx, gpu {target, why, functions [{name, blocks, threads, shared_bytes, registers, stack_bytes,
//               spill_bytes}]}}
//              or {kind "copy", title, from, to, bytes}]
// cuda, ptx, gpu: trace_cuda.c.
// trace.c adds launches, median_us and least_us to each step. Bounds are those of the target record, all threads.
#include "cuda.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

struct names { // of the plan's nodes
	struct tgc_context *c;
	const struct linear *l;
	json_t *codes; // what was emitted, by the kernel's text
	struct trace_cuda *gpu;
};

// ---- what a group computes -----------------------------------------------------------------------------------------

static struct origin origin_of_node(const struct names *w, const struct pnode *n)
{
	bool known = w->l && w->l->origins && n->origin > 0 && n->origin <= w->l->prog.n;
	return known ? w->l->origins[n->origin - 1] : (struct origin){.scope = ""};
}

static void add_origin(json_t *to, const struct names *w, struct origin o)
{
	char site[256] = "";
	if (o.site)
		context_site_text(w->c, o.site, site, sizeof site);
	json_object_set_new(to, "name", json_string(o.scope));
	json_object_set_new(to, "site", json_string(site));
	json_object_set_new(to, "gradient", json_boolean(o.gradient));
}

static json_t *shape_json(int rank, const struct dim *d)
{
	json_t *a = json_array();
	for (int i = 0; i < rank; i++)
		json_array_append_new(a, json_integer(d[i].n));
	return a;
}

// JSON has no infinities and no NaN: they are texts.
static json_t *literal_json(double v)
{
	char text[32];
	snprintf(text, sizeof text, "%g", v);
	return isfinite(v) ? json_real(v) : json_string(text);
}

static double node_bytes(const struct prog *p, int n)
{
	return (double)prog_elems(p, n) * (double)tgc_type_bytes((tgc_type)p->nodes[n].type);
}

// Of an operand read by a kernel of its own: of what a view looks at, where that is smaller.
static double operand_bytes(const struct prog *p, int n)
{
	double least = node_bytes(p, n);
	while (op_info[p->nodes[n].op].cls == CLASS_MOVE && p->nodes[n].nsrc == 1) {
		n = p->nodes[n].src[0];
		least = node_bytes(p, n) < least ? node_bytes(p, n) : least;
	}
	return op_info[p->nodes[n].op].cls == CLASS_SOURCE && p->nodes[n].leaf < 0 ? 0 : least;
}

static double alone_bytes(const struct prog *p, int n)
{
	double sum = node_bytes(p, n);
	if (op_info[p->nodes[n].op].cls == CLASS_SOURCE || op_info[p->nodes[n].op].cls == CLASS_MOVE)
		return 0;
	for (int i = 0; i < p->nodes[n].nsrc; i++)
		sum += operand_bytes(p, p->nodes[n].src[i]);
	return sum;
}

// Nodes are in topological order: marks what the roots need that is in no memory. A sum in chunks counts where its
// chunks are, not where they are added up.
static bool *step_nodes(const struct plan *p, const struct pstep *step)
{
	bool *in = calloc((size_t)p->prog.n + 1, 1), *root = calloc((size_t)p->prog.n + 1, 1);
	bool *finished = calloc((size_t)p->prog.n + 1, 1), ok = in && root && finished;
	for (int k = step->group; ok && k < step->group + step->ngroups; k++) {
		for (int i = 0; i < p->groups[k].nroots; i++)
			in[p->groups[k].roots[i]] = root[p->groups[k].roots[i]] = true;
		if (p->groups[k].half == HALF_FINISH && !plan_is_late(p, step, k))
			finished[p->groups[k].main] = true;
	}
	for (int n = p->prog.n - 1; ok && n >= 0; n--) {
		in[n] &= !finished[n];
		for (int i = 0; in[n] && i < p->prog.nodes[n].nsrc; i++) {
			int s = p->prog.nodes[n].src[i];
			if (root[s] || (p->node_buf[s] < 0 && p->prog.nodes[s].leaf < 0))
				in[s] = true;
		}
	}
	free(root);
	free(finished);
	return in;
}

// What only moves or fills is a kernel of its own for each value that it stores.
static double copied_bytes(const struct plan *p, const struct pstep *s, int *launches)
{
	double sum = 0;
	for (int k = s->group; k < s->group + s->ngroups; k++)
		for (int i = 0; i < p->groups[k].nroots; i++) {
			sum += node_bytes(&p->prog, p->groups[k].roots[i]) + operand_bytes(&p->prog, p->groups[k].roots[i]);
			++*launches;
		}
	return sum;
}

static void add_operations(json_t *step, const struct names *w, const struct plan *p, const struct pstep *s)
{
	bool *in = step_nodes(p, s);
	json_t *ops = json_array();
	double alone = 0;
	int launches = 0;
	for (int n = 0; in && n < p->prog.n; n++) {
		const struct pnode *x = &p->prog.nodes[n];
		if (!in[n] || x->leaf >= 0)
			continue;
		json_t *op = json_pack("{s:i,s:s,s:s,s:o}", "node", n, "op", op_info[x->op].name, "type",
		                       tgc_type_name((tgc_type)x->type), "shape", shape_json(x->rank, x->dims));
		add_origin(op, w, origin_of_node(w, x));
		union number v;
		if (prog_const(&p->prog, n, &v))
			json_object_set_new(op, "literal", type_is_float((tgc_type)x->type) ? literal_json(v.f)
			                                                                    : json_integer((json_int_t)v.i));
		json_array_append_new(ops, op);
		launches += alone_bytes(&p->prog, n) > 0;
		alone += alone_bytes(&p->prog, n);
	}
	free(in);
	if (launches == 0)
		alone = copied_bytes(p, s, &launches);
	json_object_set_new(step, "operations", ops);
	json_object_set_new(step, "bytes_unfused", json_real(alone));
	json_object_set_new(step, "launches_unfused", json_integer(launches));
}

// ---- one step -------------------------------------------------------------------------------------------------------

static void add_buffers(json_t *step, const struct plan *p, const struct step_run *r, const struct kernel *k,
                        const struct target *t, int threads)
{
	json_t *args = json_array();
	double read = 0, written = 0;
	for (int i = 0; i < r->nargs; i++)
		for (int s = 0; s < (r->segmented[i] ? r->nsegs : 1); s++) {
			int b = r->bufs[i * r->nsegs + s];
			read += k->bufs[i].read ? (double)p->bufs[b].bytes : 0;
			written += k->bufs[i].written ? (double)p->bufs[b].bytes : 0;
			json_array_append_new(args, json_pack("{s:i,s:i,s:b,s:b,s:b}", "buffer", b, "parameter", i,
			                                      "segmented", r->segmented[i], "read", k->bufs[i].read,
			                                      "written", k->bufs[i].written));
		}
	double bytes_ns = (read + written) / t->bandwidth / threads, math_ns = k->flops / t->flops / threads;
	json_t *scalars = json_array();
	for (int i = 0; i < r->nscalars; i++)
		json_array_append_new(scalars, json_string(tgc_type_name(k->scalar_types[i])));
	json_object_set_new(step, "scalars", scalars);
	json_object_set_new(step, "arguments", args);
	json_object_set_new(step, "bytes_read", json_real(read));
	json_object_set_new(step, "bytes_written", json_real(written));
	json_object_set_new(step, "flops", json_real(k->flops));
	json_object_set_new(step, "bound_us", json_real(1e-3 * (bytes_ns > math_ns ? bytes_ns : math_ns)));
	json_object_set_new(step, "model_us", json_real(1e-3 * (fmax(bytes_ns, k->work / t->flops / threads) + t->launch_ns)));
	json_object_set_new(step, "bound_by", json_string(bytes_ns > math_ns ? "bytes" : "flops"));
	json_object_set_new(step, "scratch_bytes", json_integer((json_int_t)k->scratch_bytes));
}

#ifdef TG_HAVE_LLVM
// The assembler's comments say which moves are spills.
static int count_spills(const char *text)
{
	int n = 0;
	while (text && (text = strstr(text, "-byte Spill"))) {
		text++;
		n++;
	}
	return n;
}

static json_t *code_of(const struct lowered *j)
{
	void *object = NULL;
	size_t bytes;
	char *llvm = NULL, *text = NULL;
	json_t *code = json_object();
	if (j->target->family == FAMILY_CUDA)
		return code;
	char *error = emit_llvm_object(j->kernel, j->target, "kernel", &object, &bytes, &llvm, &text);
	if (!error) {
		json_object_set_new(code, "llvm", json_string(llvm ? llvm : ""));
		json_object_set_new(code, "asm", json_string(text ? text : ""));
		json_object_set_new(code, "spills", json_integer(count_spills(text)));
	}
	free(error);
	free(object);
	free(llvm);
	free(text);
	return code;
}
#else
static json_t *code_of(const struct lowered *j)
{
	(void)j;
	return json_object();
}
#endif

// Equal kernels, as repeated layers have them, are emitted once.
static void add_texts(json_t *step, const struct names *w, const struct lowered *j)
{
	struct text t = {0};
	kernel_print(j->kernel, &t);
	char *after = text_take(&t);
	json_object_set_new(step, "ir_before", json_string(j->text ? j->text : ""));
	json_object_set_new(step, "ir", json_string(after ? after : ""));
	if (after && !json_object_get(w->codes, after)) {
		json_t *code = code_of(j);
		trace_cuda_add(w->gpu, code, j);
		json_object_set_new(w->codes, after, code);
	}
	json_object_update(step, json_object_get(w->codes, after ? after : ""));
	free(after);
}

// "0.linear gradient: contract select" of the operations that do something, each once.
static void add_title(json_t *step, const char *name, bool gradient, json_t *ops)
{
	enum { SHOWN = 6 };
	struct text t = {0};
	const char *seen[SHOWN];
	int nseen = 0, more = 0;
	size_t i;
	json_t *op;
	text_add(&t, "%s%s%s", name, gradient ? (name[0] ? " gradient" : "gradient") : "", name[0] || gradient ? ":" : "");
	json_array_foreach(ops, i, op) {
		const char *s = json_string_value(json_object_get(op, "op"));
		int cls = op_info[op_find(s)].cls, k = 0;
		while (k < nseen && strcmp(seen[k], s) != 0)
			k++;
		if (cls == CLASS_MOVE || cls == CLASS_SOURCE || k < nseen)
			continue;
		if (nseen == SHOWN) {
			more++;
			continue;
		}
		seen[nseen++] = s;
		text_add(&t, "%s%s", t.n ? " " : "", s);
	}
	text_add(&t, "%s%s", more ? " ..." : "", nseen ? "" : t.n ? " move" : "move");
	char *title = text_take(&t);
	json_object_set_new(step, "title", json_string(title ? title : ""));
	free(title);
}

// Why fusion ended there; of several groups, each with the buffers that it writes: "b3, b5: nothing more uses it; b7:
// a reduction reads it".
static json_t *whys(const struct plan *p, const struct pstep *s)
{
	struct text t = {0};
	for (int k = s->group; k < s->group + s->ngroups; k++) {
		const struct group *g = &p->groups[k];
		text_add(&t, "%s", k > s->group ? "; " : "");
		for (int i = 0; s->ngroups > 1 && i < g->nroots; i++)
			text_add(&t, "%sb%d", i ? ", " : "",
			         p->bufs[g->root_bufs[i]].node < 0 ? g->root_bufs[i] : p->node_buf[g->roots[i]]);
		text_add(&t, "%s%s%s", g->half == HALF_FINISH ? " from the chunks of an earlier step" : "",
		         s->ngroups > 1 ? ": " : "", g->why ? g->why : "");
	}
	char *text = text_take(&t);
	json_t *j = json_string(text ? text : "");
	free(text);
	return j;
}

// The node that the step is named after: its largest contraction, else what shapes its first group.
static int main_node(const struct plan *p, const struct pstep *s)
{
	int best = s->group;
	double most = 0;
	for (int k = s->group; k < s->group + s->ngroups; k++) {
		struct source *sources = NULL;
		struct group_size size = {0};
		if (group_walk(p, k, &sources, &size) >= 0 && size.flops > most) {
			most = size.flops;
			best = k;
		}
		free(sources);
	}
	return p->groups[best].main >= 0 ? p->groups[best].main : p->groups[best].roots[0];
}

static json_t *kernel_step(const struct names *w, const struct plan_entry *e, int i, const struct lowered *j)
{
	const struct plan *p = e->plan;
	const struct pstep *s = &p->steps[i];
	const struct step_run *r = &e->steps[i];
	const struct group *g = &p->groups[s->group];
	int threads = r->parallel ? pool_threads(device_of(w->c)->pool) : 1;
	struct origin o = origin_of_node(w, &p->prog.nodes[main_node(p, s)]);
	json_t *blocks = json_array();
	for (int k = 0; r->code && k < r->code->nphases; k++)
		json_array_append_new(blocks, json_integer(r->code->blocks[k]));
	json_t *step = json_pack("{s:s,s:i,s:s,s:o,s:o,s:i,s:b,s:f}", "kind", "kernel", "kernel", s->kernel, "group",
	                         r->product ? "library" : s->ngroups > 1 ? "beside" : plan_group_names[g->kind], "why", whys(p, s), "blocks", blocks, "threads",
	                         threads, "from_disk", r->code && r->code->loaded, "compile_ms",
	                         r->code ? r->code->compile_ms : 0.0);
	add_origin(step, w, o);
	add_operations(step, w, p, s);
	add_title(step, o.scope, o.gradient, json_object_get(step, "operations"));
	add_buffers(step, p, r, j->kernel, j->target, threads);
	add_texts(step, w, j);
	return step;
}

static json_t *buffers_json(const struct names *w, const struct plan *p)
{
	json_t *a = json_array();
	for (int i = 0; i < p->nbufs; i++) {
		const struct pbuf *b = &p->bufs[i];
		json_t *strides = json_array();
		for (int k = 0; k < b->rank; k++)
			json_array_append_new(strides, json_integer(b->strides[k]));
		json_t *one = json_pack("{s:s,s:s,s:o,s:o,s:I,s:I,s:i,s:i,s:s}", "class", plan_buffer_names[b->cls], "type",
		                        tgc_type_name((tgc_type)b->type), "shape", shape_json(b->rank, b->dims), "strides",
		                        strides, "bytes", (json_int_t)b->bytes, "offset", (json_int_t)b->offset_bytes, "first",
		                        b->first, "last", b->last, "holds",
		                        b->node >= 0 ? op_info[p->prog.nodes[b->node].op].name : "");
		add_origin(one, w, b->node >= 0 ? origin_of_node(w, &p->prog.nodes[b->node]) : (struct origin){.scope = ""});
		json_array_append_new(a, one);
	}
	return a;
}

// ---- the plan ---------------------------------------------------------------------------------------------------------

void *trace_describe(struct tgc_context *c, const struct plan_entry *e, const struct linear *l,
                     const struct lowered *jobs)
{
	const struct plan *p = e->plan;
	struct device *d = device_of(c);
	struct trace_cuda gpu;
	struct names w = {c, l, json_object(), &gpu};
	json_t *steps = json_array();
	trace_cuda_open(&gpu, c->tf32);
	for (int i = 0; i < p->nsteps; i++) {
		const struct pstep *s = &p->steps[i];
		json_array_append_new(steps, s->kind == STEP_KERNEL
		                                 ? kernel_step(&w, e, i, &jobs[s->kernel])
		                                 : json_pack("{s:s,s:s,s:i,s:i,s:I}", "kind", "copy", "title", "copy", "from",
		                                             s->src, "to", s->dst, "bytes", (json_int_t)e->steps[i].bytes));
	}
	trace_cuda_close(&gpu);
	json_decref(w.codes);
	return json_pack("{s:i,s:s,s:i,s:f,s:f,s:I,s:I,s:I,s:o,s:o}", "version", 2, "target", d->target->name, "threads",
	                 pool_threads(d->pool), "target_bandwidth", d->target->bandwidth, "target_gflops",
	                 d->target->flops, "arena_bytes", (json_int_t)p->arena_bytes, "peak_bytes",
	                 (json_int_t)p->peak_bytes, "lower_bound_bytes", (json_int_t)p->lower_bound_bytes, "buffers",
	                 buffers_json(&w, p), "steps", steps);
}
