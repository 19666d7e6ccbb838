// A stand-in for libcuda on a machine without a GPU, for tests of the runtime: kernels are
// compiled for this processor and run on the emulator. In:  calls of the driver API. Out: what a
// GPU would leave. Device memory cannot be touched by the host; nothing in the stream happens before somebody
// waits for it; captured work becomes a graph. FAKE_CUDA_FAIL=NAME:N:ERROR makes the N-th call of a function
// fail, and errors from 700 on stay; FAKE_CUDA_VERSION, FAKE_CUDA_COUNT, FAKE_CUDA_MEMORY (bytes) and
// FAKE_CUDA_MISSING (a function) say what there is. Not here: NVRTC (fake_nvrtc.c).
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emu.h"
#include "fake_cuda.h"

#define REGION ((size_t)1 << 32)
enum { MAX_ARGS = 512, NAMES = 64, STICKY = 700, MAX_FREED = 4096, MOST_STATIC = 48 << 10, MOST_SHARED = 227 << 10 };

// ---- failing on demand ---------------------------------------------------------------------------------------------

static int sticky;
static struct {
	const char *name;
	int n;
} calls[NAMES];
static int ncalls;

static int count(const char *name)
{
	int i = 0;
	while (i < ncalls && strcmp(calls[i].name, name) != 0)
		i++;
	if (i == ncalls)
		calls[ncalls++].name = name;
	return ++calls[i].n;
}

API fake_cuda_calls(const char *name);
API fake_cuda_reset(void);

API fake_cuda_calls(const char *name)
{
	for (int i = 0; i < ncalls; i++)
		if (strcmp(calls[i].name, name) == 0)
			return calls[i].n;
	return 0;
}

API fake_cuda_reset(void)
{
	sticky = ncalls = 0;
	memset(calls, 0, sizeof calls);
	return 0;
}

static int enter(const char *name)
{
	const char *fail = getenv("FAKE_CUDA_FAIL");
	int nth = 0, error = 0, n = count(name);
	size_t length = strlen(name);
	if (sticky)
		return sticky;
	if (!fail || strncmp(fail, name, length) != 0 || sscanf(fail + length, ":%d:%d", &nth, &error) != 2 ||
	    n != nth)
		return 0;
	sticky = error >= STICKY ? error : 0;
	return error;
}
#define ENTER                                                                                                  \
	do {                                                                                                   \
		int error_ = enter(__func__);                                                                  \
		if (error_)                                                                                    \
			return error_;                                                                         \
	} while (0)

static long from_environment(const char *name, long otherwise)
{
	const char *value = getenv(name);
	return value ? atol(value) : otherwise;
}

// ---- device memory -------------------------------------------------------------------------------------------------

static char *region;
static size_t used, held;
static struct freed {
	uint64_t at;
	size_t bytes;
} freed[MAX_FREED];
static int nfreed;

static void rights(int prot)
{
	if (!region)
		region = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (used)
		mprotect(region, (used + 4095) / 4096 * 4096, prot);
}

// The smallest one given back that is large enough.
static struct freed *fitting(size_t bytes)
{
	struct freed *best = NULL;
	for (int i = 0; i < nfreed; i++)
		if (freed[i].bytes >= bytes && (!best || freed[i].bytes < best->bytes))
			best = &freed[i];
	return best;
}

static int cuMemAllocAsync(uint64_t *at, size_t bytes, void *stream)
{
	(void)stream;
	ENTER;
	bytes = (bytes + 255) / 256 * 256;
	if (held + bytes > (size_t)from_environment("FAKE_CUDA_MEMORY", 1 << 30))
		return 2;
	struct freed *old = fitting(bytes);
	if (old) {
		*at = old->at;
		held += old->bytes;
		*old = freed[--nfreed];
		return 0;
	}
	held += bytes;
	rights(PROT_NONE);
	if (used + bytes + 16 > REGION)
		return 2;
	*at = (uint64_t)(uintptr_t)(region + used + 16);
	used += bytes + 256;
	rights(PROT_READ | PROT_WRITE);
	*(size_t *)(void *)(region + used - bytes - 256) = bytes;
	memset(region + used - bytes - 240, 0xff, bytes);
	rights(PROT_NONE);
	return 0;
}

