// Kernels to machine code, once per canonical text in the whole process, or from the disk.
// In:  kernels after the passes. Out: callable phases, kept while somebody uses them and a while longer.
// Not here: what a kernel looks like (codegen/), files (disk.c). Objects are handed to ORC, never modules, so that kernels
// compile side by side, each job with an LLVM context and a target machine of its own. A kernel that another
// context is compiling is waited for, after one's own are done.
#include "runtime.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>

enum { TABLE = 1024, MAX_UNUSED = 1024 };

enum state { BUILDING, READY, FAILED };
struct entry {            // of the cache; guarded by the runtime's lock, but for what its one builder writes
	struct code code; // first: jit_release finds the entry by it
	struct entry *next;
	XXH128_hash_t hash;
	char *text;      // all that the code depends on: compiler, processor, kernel. Compared in full
	char symbol[64]; // its functions' names start with it
	bool named;      // by the hash alone, as on the disk
	int refs;
	enum state state;
	LLVMOrcResourceTrackerRef memory;
};
struct jit {
	LLVMOrcLLJITRef lljit;
	struct entry *table[TABLE];
	int unused;
	uint64_t serial;
	char build[96]; // which tgc this is
	pthread_cond_t built;
};

bool jit_available(void)
{
	return true;
}

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

// ---- opening and closing; the caller holds the lock or is alone ----------------------------------------------------

static char *take_error(LLVMErrorRef e)
{
	char *m = LLVMGetErrorMessage(e), *copy = strdup(m);
	LLVMDisposeErrorMessage(m);
	return copy;
}

// Without the disk everything works, so this is no error.
static void open_disk(struct tgc_context *c, struct runtime *r)
{
	struct disk_place place = {.reason = "tgc was linked without a build id"};
	if (disk_build_id(r->jit->build, sizeof r->jit->build) && !r->disk)
		r->disk = disk_open(&place, DISK_LIMIT_BYTES);
	context_log(c, 't', "disk cache %s: %s", r->disk ? place.folder : "off", place.reason);
}

// malloc'ed text of what went wrong.
static char *open_jit(struct tgc_context *c, struct runtime *r)
{
	LLVMErrorRef e;
	struct jit *j = calloc(1, sizeof *j);
	if (!j)
		return strdup("out of memory");
	if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter()) {
		free(j);
		return strdup("LLVM knows nothing of this processor");
	}
	e = LLVMOrcCreateLLJIT(&j->lljit, NULL);
	if (e) {
		free(j);
		return take_error(e);
	}
	pthread_cond_init(&j->built, NULL);
	r->jit = j;
	open_disk(c, r);
	return NULL;
}

static void drop_code(struct entry *e)
{
	LLVMErrorRef error = e->memory ? LLVMOrcResourceTrackerRemove(e->memory) : NULL;
	if (error)
		LLVMConsumeError(error);
	if (e->memory)
		LLVMOrcReleaseResourceTracker(e->memory);
	e->memory = NULL;
}

static void entry_free(struct entry *e)
{
	drop_code(e);
	free(e->text);
	free(e);
}

void jit_close(struct runtime *r)
{
	struct jit *j = r->jit;
	for (int i = 0; i < TABLE; i++)
		while (j->table[i]) {
			struct entry *e = j->table[i];
			j->table[i] = e->next;
			entry_free(e);
		}
	LLVMErrorRef error = LLVMOrcDisposeLLJIT(j->lljit);
	if (error)
		LLVMConsumeError(error);
	pthread_cond_destroy(&j->built);
	free(j);
	r->jit = NULL;
}

// ---- the cache; the caller holds the lock --------------------------------------------------------------------------

// text NULL: any of that hash.
static struct entry *find(struct jit *j, XXH128_hash_t hash, const char *text)
{
	for (struct entry *e = j->table[hash.low64 % TABLE]; e; e = e->next)
		if (XXH128_isEqual(e->hash, hash) && (!text || strcmp(e->text, text) == 0))
			return e;
	return NULL;
}

// Frees what nobody uses; all: else only when there is too much of it.
static void sweep(struct jit *j)
{
	if (j->unused <= MAX_UNUSED)
		return;
	for (int i = 0; i < TABLE; i++)
		for (struct entry **p = &j->table[i]; *p;) {
			struct entry *e = *p;
			if (e->refs > 0) {
				p = &e->next;
				continue;
			}
			*p = e->next;
			entry_free(e);
		}
	j->unused = 0;
}

static void unref(struct jit *j, struct entry *e)
{
	if (--e->refs > 0)
		return;
	if (e->state != FAILED) {
		j->unused++;
		sweep(j);
		return;
	}
	struct entry **p = &j->table[e->hash.low64 % TABLE];
	while (*p && *p != e)
		p = &(*p)->next;
	if (*p)
		*p = e->next;
	entry_free(e);
}

