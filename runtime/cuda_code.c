// Kernels to cubins, once per text in a process, or from the disk.
// In:  kernels after the passes, NVRTC. Out: machine code not loaded yet, with what the assembler said of it.
// Kernels that are new share programs, a few for each thread; a program's cubin lies on the disk under its
// kernels' names, and each kernel's file says which one it is in. Codes live while plans use them, and after that while
// the cubins that no plan uses are not too much. Not here: NVRTC (nvrtc.c), files (disk.c), loading (cuda_device.c).
// No GPU is needed.
#include "cuda.h"

#include <stdlib.h>
#include <time.h>

enum { MOST = 24 }; // kernels a program
static const int64_t MOST_IDLE_BYTES = 64 << 20;

struct record { // what a kernel's file holds; the batch's key follows
	int32_t nphases;
	int64_t scratch_bytes;
	struct cuda_phase phases[16];
	struct nvrtc_function info[16];
};

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

struct cuda_process *cuda_process(struct tgc_context *c, struct runtime *r)
{
	pthread_mutex_lock(&r->lock);
	if (!r->cuda && (r->cuda = calloc(1, sizeof *r->cuda))) {
		struct disk_place place = {.reason = "tgc was linked without a build id"};
		pthread_mutex_init(&r->cuda->lock, NULL);
		r->cuda->most_idle_bytes = MOST_IDLE_BYTES;
		if (disk_build_id(r->cuda->build, sizeof r->cuda->build) && !r->disk)
			r->disk = disk_open(&place, DISK_LIMIT_BYTES);
		context_log(c, 't', "disk cache %s: %s", r->disk ? "on" : "off", place.reason);
	}
	pthread_mutex_unlock(&r->lock);
	return r->cuda;
}

static void code_free(struct cuda_code *c)
{
	free(c->key);
	free(c);
}

void cuda_process_close(struct runtime *r)
{
	struct cuda_process *all = r->cuda;
	for (int i = 0; i < TG_COUNT(all->table); i++)
		while (all->table[i]) {
			struct cuda_code *c = all->table[i];
			all->table[i] = c->next;
			code_free(c);
		}
	while (all->batches) {
		struct cuda_batch *b = all->batches;
		all->batches = b->next;
		free(b->key);
		free(b->image);
		free(b);
	}
	if (all->context) // its modules go with it
		all->driver.cuDevicePrimaryCtxRelease(all->device);
	driver_close(&all->driver);
	nvrtc_close(&all->nvrtc);
	cuda_lt_close(&all->lt);
	pthread_mutex_destroy(&all->lock);
	free(all);
	r->cuda = NULL;
}

// ---- one kernel ----------------------------------------------------------------------------------------------------

static struct cuda_code **bucket(struct cuda_process *all, const char *name)
{
	return &all->table[strtoul((char[]){name[1], name[2], name[3], 0}, NULL, 16) %
	                   (unsigned)TG_COUNT(all->table)];
}

static struct cuda_code *find(struct cuda_process *all, const char *name, const char *key)
{
	struct cuda_code *c = *bucket(all, name);
	while (c && strcmp(c->key, key) != 0)
		c = c->next;
	return c;
}

static char *key_of(const struct cuda_process *all, const struct nvrtc *n, const struct target *t,
                    const struct kernel *k)
{
	struct text s = {0};
	text_add(&s, "tgc %s\nNVRTC %d\ntarget %s %lld\n", all->build, n->version, t->name,
	         (long long)t->block_shared_bytes);
	kernel_print(k, &s);
	return text_take(&s);
}

static struct cuda_batch *add_batch(struct cuda_process *all, char *key, void *image, size_t bytes)
{
	struct cuda_batch *b = key && image ? calloc(1, sizeof *b) : NULL;
	if (!b) {
		free(key);
		free(image);
		return NULL;
	}
	*b = (struct cuda_batch){.next = all->batches, .key = key, .image = image, .bytes = bytes};
	return all->batches = b;
}