static int cuMemFreeAsync(uint64_t at, void *stream)
{
	(void)stream;
	ENTER;
	rights(PROT_READ | PROT_WRITE);
	size_t bytes = *(size_t *)(uintptr_t)(at - 16);
	rights(PROT_NONE);
	held -= bytes;
	if (nfreed < MAX_FREED)
		freed[nfreed++] = (struct freed){at, bytes};
	return 0;
}

// ---- the stream ----------------------------------------------------------------------------------------------------

struct op {
	struct op *next;
	enum { COPY, LAUNCH, EVENT, CALL } kind; // EVENT: to. CALL: call, data in args
	void (*call)(const void *data);
	void *to;
	const void *from;
	size_t bytes;
	struct emu_launch launch;
	void *args[MAX_ARGS];
};
struct event {
	int waits;      // it is in the queue
	bool destroyed; // it goes once it is in the queue no more
	uint64_t ns;
};
struct list {
	struct op *first, **last;
	int n;
};
struct function {
	struct function *next; // of its module
	char name[80];
	void *fn;
	int nargs;
	unsigned shared; // that a launch may ask for
};
static struct list queue, captured;
static int capturing;

static void push(struct list *l, const struct op *op)
{
	struct op *o = malloc(sizeof *o);
	*o = *op;
	o->next = NULL;
	o->launch.args = o->args;
	if (!l->first)
		l->last = &l->first;
	*l->last = o;
	l->last = &o->next;
	l->n++;
}

static void clear(struct list *l)
{
	while (l->first) {
		struct op *o = l->first;
		l->first = o->next;
		free(o);
	}
	*l = (struct list){0};
}

static int enqueue(const struct op *op)
{
	push(capturing ? &captured : &queue, op);
	return 0;
}

// The device's clock counts what it does, not time: how busy the machine is does not show in an event.
enum { OP_NS = 1000 };
static uint64_t device_ns = 1;

void fake_cuda_pass(int ms) { device_ns += (uint64_t)ms * 1000000; }

static void happen(struct event *e)
{
	e->ns = device_ns;
	e->waits--;
	if (!e->waits && e->destroyed)
		free(e);
}

static int drain(void)
{
	rights(PROT_READ | PROT_WRITE);
	for (struct op *o = queue.first; o; o = o->next) {
		char *error = NULL;
		device_ns += OP_NS;
		if (sticky && o->kind != EVENT)
			continue;
		if (o->kind == LAUNCH)
			error = emu_launch(&o->launch);
		else if (o->kind == CALL)
			o->call(o->args);
		else if (o->kind == EVENT)
			happen(o->to);
		else
			memcpy(o->to, o->from, o->bytes);
		if (error) {
			fprintf(stderr, "fake cuda: %s\n", error);
			sticky = 719;
		}
		free(error);
	}
	rights(PROT_NONE);
	clear(&queue);
	return sticky;
}

int fake_cuda_enqueue(const char *name, void (*run)(const void *data), const void *data, unsigned long bytes)
{
	struct op op = {.kind = CALL, .call = run};
	int error = enter(name);
	if (error)
		return error;
	memcpy(op.args, data, bytes);
	return enqueue(&op);
}

static int copy(void *to, const void *from, size_t bytes)
{
	return enqueue(&(struct op){.to = to, .from = from, .bytes = bytes});
}

static int cuMemcpyHtoDAsync(uint64_t to, const void *from, size_t bytes, void *stream)
{
	(void)stream;
	ENTER;
	return copy((void *)(uintptr_t)to, from, bytes);
}

static int cuMemcpyDtoHAsync(void *to, uint64_t from, size_t bytes, void *stream)
{
	(void)stream;
	ENTER;
	return copy(to, (void *)(uintptr_t)from, bytes);
}

