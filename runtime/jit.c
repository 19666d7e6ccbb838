// Kernels to machine code, once per canonical text in the whole process.
// In:  kernels after the passes. Out: callable phases, which live as long as the process-wide cache.
// Not here: what a kernel looks like (codegen/). Objects are handed to ORC, never modules, so that kernels
// compile side by side, each thread with an LLVM context and a target machine of its own.
#include "runtime.h"

#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <xxhash.h>

struct entry { // of the cache
	struct entry *next;
	uint64_t hash;
	char *text; // target and canonical kernel text, compared in full
	struct code code;
};
struct jit {
	LLVMOrcLLJITRef lljit;
	struct entry **table;
	size_t cap, used;
	uint64_t serial;
};

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

bool jit_available(void) { return true; }

// ---- opening and closing; the caller holds the runtime's lock ------------------------------------------------

static char *take_error(LLVMErrorRef e)
{
	char *m = LLVMGetErrorMessage(e);
	char *copy = strdup(m);
	LLVMDisposeErrorMessage(m);
	return copy;
}

static char *open_jit(struct runtime *r)
{
	struct jit *j = calloc(1, sizeof *j);
	if (!j)
		return strdup("out of memory");
	if (LLVMInitializeNativeTarget() || LLVMInitializeNativeAsmPrinter()) {
		free(j);
		return strdup("LLVM knows nothing of this processor");
	}
	j->cap = 256;
	j->table = calloc(j->cap, sizeof(struct entry *));
	LLVMErrorRef e = j->table ? LLVMOrcCreateLLJIT(&j->lljit, NULL) : NULL;
	if (e || !j->table) {
		free(j->table);
		free(j);
		return e ? take_error(e) : strdup("out of memory");
	}
	r->jit = j;
	return NULL;
}

void jit_close(struct runtime *r)
{
	struct jit *j = r->jit;
	for (size_t i = 0; i < j->cap; i++)
		while (j->table[i]) {
			struct entry *e = j->table[i];
			j->table[i] = e->next;
			free(e->text);
			free(e);
		}
	LLVMErrorRef e = LLVMOrcDisposeLLJIT(j->lljit);
	if (e)
		LLVMConsumeError(e);
	free(j->table);
	free(j);
	r->jit = NULL;
}

// ---- the cache; the caller holds the lock ---------------------------------------------------------------------

static struct entry *find(const struct jit *j, uint64_t hash, const char *text)
{
	for (struct entry *e = j->table[hash & (j->cap - 1)]; e; e = e->next)
		if (e->hash == hash && strcmp(e->text, text) == 0)
			return e;
	return NULL;
}

static void grow(struct jit *j)
{
	struct entry **wide = calloc(j->cap * 2, sizeof(struct entry *));
	if (!wide)
		return;
	for (size_t i = 0; i < j->cap; i++)
		while (j->table[i]) {
			struct entry *e = j->table[i];
			j->table[i] = e->next;
			size_t at = e->hash & (j->cap * 2 - 1);
			e->next = wide[at];
			wide[at] = e;
		}
	free(j->table);
	j->table = wide;
	j->cap *= 2;
}

static void insert(struct jit *j, struct entry *e)
{
	if (j->used++ >= j->cap)
		grow(j);
	size_t at = e->hash & (j->cap - 1);
	e->next = j->table[at];
	j->table[at] = e;
}

// ---- compiling ------------------------------------------------------------------------------------------------

struct job { // one kernel that the cache does not hold
	const struct kernel *kernel;
	char *text;
	uint64_t hash;
	char name[32];
	void *object;
	size_t object_bytes;
	char *error;
	double ms;
	struct entry *entry;
};
struct batch {
	struct job *jobs;
	int n;
	_Atomic int next;
	const struct target *target;
	struct tgc_context *c;
};

static void compile(struct batch *b, struct job *j)
{
	double t = now_ms();
	bool want_ir = b->c->debug >> ('l' - 'a') & 1, want_asm = b->c->debug >> ('a' - 'a') & 1;
	char *ir = NULL, *assembly = NULL;
	j->error = emit_llvm_object(j->kernel, b->target, j->name, &j->object, &j->object_bytes, want_ir ? &ir : NULL,
	                            want_asm ? &assembly : NULL);
	if (ir)
		fputs(ir, stderr);
	if (assembly)
		fputs(assembly, stderr);
	free(ir);
	free(assembly);
	j->ms = now_ms() - t;
}

static void *compile_some(void *user)
{
	struct batch *b = user;
	for (int i; (i = atomic_fetch_add(&b->next, 1)) < b->n;)
		compile(b, &b->jobs[i]);
	return NULL;
}

static void compile_all(struct batch *b, int threads)
{
	enum { MAX = 16 };
	pthread_t id[MAX];
	int extra = (threads < b->n ? threads : b->n) - 1, started = 0;
	for (; started < extra && started < MAX; started++)
		if (pthread_create(&id[started], NULL, compile_some, b) != 0)
			break;
	compile_some(b);
	for (int i = 0; i < started; i++)
		pthread_join(id[i], NULL);
}

