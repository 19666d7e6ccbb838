// The device "cuda": one GPU through the driver API and NVRTC.
// In:  libraries, TGC_CUDA_DEVICE (its number, 0 without), TGC_TUNE. Out: the device's memory, loaded kernels.
// The primary context and the libraries are the process's; a stream is the context's, and all that a context
// does goes through it in order. Memory comes from the driver's pool, which keeps what is freed. A call that
// fails for another reason than memory marks the device dead: every later call says since when. Not here:
// copies (cuda_copy.c), running plans (cuda_run.c).
#include "cuda.h"

#include <stdlib.h>

enum { STREAM_NON_BLOCKING = 1, POOL_RELEASE_THRESHOLD = 4, MAJOR = 75, MINOR = 76, SHARED_OF_BLOCK = 97, DYNAMIC_SHARED = 8 };

tgc_status cuda_check(struct tgc_context *c, const char *op, const char *call, int error)
{
	char text[256];
	if (error == CUDA_OK)
		return TGC_OK;
	driver_error(cuda_of(c)->driver, call, error, text, sizeof text);
	if (error == CUDA_OUT_OF_MEMORY)
		return context_fail(c, TGC_ERROR_MEMORY, op, "%s", text);
	if (!device_of(c)->dead)
		device_of(c)->dead = strdup(text);
	return context_fail(c, TGC_ERROR_NODEVICE, op, "device cuda: %s", text);
}

// ---- opening -------------------------------------------------------------------------------------------------------

static bool failed(struct text *why, const struct driver *d, const char *call, int error)
{
	char text[256];
	if (error == CUDA_OK)
		return false;
	driver_error(d, call, error, text, sizeof text);
	text_add(why, "device cuda: %s, by %s", text, d->library.path);
	return true;
}
#define FAILED(why, d, NAME, ...) failed(why, d, #NAME, (d)->NAME(__VA_ARGS__))

// Libraries and primary context, once a process; the caller holds the runtime's lock.
static bool open_process(struct cuda_process *p, struct text *why)
{
	const char *number = getenv("TGC_CUDA_DEVICE");
	int wanted = number ? atoi(number) : 0, count = 0;
	struct driver *d = &p->driver;
	if (p->context)
		return true;
	if (!d->library.handle && (driver_close(d), !driver_open(d, NULL, "")))
		text_add(why, "device cuda: no driver: %s", d->library.why);
	if (!p->nvrtc.library.handle && (nvrtc_close(&p->nvrtc), !nvrtc_open(&p->nvrtc, NULL, "")))
		text_add(why, "%s no NVRTC: %s", why->n ? ";" : "device cuda:", p->nvrtc.library.why);
	else if (why->n)
		text_add(why, "; NVRTC %d.%d is %s", p->nvrtc.version / 1000, p->nvrtc.version % 1000 / 10,
		         p->nvrtc.library.path);
	if (why->n)
		return false;
	const char *lt = getenv("TGC_CUBLASLT");
	if (!p->lt.library.handle && (!lt || strcmp(lt, "0") != 0)) {
		cuda_lt_close(&p->lt);
		cuda_lt_open(&p->lt, NULL, "");
	}
	if (FAILED(why, d, cuInit, 0) || FAILED(why, d, cuDeviceGetCount, &count))
		return false;
	if (wanted < 0 || wanted >= count) {
		text_add(why, "device cuda: there are %d GPUs, number %d is wanted", count, wanted);
		return false;
	}
	return !FAILED(why, d, cuDeviceGet, &p->device, wanted) &&
	       !FAILED(why, d, cuDevicePrimaryCtxRetain, &p->context, p->device);
}

// The newest record that is not newer than the device; a cubin runs within its major version only.
static const struct target *target_of(int major, int minor, char *arch, size_t bytes)
{
	for (int m = minor; m >= 0; m--) {
		snprintf(arch, bytes, "sm_%d%d", major, m);
		if (target_find(arch))
			return target_find(arch);
	}
	return NULL;
}

static bool find_target(struct device *d, struct cuda *g, struct text *why)
{
	int major = 0, minor = 0, shared = 0;
	if (FAILED(why, g->driver, cuDeviceGetAttribute, &major, MAJOR, g->device) ||
	    FAILED(why, g->driver, cuDeviceGetAttribute, &minor, MINOR, g->device))
		return false;
	const struct target *t = target_of(major, minor, g->arch, sizeof g->arch);
	if (t && FAILED(why, g->driver, cuDeviceGetAttribute, &shared, SHARED_OF_BLOCK, g->device))
		return false;
	if (t) {
		d->record = *t;
		if (shared < t->block_shared_bytes) // of the same major version, they differ in that
			d->record.block_shared_bytes = shared;
		d->record.products = g->lt->library.handle;
		d->target = &d->record;
	}
	if (!d->target)
		text_add(why, "device cuda: %s is sm_%d%d, of which nothing is known", g->name, major, minor);
	return d->target;
}

static bool open_stream(struct cuda *g, struct text *why)
{
	uint64_t keep = UINT64_MAX;
	size_t all = 0;
	if (FAILED(why, g->driver, cuCtxSetCurrent, g->context) ||
	    FAILED(why, g->driver, cuDeviceTotalMem, &all, g->device) ||
	    FAILED(why, g->driver, cuDeviceGetDefaultMemPool, &g->pool, g->device) ||
	    FAILED(why, g->driver, cuMemPoolSetAttribute, g->pool, POOL_RELEASE_THRESHOLD, &keep) ||
	    FAILED(why, g->driver, cuStreamCreate, &g->stream, STREAM_NON_BLOCKING))
		return false;
	g->all_bytes = (int64_t)all;
	return true;
}

