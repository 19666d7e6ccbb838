// Opening and closing contexts: choosing the device, its threads and memory.
// In:  options and environment (TGC_DEVICE, TGC_THREADS, TGC_MEMORY_BUDGET, TGC_MATMUL_PRECISION). Out: a context that
// can run, or that says why not. TGC_DEBUG letters: g program, p plan and promotions, f kernels as lowered, k kernels
// after the passes, l LLVM IR, a assembly, t compile times, e errors as they are recorded; z: memory is full of NaN
// before it is used.
#include "runtime.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

static const char DEFAULT_DEVICE[] = "cpu";

struct buffer *device_alloc(struct tgc_context *c, const char *op, int64_t bytes)
{
	const struct allocator *a = device_of(c)->memory;
	struct buffer *b = buffer_new(device_of(c)->memory, bytes);
	c->stats.device_bytes = (uint64_t)allocator_bytes(a);
	c->stats.device_bytes_peak = (uint64_t)allocator_peak(a);
	if (b && device_poison(c, op, b)) {
		buffer_unref(b);
		return NULL;
	}
	if (!b && device_of(c)->dead)
		context_fail(c, TGC_ERROR_NODEVICE, op, "device %s: %s", device_of(c)->name, device_of(c)->dead);
	else if (!b)
		context_fail(c, TGC_ERROR_MEMORY, op, "no memory for %lld bytes: %lld are held, %lld are allowed",
		             (long long)bytes, (long long)allocator_bytes(a), (long long)allocator_limit(a));
	return b;
}

bool debug_on(const struct tgc_context *c, char letter) { return c->debug >> (letter - 'a') & 1; }

void debug_text(struct tgc_context *c, char letter, const char *text)
{
	while (text && *text) {
		int n = (int)strcspn(text, "\n");
		context_log(c, letter, "%.*s", n, text);
		text += n + (text[n] == '\n');
	}
}

static struct buffer *upload(struct tgc_context *c, const void *data, size_t bytes)
{
	if (device_check(c, "from_data"))
		return NULL;
	struct buffer *b = device_alloc(c, "from_data", (int64_t)bytes);
	if (b && bytes && device_write(c, "from_data", b->data, data, bytes)) {
		buffer_unref(b);
		b = NULL;
	}
	return b;
}

static void close_device(struct tgc_context *c)
{
	struct device *d = device_of(c);
	if (!d)
		return;
	plans_free(c);
	timeline_close(c, d->timeline);
	arena_free(&d->requests);
	buffer_unref(d->arena);
	buffer_unref(d->scratch);
	if (d->kind && d->kind->drop)
		d->kind->drop(d);
	allocator_free(d->memory);
	if (d->kind && d->kind->close && !process_forked(d->process))
		d->kind->close(d);
	if (d->process && !process_forked(d->process))
		pool_free(d->pool);
	process_close(d->process);
	free(d->dead);
	free(d);
	c->rt = NULL;
}

tgc_status device_check(struct tgc_context *c, const char *op)
{
	struct device *d = device_of(c);
	if (!d || !d->ready)
		return c->status ? c->status
		                 : context_fail(c, TGC_ERROR_NODEVICE, op, "%s", d ? d->reason : "there is no device");
	if (process_forked(d->process))
		return context_fail(c, TGC_ERROR_FORKED, op, "the process forked after this context was made");
	if (d->dead)
		return context_fail(c, TGC_ERROR_NODEVICE, op, "device %s is dead since %s", d->name, d->dead);
	return TGC_OK;
}