void jit_release(struct runtime *r, const struct code *code)
{
	if (!code || process_forked(r))
		return;
	pthread_mutex_lock(&r->lock);
	unref(r->jit, (struct entry *)(uintptr_t)code);
	pthread_mutex_unlock(&r->lock);
}

// ---- compiling -----------------------------------------------------------------------------------------------------

struct job { // one kernel that the cache does not hold
	const struct kernel *kernel;
	struct entry *entry;
	char name[24]; // in messages
	char *ir, *assembly, *error;
	size_t bytes;
};
struct batch {
	struct tgc_context *c;
	struct runtime *r;
	const struct target *target;
	struct kernel *const *kernels;
	int n, njobs;
	char *stamp;            // of compiler and target
	char **texts;           // by kernel
	struct entry **entries; // by kernel
	struct job *jobs;
};

static void make_text(void *user, int i)
{
	const struct batch *b = user;
	struct text s = {0};
	text_add(&s, "tgc %s\n%starget %s\n", b->r->jit->build, b->stamp, b->target->name);
	kernel_print(b->kernels[i], &s);
	b->texts[i] = text_take(&s);
}

// The caller holds the lock.
static char *link_object(struct jit *jit, const struct job *j, const void *object, size_t bytes)
{
	LLVMOrcJITDylibRef library = LLVMOrcLLJITGetMainJITDylib(jit->lljit);
	struct entry *entry = j->entry;
	struct code *code = &entry->code;
	entry->memory = LLVMOrcJITDylibCreateResourceTracker(library);
	LLVMErrorRef e = LLVMOrcLLJITAddObjectFileWithRT(
	    jit->lljit, entry->memory, LLVMCreateMemoryBufferWithMemoryRangeCopy(object, bytes, j->name));
	for (int p = 0; !e && p < j->kernel->nphases; p++) {
		char symbol[80];
		LLVMOrcExecutorAddress at = 0;
		snprintf(symbol, sizeof symbol, "%s_p%d", entry->symbol, p);
		e = LLVMOrcLLJITLookup(jit->lljit, &at, symbol);
		code->fn[p] = (kernel_fn *)(uintptr_t)at;
		code->blocks[p] = j->kernel->blocks[p];
	}
	code->nphases = j->kernel->nphases;
	code->scratch_bytes = j->kernel->scratch_bytes;
	if (e)
		drop_code(entry);
	return e ? take_error(e) : NULL;
}

// Who asks to see IR or assembly gets it.
static bool wants_text(const struct batch *b)
{
	return debug_on(b->c, 'l') || debug_on(b->c, 'a');
}

static bool load(struct batch *b, struct job *j)
{
	struct runtime *r = b->r;
	bool usable = r->disk && j->entry->named && !wants_text(b);
	void *object = usable ? disk_load(disk_descriptor(r->disk), j->entry->text, &j->bytes) : NULL;
	if (!object)
		return false;
	pthread_mutex_lock(&r->lock);
	char *error = link_object(r->jit, j, object, j->bytes);
	pthread_mutex_unlock(&r->lock);
	free(object);
	free(error);
	j->entry->code.loaded = !error;
	return !error;
}

static char *translate(struct batch *b, struct job *j)
{
	struct runtime *r = b->r;
	void *object = NULL;
	char *error = emit_llvm_object(j->kernel, b->target, j->entry->symbol, &object, &j->bytes,
	                               debug_on(b->c, 'l') ? &j->ir : NULL,
	                               debug_on(b->c, 'a') ? &j->assembly : NULL);
	if (!error) {
		pthread_mutex_lock(&r->lock);
		error = link_object(r->jit, j, object, j->bytes);
		pthread_mutex_unlock(&r->lock);
	}
	if (!error && r->disk && j->entry->named)
		disk_store(r->disk, j->entry->text, object, j->bytes);
	free(object);
	return error;
}

static void compile(void *user, int i)
{
	struct batch *b = user;
	struct job *j = &b->jobs[i];
	double begun = now_ms();
	if (!load(b, j))
		j->error = translate(b, j);
	j->entry->code.compile_ms = now_ms() - begun;
	pthread_mutex_lock(&b->r->lock);
	j->entry->state = j->error ? FAILED : READY;
	pthread_cond_broadcast(&b->r->jit->built);
	pthread_mutex_unlock(&b->r->lock);
}

// ---- one request ---------------------------------------------------------------------------------------------------

// Two entries of one hash are one that failed and is tried again, or an accident: the later one has a name of its
// own, and the disk does not know it.
static struct entry *entry_new(struct jit *jit, XXH128_hash_t hash, char *text)
{
	struct entry *e = calloc(1, sizeof *e);
	if (!e)
		return NULL;
	struct entry **bucket = &jit->table[hash.low64 % TABLE];
	*e = (struct entry){.hash = hash, .text = text, .refs = 1, .next = *bucket};
	e->named = !find(jit, hash, NULL);
	int n = snprintf(e->symbol, sizeof e->symbol, "k%s", disk_name(text).s);
	if (!e->named)
		snprintf(e->symbol + n, sizeof e->symbol - (size_t)n, "_%llu", (unsigned long long)jit->serial);
	return *bucket = e;
}