static int cuMemcpyDtoDAsync(uint64_t to, uint64_t from, size_t bytes, void *stream)
{
	(void)stream;
	ENTER;
	return copy((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
}

// One that fails is of a broken device, which does nothing more.
static int cuStreamSynchronize(void *stream)
{
	int error = enter(__func__);
	(void)stream;
	if (error)
		clear(&queue);
	return error ? error : capturing ? 900 : drain();
}

static int cuLaunchKernel(struct function *f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared, void *stream, void **params, void **extra)
{
	static int serial;
	struct op op = {.kind = LAUNCH};
	(void)stream, (void)extra;
	ENTER;
	if (!gx || gy != 1 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || shared > f->shared)
		return 1;
	for (int i = 0; i < f->nargs; i++)
		op.args[i] = *(void **)params[i];
	op.launch = (struct emu_launch){.name = f->name,
	                                .fn = f->fn,
	                                .nargs = f->nargs,
	                                .threads = (int)bx,
	                                .blocks = gx,
	                                .shared_bytes = shared ? shared : MOST_STATIC,
	                                .order = (enum emu_order)(serial % 3),
	                                .deferred = serial % 2};
	serial++;
	return enqueue(&op);
}

static int cuCtxSynchronize(void)
{
	return cuStreamSynchronize(NULL);
}

static int cuStreamCreate(void **stream, unsigned flags)
{
	(void)flags;
	ENTER;
	*stream = &queue;
	return 0;
}

static int cuStreamDestroy(void *stream)
{
	(void)stream;
	return 0;
}

// ---- graphs, events ------------------------------------------------------------------------------------------------

static int cuStreamBeginCapture(void *stream, int mode)
{
	(void)stream, (void)mode;
	ENTER;
	capturing = 1;
	return 0;
}

static int cuStreamEndCapture(void *stream, void **graph)
{
	struct list *l = malloc(sizeof *l);
	(void)stream;
	*l = captured;
	captured = (struct list){0};
	capturing = 0;
	*graph = l;
	ENTER;
	return 0;
}

static void append(struct list *to, const struct list *from)
{
	for (const struct op *o = from->first; o; o = o->next)
		push(to, o);
}

static int cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long flags)
{
	(void)flags;
	ENTER;
	struct list *l = calloc(1, sizeof *l);
	append(l, graph);
	*exec = l;
	return 0;
}

static int cuGraphExecUpdate(struct list *exec, struct list *graph, void *info)
{
	(void)info;
	ENTER;
	const struct op *a = exec->first, *b = graph->first;
	while (a && b && a->kind == b->kind && a->launch.fn == b->launch.fn && a->call == b->call) {
		a = a->next;
		b = b->next;
	}
	if (a || b)
		return 910;
	clear(exec);
	append(exec, graph);
	return 0;
}

static int cuGraphLaunch(struct list *exec, void *stream)
{
	(void)stream;
	ENTER;
	append(&queue, exec);
	return 0;
}

static int cuGraphDestroy(struct list *l)
{
	clear(l);
	free(l);
	return 0;
}

static int cuGraphExecDestroy(struct list *l)
{
	return cuGraphDestroy(l);
}

static int cuEventCreate(void **event, unsigned flags)
{
	(void)flags;
	ENTER;
	*event = calloc(1, sizeof(struct event));
	return 0;
}

static int cuEventDestroy(struct event *event)
{
	event->destroyed = true;
	if (!event->waits)
		free(event);
	return 0;
}

static int cuEventRecord(struct event *event, void *stream)
{
	(void)stream;
	ENTER;
	event->waits++;
	return enqueue(&(struct op){.kind = EVENT, .to = event});
}

// One that was never recorded is done.
static int cuEventSynchronize(struct event *event)
{
	ENTER;
	return event->waits ? drain() : 0;
}

static int cuEventElapsedTime(float *ms, struct event *begun, struct event *ended)
{
	ENTER;
	if (!begun->ns || !ended->ns)
		return 400;
	*ms = begun->waits || ended->waits ? 0 : 1e-6f * (float)(ended->ns - begun->ns);
	return begun->waits || ended->waits ? 600 : 0;
}

// ---- modules, devices ----------------------------------------------------------------------------------------------

static struct module {
	struct module *next;
	struct function *functions;
	struct emu_library *library;
} *modules;

static int cuModuleLoadData(void **module, const struct image *image)
{
	char path[] = "/tmp/tgc-fake-XXXXXX";
	struct emu_library *library = NULL;
	ENTER;
	int fd = mkstemp(path);
	if (memcmp(image->magic, "FAKECUB", 8) != 0 ||
	    write(fd, image->data, image->bytes) != (ssize_t)image->bytes)
		return 200;
	close(fd);
	char *error = emu_load(path, &library);
	if (error)
		fprintf(stderr, "fake cuda: %s\n", error);
	struct module *m = error ? NULL : calloc(1, sizeof *m);
	free(error);
	if (!m)
		return 200;
	*m = (struct module){.next = modules, .library = library};
	*module = modules = m;
	return 0;
}

static int unload(struct module **at)
{
	struct module *m = *at;
	if (!m)
		return 400;
	*at = m->next;
	for (struct function *f = m->functions, *next; f; f = next) {
		next = f->next;
		free(f);
	}
	emu_library_free(m->library);
	free(m);
	return 0;
}

static int cuModuleUnload(void *module)
{
	struct module **at = &modules;
	ENTER;
	while (*at && *at != module)
		at = &(*at)->next;
	return unload(at);
}

static int cuDevicePrimaryCtxRelease(int device)
{
	(void)device;
	while (modules)
		unload(&modules);
	return 0;
}

static int cuModuleGetFunction(void **function, void *module, const char *name)
{
	char count_name[96];
	ENTER;
	struct module *m = module;
	struct function *f = calloc(1, sizeof *f);
	f->next = m->functions;
	m->functions = f;
	snprintf(f->name, sizeof f->name, "%s", name);
	snprintf(count_name, sizeof count_name, "%s_nargs", name);
	f->fn = emu_function(m->library, name);
	const int *n = emu_function(m->library, count_name);
	f->nargs = n ? *n : 0;
	*function = f;
	return f->fn && n ? 0 : 500;
}

static int cuInit(unsigned flags)
{
	(void)flags;
	ENTER;
	return from_environment("FAKE_CUDA_COUNT", 1) ? 0 : 100;
}

static int cuDeviceGetCount(int *n)
{
	ENTER;
	*n = (int)from_environment("FAKE_CUDA_COUNT", 1);
	return 0;
}

static int cuDeviceGet(int *device, int i)
{
	ENTER;
	*device = i;
	return 0;
}

static int cuDeviceGetName(char *name, int bytes, int device)
{
	ENTER;
	snprintf(name, (size_t)bytes, "fake GPU %d", device);
	return 0;
}

static int cuFuncSetAttribute(struct function *f, int attribute, int bytes)
{
	ENTER;
	f->shared = (unsigned)bytes;
	return attribute == 8 && bytes > MOST_STATIC && bytes <= MOST_SHARED ? 0 : 1;
}

static int cuDeviceGetAttribute(int *value, int attribute, int device)
{
	(void)device;
	ENTER;
	int sm = (int)from_environment("FAKE_CUDA_SM", 90);
	*value = attribute == 97 ? MOST_SHARED : attribute == 75 ? sm / 10 : sm % 10;
	return 0;
}

static int cuDeviceTotalMem(size_t *bytes, int device)
{
	(void)device;
	ENTER;
	*bytes = (size_t)1 << 30;
	return 0;
}

static int cuMemAllocHost(void **at, size_t bytes)
{
	ENTER;
	*at = malloc(bytes);
	return *at ? 0 : 2;
}

static int cuMemFreeHost(void *at)
{
	free(at);
	return 0;
}

#define NOTHING(NAME, SIGNATURE, SET)                                                                          \
	static int NAME SIGNATURE                                                                              \
	{                                                                                                      \
		ENTER;                                                                                         \
		SET;                                                                                           \
		return 0;                                                                                      \
	}
NOTHING(cuDeviceGetDefaultMemPool, (void **pool, int device), *pool = region; (void)device)
NOTHING(cuMemPoolSetAttribute, (void *pool, int attribute, void *value), (void)pool; (void)attribute;
        (void)value)
NOTHING(cuMemPoolTrimTo, (void *pool, size_t keep), (void)pool; (void)keep)
NOTHING(cuDevicePrimaryCtxRetain, (void **context, int device), *context = calls; (void)device)
NOTHING(cuCtxSetCurrent, (void *context), (void)context)

static int cuGetErrorName(int error, const char **name)
{
	*name = error == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
	        : error == 100 ? "CUDA_ERROR_NO_DEVICE"
	        : error == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
	                       : "CUDA_ERROR_OTHER";
	return 0;
}

static int cuGetErrorString(int error, const char **text)
{
	(void)error;
	*text = "by the fake driver";
	return 0;
}

// ---- what is looked up by name -------------------------------------------------------------------------------------

API cuDriverGetVersion(int *version);
API cuGetProcAddress_v2(const char *name, void **to, int version, uint64_t flags, int *status);

API cuDriverGetVersion(int *version)
{
	*version = (int)from_environment("FAKE_CUDA_VERSION", 12040);
	return 0;
}

#define ROW(NAME)                                                                                              \
	{                                                                                                      \
#NAME, (void *)(uintptr_t)NAME                                                                 \
	}
API cuGetProcAddress_v2(const char *name, void **to, int version, uint64_t flags, int *status)
{
	static const struct {
		const char *name;
		void *fn;
	} all[] = {
	    ROW(cuInit),
	    ROW(cuDeviceGetCount),
	    ROW(cuDeviceGet),
	    ROW(cuDeviceGetName),
	    ROW(cuDeviceGetAttribute),
	    ROW(cuDeviceTotalMem),
	    ROW(cuDeviceGetDefaultMemPool),
	    ROW(cuMemPoolSetAttribute),
	    ROW(cuMemPoolTrimTo),
	    ROW(cuDevicePrimaryCtxRetain),
	    ROW(cuDevicePrimaryCtxRelease),
	    ROW(cuCtxSetCurrent),
	    ROW(cuCtxSynchronize),
	    ROW(cuStreamCreate),
	    ROW(cuStreamDestroy),
	    ROW(cuStreamSynchronize),
	    ROW(cuStreamBeginCapture),
	    ROW(cuStreamEndCapture),
	    ROW(cuEventCreate),
	    ROW(cuEventDestroy),
	    ROW(cuEventRecord),
	    ROW(cuEventSynchronize),
	    ROW(cuEventElapsedTime),
	    ROW(cuMemAllocAsync),
	    ROW(cuMemFreeAsync),
	    ROW(cuMemAllocHost),
	    ROW(cuMemFreeHost),
	    ROW(cuMemcpyHtoDAsync),
	    ROW(cuMemcpyDtoHAsync),
	    ROW(cuMemcpyDtoDAsync),
	    ROW(cuModuleLoadData),
	    ROW(cuModuleUnload),
	    ROW(cuModuleGetFunction),
	    ROW(cuFuncSetAttribute),
	    ROW(cuLaunchKernel),
	    ROW(cuGraphInstantiateWithFlags),
	    ROW(cuGraphExecUpdate),
	    ROW(cuGraphLaunch),
	    ROW(cuGraphExecDestroy),
	    ROW(cuGraphDestroy),
	    ROW(cuGetErrorName),
	    ROW(cuGetErrorString),
	};
	const char *missing = getenv("FAKE_CUDA_MISSING");
	(void)version, (void)flags;
	*to = NULL;
	*status = 1;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (strcmp(all[i].name, name) == 0 && (!missing || strcmp(missing, name) != 0)) {
			*to = all[i].fn;
			*status = 0;
		}
	return *to ? 0 : 500;
}