static int threads_wanted(const tgc_context_options *o)
{
	const char *env = getenv("TGC_THREADS");
	if (o->threads > 0)
		return o->threads;
	if (env && atoi(env) > 0)
		return atoi(env);
	cpu_set_t set;
	return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

// Sets name and reason. A device asked for by name never falls back to another.
static bool choose(struct tgc_context *c, struct device *d, const tgc_context_options *o)
{
	const char *env = getenv("TGC_DEVICE");
	const char *from = o->device ? "the program asked for it" : env && *env ? "TGC_DEVICE asks for it" : "the default";
	const char *name = o->device ? o->device : env && *env ? env : DEFAULT_DEVICE;
	struct text why = {0};
	d->name = "none";
	d->reason = d->reason_text;
	d->kind = device_find(name);
	if (!d->kind)
		text_add(&why, "there is no device \"%s\" (%s); there are %s", name, from, device_names());
	else if (d->kind->open(c, d, &why))
		d->memory = allocator_new(o->memory_limit_bytes, d->kind->memory, d);
	char *text = text_take(&why);
	bool ok = d->memory;
	if (ok)
		d->name = d->kind->name;
	else if (d->kind)
		d->kind = NULL;
	snprintf(d->reason_text, sizeof d->reason_text, ok ? "%s; %s" : "%s%s", ok ? from : "", text ? text : "");
	free(text);
	if (!ok) {
		context_fail(c, TGC_ERROR_NODEVICE, "context_new", "%s", d->reason_text);
		return false;
	}
	context_log(c, 't', "device %s: %s", d->name, d->reason);
	return true;
}

// False: the variable is no number of bytes.
static bool choose_budget(struct tgc_context *c, struct device *d, const tgc_context_options *o)
{
	const char *env = getenv("TGC_MEMORY_BUDGET");
	uint64_t bytes = o->memory_budget_bytes;
	char *end = NULL;
	if (!bytes && env && *env) {
		errno = 0;
		bytes = strtoull(env, &end, 10);
		if (*env < '0' || *env > '9' || *end || errno) {
			snprintf(d->reason_text, sizeof d->reason_text,
			         "TGC_MEMORY_BUDGET is \"%.100s\", not a number of bytes", env);
			context_fail(c, TGC_ERROR_ARG, "context_new", "%s", d->reason_text);
			return false;
		}
	}
	c->memory_budget_bytes = bytes < INT64_MAX ? (int64_t)bytes : 0;
	return true;
}

// False: there is no such precision.
static bool choose_precision(struct tgc_context *c, struct device *d, const tgc_context_options *o)
{
	const char *env = getenv("TGC_MATMUL_PRECISION");
	tgc_precision p = o->matmul_precision;
	bool set = p == TGC_PRECISION_DEFAULT && env && *env, known = p <= TGC_PRECISION_TF32;
	if (set && strcmp(env, "highest") != 0) {
		known = strcmp(env, "tf32") == 0;
		p = TGC_PRECISION_TF32;
	}
	if (!known) {
		if (set)
			snprintf(d->reason_text, sizeof d->reason_text,
			         "TGC_MATMUL_PRECISION is \"%.100s\", neither \"highest\" nor \"tf32\"", env);
		else
			snprintf(d->reason_text, sizeof d->reason_text, "matmul_precision is %d, which is none", (int)p);
		context_fail(c, TGC_ERROR_ARG, "context_new", "%s", d->reason_text);
		return false;
	}
	c->tf32 = p == TGC_PRECISION_TF32;
	d->target = target_rounding(d->target, c->tf32, &d->record);
	return true;
}

static void open_device(struct tgc_context *c, const tgc_context_options *o)
{
	c->backend = (struct backend){.realize = realize_tensors, .read = realize_read, .upload = upload,
	                              .buffer_unref = buffer_unref, .close = close_device,
	                              .site_text = site_text};
	struct device *d = calloc(1, sizeof *d);
	c->rt = d;
	if (d) {
		d->process = process_open();
		d->pool = pool_new(threads_wanted(o));
		arena_init(&d->requests, &c->host);
		if (trace_wanted() && origins_open(c))
			d->timeline = timeline_open();
	}
	if (!d || !d->process || !d->pool)
		context_fail(c, TGC_ERROR_MEMORY, "context_new", "no memory for a device");
	else
		d->ready = choose(c, d, o) && choose_budget(c, d, o) && choose_precision(c, d, o);
}

// Returned where not even a context could be made: an error like any other, and never freed.
static struct tgc_context no_context = {.status = TGC_ERROR_MEMORY, .message = (char *)"context_new: out of memory",
                                        .name = ""};

tgc_context *tgc_context_new(const tgc_context_options *options)
{
	tgc_context_options o = {0};
	if (options)
		memcpy(&o, options, options->struct_size < sizeof o ? options->struct_size : sizeof o);
	struct tgc_context *c = context_create(options);
	if (!c)
		return &no_context;
	open_device(c, &o);
	return c;
}

void tgc_context_free(tgc_context **pc)
{
	if (!pc || !*pc)
		return;
	struct tgc_context *c = *pc;
	*pc = NULL;
	if (c == &no_context)
		return;
	context_clear(c);
	c->backend.close(c);
	context_destroy(c);
}

const char *tgc_device_name(const tgc_context *c) { return c && c->rt ? device_of(c)->name : "none"; }

const char *tgc_device_reason(const tgc_context *c) { return c && c->rt ? device_of(c)->reason : "no context"; }