static struct cuda_batch *load_batch(struct runtime *r, const char *key)
{
	size_t bytes;
	for (struct cuda_batch *b = r->cuda->batches; b; b = b->next)
		if (strcmp(b->key, key) == 0)
			return b;
	void *image = disk_load(disk_descriptor(r->disk), key, &bytes);
	return image ? add_batch(r->cuda, strdup(key), image, bytes) : NULL;
}

static void take_record(struct cuda_code *c, const struct record *rec)
{
	c->code.nphases = rec->nphases;
	c->code.scratch_bytes = rec->scratch_bytes;
	memcpy(c->phases, rec->phases, sizeof c->phases);
	memcpy(c->info, rec->info, sizeof c->info);
	for (int i = 0; i < rec->nphases; i++)
		c->code.blocks[i] = rec->phases[i].blocks;
}

// From the disk; the caller holds the lock.
static bool load_code(struct runtime *r, struct cuda_code *c)
{
	size_t bytes = 0;
	double begun = now_ms();
	char *file = r->disk ? disk_load(disk_descriptor(r->disk), c->key, &bytes) : NULL;
	struct record rec;
	bool ok = file && bytes > sizeof rec && !file[bytes - 1];
	if (ok) {
		memcpy(&rec, file, sizeof rec);
		ok = rec.nphases >= 0 && rec.nphases <= 16 && (c->batch = load_batch(r, file + sizeof rec));
	}
	if (ok)
		take_record(c, &rec);
	free(file);
	c->code.loaded = ok;
	c->code.compile_ms = now_ms() - begun;
	return ok;
}

// ---- letting go; the caller holds the lock -------------------------------------------------------------------------

static void drop_codes(struct cuda_process *all, const struct cuda_batch *b)
{
	for (int i = 0; i < TG_COUNT(all->table); i++)
		for (struct cuda_code **at = &all->table[i]; *at;) {
			struct cuda_code *c = *at;
			if (c->batch != b) {
				at = &c->next;
				continue;
			}
			*at = c->next;
			code_free(c);
		}
}

static void drop_batch(struct cuda_process *all, struct cuda_batch *b)
{
	struct cuda_batch **at = &all->batches;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	drop_codes(all, b);
	if (b->module) { // a kernel of it may still run
		all->driver.cuCtxSetCurrent(all->context);
		all->driver.cuCtxSynchronize();
		all->driver.cuModuleUnload(b->module);
	}
	all->idle_bytes -= (int64_t)b->bytes;
	free(b->key);
	free(b->image);
	free(b);
}

// Until what no plan uses is not too much; the one let go last stays.
static void sweep(struct cuda_process *all)
{
	while (all->idle_bytes > all->most_idle_bytes) {
		struct cuda_batch *oldest = NULL;
		for (struct cuda_batch *b = all->batches; b; b = b->next)
			if (!b->refs && b->used && b->used < all->clock && (!oldest || b->used < oldest->used))
				oldest = b;
		if (!oldest)
			return;
		drop_batch(all, oldest);
	}
}

static void take_code(struct cuda_process *all, struct cuda_code *c)
{
	c->refs++;
	if (c->batch->refs++ == 0 && c->batch->used)
		all->idle_bytes -= (int64_t)c->batch->bytes;
}

static void rest(struct cuda_process *all, struct cuda_batch *b)
{
	b->used = ++all->clock;
	all->idle_bytes += (int64_t)b->bytes;
}

static void let_go(struct cuda_process *all, struct cuda_code *c)
{
	c->refs--;
	if (--c->batch->refs > 0)
		return;
	rest(all, c->batch);
	sweep(all);
}

void cuda_code_release(struct runtime *r, const struct code *code)
{
	if (!code)
		return;
	pthread_mutex_lock(&r->cuda->lock);
	let_go(r->cuda, (struct cuda_code *)(uintptr_t)code);
	pthread_mutex_unlock(&r->cuda->lock);
}

// ---- programs ------------------------------------------------------------------------------------------------------

struct job {
	const struct kernel *kernel;
	struct cuda_code *code;
	char *text;
	struct record rec;
};
struct work {
	struct runtime *r;
	const struct nvrtc *nvrtc;
	const struct target *target;
	const char *arch;
	struct job *jobs;
	int n, programs; // each has every so many-th job: they are as long as their neighbours, and so are the programs
	char *error; // the first
};