static char *link_object(struct jit *jit, struct job *j)
{
	LLVMMemoryBufferRef mb = LLVMCreateMemoryBufferWithMemoryRangeCopy(j->object, j->object_bytes, j->name);
	LLVMErrorRef e = LLVMOrcLLJITAddObjectFile(jit->lljit, LLVMOrcLLJITGetMainJITDylib(jit->lljit), mb);
	struct code *code = &j->entry->code;
	for (int p = 0; !e && p < j->kernel->nphases; p++) {
		char symbol[48];
		LLVMOrcExecutorAddress at = 0;
		snprintf(symbol, sizeof symbol, "%s_p%d", j->name, p);
		e = LLVMOrcLLJITLookup(jit->lljit, &at, symbol);
		code->fn[p] = (kernel_fn *)(uintptr_t)at;
		code->blocks[p] = j->kernel->blocks[p];
	}
	code->nphases = j->kernel->nphases;
	code->scratch_bytes = j->kernel->scratch_bytes;
	code->compile_ms = j->ms;
	return e ? take_error(e) : NULL;
}

static tgc_status publish(struct tgc_context *c, struct jit *jit, struct job *j)
{
	char *why = j->error;
	if (!why) {
		j->entry = calloc(1, sizeof *j->entry);
		if (!j->entry)
			return context_fail(c, TGC_ERROR_MEMORY, "compile", "no memory for a kernel");
		why = link_object(jit, j);
	}
	if (why) {
		context_fail(c, TGC_ERROR_COMPILE, "compile", "%s: %s", j->name, why);
		free(j->entry);
		free(why);
		j->entry = NULL;
		j->error = NULL;
		return TGC_ERROR_COMPILE;
	}
	j->entry->hash = j->hash;
	j->entry->text = j->text;
	j->text = NULL;
	insert(jit, j->entry);
	context_log(c, 't', "%s compiled in %.1f ms, %zu bytes", j->name, j->ms, j->object_bytes);
	return TGC_OK;
}

static char *key_text(const struct kernel *k, const struct target *t)
{
	struct text s = {0};
	text_add(&s, "target %s %s\n", t->name, t->features ? t->features : "host");
	kernel_print(k, &s);
	return text_take(&s);
}

// Serves kernels[] from the cache where it can; the rest, each text once, becomes jobs.
static tgc_status sort_out(struct tgc_context *c, struct jit *jit, int n, struct kernel *const *kernels,
                           struct batch *b, int *job_of, const struct code **codes)
{
	for (int i = 0; i < n; i++) {
		char *text = key_text(kernels[i], b->target);
		if (!text)
			return context_fail(c, TGC_ERROR_MEMORY, "compile", "no memory for a kernel's text");
		uint64_t hash = XXH3_64bits(text, strlen(text));
		struct entry *e = find(jit, hash, text);
		job_of[i] = -1;
		for (int k = 0; !e && k < b->n; k++)
			if (b->jobs[k].hash == hash && strcmp(b->jobs[k].text, text) == 0)
				job_of[i] = k;
		if (e || job_of[i] >= 0) {
			codes[i] = e ? &e->code : NULL;
			c->stats.kernels_reused++;
			free(text);
			continue;
		}
		job_of[i] = b->n;
		struct job *j = &b->jobs[b->n++];
		*j = (struct job){.kernel = kernels[i], .text = text, .hash = hash};
		snprintf(j->name, sizeof j->name, "k%llu", (unsigned long long)++jit->serial);
	}
	return TGC_OK;
}

tgc_status jit_compile(struct tgc_context *c, struct runtime *r, int threads, int n, struct kernel *const *kernels,
                       const struct target *t, const struct code **codes)
{
	struct batch b = {.target = t, .c = c};
	b.jobs = calloc((size_t)n + 1, sizeof *b.jobs);
	int *job_of = calloc((size_t)n + 1, sizeof *job_of);
	tgc_status s = TGC_OK;
	// The lock is held throughout: two contexts that want the same kernel compile it once.
	pthread_mutex_lock(&r->lock);
	char *why = r->jit ? NULL : open_jit(r);
	if (!b.jobs || !job_of)
		s = context_fail(c, TGC_ERROR_MEMORY, "compile", "no memory");
	else if (why)
		s = context_fail(c, TGC_ERROR_COMPILE, "compile", "%s", why);
	else
		s = sort_out(c, r->jit, n, kernels, &b, job_of, codes);
	free(why);
	if (!s)
		compile_all(&b, threads);
	for (int i = 0; !s && i < b.n; i++)
		s = publish(c, r->jit, &b.jobs[i]);
	for (int i = 0; !s && i < n; i++)
		if (job_of[i] >= 0)
			codes[i] = &b.jobs[job_of[i]].entry->code;
	if (!s)
		c->stats.kernels_compiled += (uint64_t)b.n;
	pthread_mutex_unlock(&r->lock);
	for (int i = 0; i < b.n; i++) {
		free(b.jobs[i].text);
		free(b.jobs[i].object);
		free(b.jobs[i].error);
	}
	free(b.jobs);
	free(job_of);
	return s;
}