// Takes a reference on each kernel's entry; those that are new become jobs. The caller holds the lock.
static bool claim(struct batch *b)
{
	struct jit *jit = b->r->jit;
	for (int i = 0; i < b->n; i++) {
		if (!b->texts[i])
			return false;
		XXH128_hash_t hash = XXH3_128bits(b->texts[i], strlen(b->texts[i]));
		struct entry *e = find(jit, hash, b->texts[i]);
		if (e && e->state != FAILED) {
			jit->unused -= e->refs == 0;
			e->refs++;
			b->entries[i] = e;
			b->c->stats.kernels_reused++;
			continue;
		}
		e = entry_new(jit, hash, b->texts[i]);
		if (!e)
			return false;
		b->texts[i] = NULL;
		b->entries[i] = e;
		b->jobs[b->njobs] = (struct job){.kernel = b->kernels[i], .entry = e};
		snprintf(b->jobs[b->njobs++].name, sizeof b->jobs->name, "k%llu",
		         (unsigned long long)++jit->serial);
	}
	return true;
}

// What was claimed is compiled even if a later claim found no memory: others may wait for it already.
static tgc_status settle(struct batch *b, bool claimed)
{
	bool failed = false;
	for (int i = 0; i < b->n; i++) {
		while (b->entries[i] && b->entries[i]->state == BUILDING)
			pthread_cond_wait(&b->r->jit->built, &b->r->lock);
		failed |= b->entries[i] && b->entries[i]->state == FAILED;
	}
	if (claimed && !failed)
		return TGC_OK;
	for (int i = 0; i < b->n; i++)
		if (b->entries[i])
			unref(b->r->jit, b->entries[i]);
	return claimed ? TGC_ERROR_COMPILE : TGC_ERROR_MEMORY;
}

static void report(struct batch *b, tgc_status s)
{
	struct tgc_context *c = b->c;
	for (int i = 0; i < b->njobs; i++) {
		struct job *j = &b->jobs[i];
		debug_text(c, 'l', j->ir);
		debug_text(c, 'a', j->assembly);
		if (j->error)
			context_fail(c, TGC_ERROR_COMPILE, "compile", "%s: %s", j->name, j->error);
		else if (!s)
			context_log(c, 't', "%s %s in %.1f ms, %zu bytes", j->name,
			            j->entry->code.loaded ? "loaded from the disk" : "compiled",
			            j->entry->code.compile_ms, j->bytes);
		c->stats.kernels_loaded += !j->error && j->entry->code.loaded;
		c->stats.kernels_compiled += !j->error && !j->entry->code.loaded;
		free(j->ir);
		free(j->assembly);
		free(j->error);
	}
	if (s)
		context_fail(c, s, "compile",
		             s == TGC_ERROR_MEMORY ? "out of memory" : "another context's kernel failed");
}

tgc_status jit_compile(struct tgc_context *c, struct runtime *r, int threads, int n,
                       struct kernel *const *kernels, const struct target *t, const struct code **codes)
{
	struct batch b = {.c = c, .r = r, .target = t, .kernels = kernels, .n = n};
	tgc_status s = TGC_ERROR_MEMORY;
	b.texts = calloc((size_t)n + 1, sizeof *b.texts);
	b.entries = calloc((size_t)n + 1, sizeof *b.entries);
	b.jobs = calloc((size_t)n + 1, sizeof *b.jobs);
	b.stamp = emit_llvm_stamp(t);
	if (b.texts && b.entries && b.jobs && b.stamp) {
		pthread_mutex_lock(&r->lock);
		char *why = r->jit ? NULL : open_jit(c, r);
		pthread_mutex_unlock(&r->lock);
		if (why) {
			s = context_fail(c, TGC_ERROR_COMPILE, "compile", "%s", why);
			free(why);
		} else {
			parallel_run(n, threads, make_text, &b);
			pthread_mutex_lock(&r->lock);
			bool claimed = claim(&b);
			pthread_mutex_unlock(&r->lock);
			disk_pause(r->disk, 1);
			parallel_run(b.njobs, threads, compile, &b);
			disk_pause(r->disk, -1);
			pthread_mutex_lock(&r->lock);
			s = settle(&b, claimed);
			pthread_mutex_unlock(&r->lock);
		}
	}
	report(&b, s);
	for (int i = 0; i < n && b.texts && b.entries; i++) {
		codes[i] = s ? NULL : &b.entries[i]->code;
		free(b.texts[i]);
	}
	free(b.stamp);
	free(b.texts);
	free(b.entries);
	free(b.jobs);
	return s;
}