static void fail(struct work *w, char *error)
{
	pthread_mutex_lock(&w->r->cuda->lock);
	if (!w->error)
		w->error = error;
	else
		free(error);
	pthread_mutex_unlock(&w->r->cuda->lock);
}

static void emit(void *user, int at)
{
	struct work *w = user;
	struct job *j = &w->jobs[at];
	struct cuda_source s;
	char *error = emit_cuda(j->kernel, w->target, j->code->name, &s);
	if (error) {
		fail(w, error);
		return;
	}
	j->text = s.text;
	j->rec = (struct record){.nphases = s.nphases, .scratch_bytes = s.scratch_bytes};
	memcpy(j->rec.phases, s.phases, sizeof j->rec.phases);
}

// The longest texts first: they take the longest to compile.
static int by_length(const void *a, const void *b)
{
	const struct job *x = a, *y = b;
	size_t nx = strlen(x->text), ny = strlen(y->text);
	return nx != ny ? (nx < ny) - (nx > ny) : strcmp(x->code->name, y->code->name);
}

static void take_info(struct record *rec, const struct nvrtc_code *out)
{
	for (int p = 0; p < rec->nphases; p++)
		for (int i = 0; i < out->nfunctions; i++)
			if (strcmp(out->functions[i].name, rec->phases[p].name) == 0)
				rec->info[p] = out->functions[i];
}

static void store(struct runtime *r, const struct cuda_code *c, const struct record *rec)
{
	size_t n = strlen(c->batch->key) + 1;
	char *file = malloc(sizeof *rec + n);
	if (!file)
		return;
	memcpy(file, rec, sizeof *rec);
	memcpy(file + sizeof *rec, c->batch->key, n);
	disk_store(r->disk, c->key, file, sizeof *rec + n);
	free(file);
}

static void compile(void *user, int at)
{
	struct work *w = user;
	struct nvrtc_source sources[MOST];
	struct nvrtc_code out = {0};
	struct text key = {0};
	int n = (w->n - at + w->programs - 1) / w->programs;
	double begun = now_ms();
	text_add(&key, "tgc %s\nNVRTC %d\ntarget %s\nprogram", w->r->cuda->build, w->nvrtc->version,
	         w->target->name);
	for (int i = 0; i < n; i++) {
		struct job *j = &w->jobs[at + i * w->programs];
		sources[i] = (struct nvrtc_source){j->code->name, j->text};
		text_add(&key, " %s", j->code->name);
	}
	char *error = nvrtc_compile(w->nvrtc, w->arch, emit_cuda_prelude(), n, sources, false, &out);
	char *batch_key = text_take(&key);
	pthread_mutex_lock(&w->r->cuda->lock);
	void *image = out.code;
	size_t bytes = out.bytes;
	out.code = NULL;
	struct cuda_batch *b = error ? NULL : add_batch(w->r->cuda, batch_key, image, bytes);
	pthread_mutex_unlock(&w->r->cuda->lock);
	if (error)
		free(batch_key);
	else if (!b)
		error = strdup("out of memory");
	if (b && w->r->disk)
		disk_store(w->r->disk, b->key, b->image, b->bytes);
	for (int i = 0; i < n && b; i++) {
		struct job *j = &w->jobs[at + i * w->programs];
		take_info(&j->rec, &out);
		j->code->batch = b;
		j->code->code.compile_ms = (now_ms() - begun) / n;
		take_record(j->code, &j->rec);
		if (w->r->disk)
			store(w->r, j->code, &j->rec);
	}
	nvrtc_code_free(&out);
	if (error)
		fail(w, error);
}

// As few as hold them all and leave no thread without work, at the end neither.
static int programs_for(int n, int threads)
{
	int programs = threads * ((n + threads * MOST - 1) / (threads * MOST));
	return programs < n ? programs : n;
}

// ---- a request -----------------------------------------------------------------------------------------------------