static void close_device(struct device *d)
{
	struct cuda *g = d->own;
	if (g && g->stream) {
		g->driver->cuCtxSetCurrent(g->context);
		g->driver->cuStreamSynchronize(g->stream);
		cuda_copy_close(g);
		if (g->lt_handle)
			g->lt->Destroy(g->lt_handle);
		g->driver->cuStreamDestroy(g->stream);
	}
	if (g)
		cuda_tune_close(g);
	free(g);
	d->own = NULL;
}

static bool open_device(struct tgc_context *c, struct device *d, struct text *why)
{
	struct cuda_process *p = cuda_process(c, d->process);
	struct cuda *g = d->own = calloc(1, sizeof *g);
	if (!p || !g) {
		text_add(why, "out of memory");
		return false;
	}
	pthread_mutex_lock(&d->process->lock);
	bool ok = open_process(p, why);
	pthread_mutex_unlock(&d->process->lock);
	const char *tune = getenv("TGC_TUNE");
	*g = (struct cuda){.driver = &p->driver, .nvrtc = &p->nvrtc, .lt = &p->lt, .device = p->device,
	                   .context = p->context, .tunes = tune && strcmp(tune, "1") == 0};
	ok = ok && !FAILED(why, g->driver, cuDeviceGetName, g->name, (int)sizeof g->name, g->device) &&
	     find_target(d, g, why) && open_stream(g, why);
	if (ok) {
		text_add(why, "%s, %s, driver of CUDA %d.%d, NVRTC %d.%d", g->name, g->arch,
		         g->driver->version / 1000, g->driver->version % 1000 / 10, g->nvrtc->version / 1000,
		         g->nvrtc->version % 1000 / 10);
		if (d->target->products)
			text_add(why, ", cuBLASLt %zu", g->lt->version());
		else
			text_add(why, ", no cuBLASLt");
	} else {
		close_device(d);
	}
	return ok;
}

// ---- memory --------------------------------------------------------------------------------------------------------

// NULL: no memory left, or d->dead says what happened.
static void *take(void *user, int64_t bytes)
{
	struct device *d = user;
	struct cuda *g = d->own;
	const char *call = "cuCtxSetCurrent";
	uint64_t at = 0;
	int error = g->driver->cuCtxSetCurrent(g->context);
	for (int i = 0; i < 2 && !error && !at; i++) {
		call = "cuMemAllocAsync";
		error = g->driver->cuMemAllocAsync(&at, (size_t)bytes, g->stream);
		if (error != CUDA_OUT_OF_MEMORY || i)
			break;
		error =
		    g->driver->cuStreamSynchronize(g->stream); // what others of this process have given back
		g->driver->cuMemPoolTrimTo(g->pool, 0);
	}
	if (error && error != CUDA_OUT_OF_MEMORY && !d->dead) {
		char text[256];
		driver_error(g->driver, call, error, text, sizeof text);
		d->dead = strdup(text);
	}
	return error ? NULL : (void *)(uintptr_t)at;
}

static void give(void *user, void *data, int64_t bytes)
{
	struct cuda *g = ((struct device *)user)->own;
	(void)bytes;
	g->driver->cuCtxSetCurrent(g->context);
	g->driver->cuMemFreeAsync((uintptr_t)data, g->stream);
}

static int64_t all(void *user)
{
	return ((struct cuda *)((struct device *)user)->own)->all_bytes;
}

static const struct memory_kind memory = {take, give, all};

// ---- kernels -------------------------------------------------------------------------------------------------------

// The caller holds the lock of the codes.
static tgc_status load(struct tgc_context *c, struct cuda_code *x)
{
	tgc_status s = TGC_OK;
	if (!x->batch->module)
		s = CUDA_CALL(c, "compile", cuModuleLoadData, &x->batch->module, x->batch->image);
	for (int p = 0; p < x->code.nphases && !s; p++) {
		int bytes = (int)x->phases[p].dynamic_bytes;
		if (x->function[p])
			continue;
		s = CUDA_CALL(c, "compile", cuModuleGetFunction, &x->function[p], x->batch->module,
		              x->phases[p].name);
		if (!s && bytes)
			s = CUDA_CALL(c, "compile", cuFuncSetAttribute, x->function[p], DYNAMIC_SHARED, bytes);
	}
	return s;
}

static tgc_status compile(struct tgc_context *c, int n, struct kernel *const *kernels,
                          const struct code **codes)
{
	struct device *d = device_of(c);
	tgc_status s = CUDA_CALL(c, "compile", cuCtxSetCurrent, cuda_of(c)->context);
	if (!s)
		s = cuda_codes_get(c, d->process, cuda_of(c)->nvrtc, d->target, pool_threads(d->pool), n,
		                   kernels, codes);
	if (s)
		return s;
	pthread_mutex_lock(&d->process->cuda->lock);
	for (int i = 0; i < n && !s; i++)
		s = load(c, (struct cuda_code *)(uintptr_t)codes[i]);
	pthread_mutex_unlock(&d->process->cuda->lock);
	for (int i = 0; i < n && s; i++)
		cuda_code_release(d->process, codes[i]);
	return s;
}

static void drop(struct device *d)
{
	struct cuda *g = d->own;
	buffer_unref(g ? g->workspace : NULL);
}

const struct device_kind cuda_kind = {
    .name = "cuda",
    .whole_device = true,
    .memory = &memory,
    .open = open_device,
    .drop = drop,
    .close = close_device,
    .compile = compile,
    .release = cuda_code_release,
    .run = cuda_run,
    .forget = cuda_forget,
    .copy = cuda_copy,
    .ask = cuda_ask,
    .answer = cuda_answer,
};