// Found or loaded, and taken; or a new job, taken when it is done. The caller holds the lock. NULL: out of memory.
static struct cuda_code *claim(struct tgc_context *c, struct work *w, const struct kernel *k)
{
	struct cuda_process *all = w->r->cuda;
	char name[48], *key = key_of(all, w->nvrtc, w->target, k);
	if (!key)
		return NULL;
	snprintf(name, sizeof name, "k%s", disk_name(key).s);
	struct cuda_code *x = find(all, name, key);
	if (x) {
		free(key);
		c->stats.kernels_reused++;
		take_code(all, x);
		return x;
	}
	for (int i = 0; i < w->n; i++) // twice in one plan
		if (strcmp(w->jobs[i].code->key, key) == 0) {
			free(key);
			c->stats.kernels_reused++;
			return w->jobs[i].code;
		}
	x = calloc(1, sizeof *x);
	if (!x) {
		free(key);
		return NULL;
	}
	x->key = key;
	memcpy(x->name, name, sizeof name);
	if (load_code(w->r, x)) {
		x->next = *bucket(all, name);
		*bucket(all, name) = x;
		c->stats.kernels_loaded++;
		take_code(all, x);
	} else {
		x->fresh = true;
		w->jobs[w->n++] = (struct job){.kernel = k, .code = x};
	}
	return x;
}

// What was compiled enters the table; after an error nothing of it does.
static void settle(struct tgc_context *c, struct work *w, bool ok)
{
	struct cuda_process *all = w->r->cuda;
	for (int i = 0; i < w->n; i++) {
		struct cuda_code *x = w->jobs[i].code;
		free(w->jobs[i].text);
		if (!ok) {
			if (x->batch && !x->batch->refs && !x->batch->used)
				rest(all, x->batch); // its other kernels may be of use
			code_free(x);
			continue;
		}
		x->fresh = false;
		x->next = *bucket(all, x->name);
		*bucket(all, x->name) = x;
		c->stats.kernels_compiled++;
		context_log(c, 't', "%s compiled in %.1f ms, %d registers, %d bytes spilled", x->name,
		            x->code.compile_ms, x->info[0].registers, x->info[0].spill_bytes);
	}
}

tgc_status cuda_codes_get(struct tgc_context *c, struct runtime *r, const struct nvrtc *n,
                          const struct target *t, int threads, int count, struct kernel *const *kernels,
                          const struct code **codes)
{
	struct work w = {.r = r,
	                 .nvrtc = n,
	                 .target = t,
	                 .arch = t->name,
	                 .jobs = calloc((size_t)count + 1, sizeof *w.jobs)};
	bool ok = w.jobs && cuda_process(c, r);
	int claimed = 0;
	threads = threads > 2 ? 2 : threads; // more do not help NVRTC
	if (ok) {
		pthread_mutex_lock(&r->cuda->lock);
		for (int i = 0; i < count && ok; i++) {
			struct cuda_code *x = claim(c, &w, kernels[i]);
			codes[i] = x ? &x->code : NULL;
			ok = x;
			claimed += ok;
		}
		pthread_mutex_unlock(&r->cuda->lock);
		w.programs = programs_for(w.n, threads);
		disk_pause(r->disk, 1);
		if (ok)
			parallel_run(w.n, threads, emit, &w);
		ok = ok && !w.error;
		if (ok && w.n)
			qsort(w.jobs, (size_t)w.n, sizeof *w.jobs, by_length);
		if (ok)
			parallel_run(w.programs, threads, compile, &w);
		disk_pause(r->disk, -1);
		pthread_mutex_lock(&r->cuda->lock);
		ok = ok && !w.error;
		for (int i = 0; i < claimed; i++) {
			struct cuda_code *x = (struct cuda_code *)(uintptr_t)codes[i];
			if (ok && x->fresh)
				take_code(r->cuda, x);
			else if (!ok && !x->fresh)
				let_go(r->cuda, x);
		}
		settle(c, &w, ok);
		pthread_mutex_unlock(&r->cuda->lock);
	}
	tgc_status s = w.error ? context_fail(c, TGC_ERROR_COMPILE, "compile", "%s", w.error)
	               : ok    ? TGC_OK
	                       : context_fail(c, TGC_ERROR_MEMORY, "compile", "no memory for kernels");
	free(w.error);
	free(w.jobs);
	return s;
}
