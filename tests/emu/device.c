// The device "cuda-emu" of the tests: plans run like a GPU's, their kernels' CUDA C on the emulator.
// In:  kernels of a plan, memory of the host. Out: what they store. Every launch runs twice, in two orders of
// threads and blocks and with copies early and late, on copies of its buffers between guard pages; both must
// leave the same bits. What a step is the first to write is poisoned before. Texts are compiled once a process,
// many in one call of the C compiler. Not here: the emulator (machine.c).
#include "device.h"

#include <stdlib.h>

#include "check_nvrtc.h"
#include "emu.h"
#include "plant.h"

enum { TABLE = 4096, MAX_BUFS = 1024, CHUNK = 12, BIG = 1 << 22 };

struct emu_code {
	struct code code; // first
	struct emu_code *next;
	char *key, name[48];
	struct cuda_source source;
	void *fn[16];
	bool failed;
};
static struct emu_code *table[TABLE];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	const struct emu_bug *bug; // NULL: none
	int number, changed;       // bugs so far; kernels that have this one
} plant;

// ---- compiling ----------------------------------------------------------------------------------------------

static struct emu_code **bucket(const char *key)
{
	uint32_t h = 2166136261u;
	for (const char *p = key; *p; p++)
		h = (h ^ (unsigned char)*p) * 16777619u;
	return &table[h % TABLE];
}

struct batch {
	struct emu_code **fresh;
	int n;
	char *error; // the first
};

static void build(void *user, int chunk)
{
	struct batch *b = user;
	const char *names[CHUNK] = {0}, *texts[CHUNK] = {0};
	struct emu_library *library = NULL;
	int from = chunk * CHUNK, n = b->n - from < CHUNK ? b->n - from : CHUNK;
	for (int i = 0; i < n; i++) {
		names[i] = b->fresh[from + i]->name;
		texts[i] = b->fresh[from + i]->source.text;
	}
	char *error = emu_build(n, names, texts, &library);
	if (!error)
		error = emu_nvrtc_own(n, names, texts);
	for (int i = 0; i < n && !error; i++) {
		struct emu_code *c = b->fresh[from + i];
		for (int p = 0; p < c->source.nphases; p++)
			c->fn[p] = emu_function(library, c->source.phases[p].name);
	}
	if (!error)
		return;
	for (int i = 0; i < n; i++)
		b->fresh[from + i]->failed = true;
	pthread_mutex_lock(&lock);
	if (!b->error) {
		struct text t = {0};
		text_add(&t, "%s", error);
		for (int i = 0; i < n; i++)
			text_add(&t, "\n%s", texts[i]);
		b->error = text_take(&t);
	}
	pthread_mutex_unlock(&lock);
	free(error);
}

static char *key_of(const struct kernel *k)
{
	struct text t = {0};
	if (plant.bug)
		text_add(&t, "bug %d\n", plant.number);
	kernel_print(k, &t);
	return text_take(&t);
}

void emu_plant(const struct emu_bug *b)
{
	plant.bug = b;
	plant.number++;
	plant.changed = 0;
}

int emu_planted(void)
{
	return plant.changed;
}

static void change(struct emu_code *c)
{
	char *text = plant.bug && c->source.text ? emu_changed(c->source.text, plant.bug) : NULL;
	if (!text)
		return;
	free(c->source.text);
	c->source.text = text;
	plant.changed++;
}

static struct emu_code *code_new(const struct kernel *k, const struct target *t, char *key, char **error)
{
	static int serial;
	struct emu_code *c = calloc(1, sizeof *c);
	snprintf(c->name, sizeof c->name, "k%d", serial++);
	c->key = key;
	*error = emit_cuda(k, t, c->name, &c->source);
	change(c);
	c->code.nphases = c->source.nphases;
	for (int p = 0; p < c->source.nphases; p++)
		c->code.blocks[p] = c->source.phases[p].blocks;
	return c;
}

static tgc_status compile(struct tgc_context *c, int n, struct kernel *const *kernels,
                          const struct code **codes)
{
	struct batch b = {.fresh = calloc((size_t)n + 1, sizeof *b.fresh)};
	const struct target *t = device_of(c)->target;
	pthread_mutex_lock(&lock);
	for (int i = 0; i < n && !b.error; i++) {
		char *key = key_of(kernels[i]);
		struct emu_code **at = bucket(key), *x = *at;
		while (x && (x->failed || strcmp(x->key, key) != 0))
			x = x->next;
		if (x) {
			free(key);
			c->stats.kernels_reused++;
		} else {
			x = code_new(kernels[i], t, key, &b.error);
			x->failed = b.error;
			x->next = *at;
			*at = x;
			b.fresh[b.n++] = x;
			if (debug_on(c, 'k'))
				debug_text(c, 'k', x->source.text);
		}
		codes[i] = &x->code;
	}
	pthread_mutex_unlock(&lock);
	if (!b.error)
		parallel_run((b.n + CHUNK - 1) / CHUNK, 2, build, &b);
	c->stats.kernels_compiled += (uint64_t)b.n;
	tgc_status s = b.error ? context_fail(c, TGC_ERROR_COMPILE, "compile", "%s", b.error) : TGC_OK;
	free(b.error);
	free(b.fresh);
	return s;
}

static void release(struct runtime *r, const struct code *code)
{
	(void)r, (void)code;
}

void emu_each_source(void (*fn)(void *user, const char *name, const char *text), void *user)
{
	for (int i = 0; i < TABLE; i++)
		for (struct emu_code *c = table[i]; c; c = c->next)
			if (!c->failed)
				fn(user, c->name, c->source.text);
}

// ---- one launch ----------------------------------------------------------------------------------------------------

struct stage { // a launch's buffers, between guard pages
	const struct plan_entry *e;
	const struct step_run *r;
	const struct emu_code *code;
	struct emu_guard guards[MAX_BUFS], scratch;
	char *home[MAX_BUFS]; // where each guard's bytes belong
	int n;
	void *args[MAX_BUFS], *tables[MAX_BUFS];
};

// What the step is the first to write is poisoned instead of copied.
static void *take(struct stage *s, int buf)
{
	const struct pbuf *b = &s->e->plan->bufs[buf];
	char *home = s->e->memory[buf];
	for (int i = 0; i < s->n; i++)
		if (s->home[i] == home)
			return s->guards[i].data;
	if (s->n == MAX_BUFS || !emu_guard_new(&s->guards[s->n], b->bytes))
		return NULL;
	bool first = b->cls != BUF_LEAF && b->first == s->r - s->e->steps;
	if (!first && b->bytes)
		memcpy(s->guards[s->n].data, home, (size_t)b->bytes);
	s->home[s->n] = home;
	return s->guards[s->n++].data;
}

static bool open_stage(struct stage *s, const struct plan_entry *e, const struct step_run *r)
{
	int ntables = 0, n = 0;
	s->e = e;
	s->r = r;
	s->code = (const struct emu_code *)(const void *)r->code;
	if (r->nargs + r->nscalars + 1 > MAX_BUFS || r->nargs * r->nsegs > MAX_BUFS)
		return false;
	for (int i = 0; i < r->nargs; i++) {
		void **first = r->segmented[i] ? &s->tables[ntables] : &s->args[n];
		for (int k = 0; k < (r->segmented[i] ? r->nsegs : 1); k++)
			if (!(first[k] = take(s, r->bufs[i * r->nsegs + k])))
				return false;
		ntables += r->segmented[i] ? r->nsegs : 0;
		s->args[n++] = r->segmented[i] ? (void *)first : *first;
	}
	for (int i = 0; i < r->nscalars; i++)
		s->args[n++] = e->args[r->nargs + i];
	if (!s->code->source.scratch_bytes)
		return true;
	s->args[n] = emu_guard_new(&s->scratch, s->code->source.scratch_bytes) ? s->scratch.data : NULL;
	return s->args[n];
}

static void close_stage(struct stage *s)
{
	for (int i = 0; i < s->n; i++)
		emu_guard_free(&s->guards[i]);
	emu_guard_free(&s->scratch);
	free(s);
}

static char *run_phases(struct stage *s, enum emu_order order, bool reverse, bool deferred)
{
	const struct cuda_source *source = &s->code->source;
	char *error = NULL;
	for (int p = 0; p < source->nphases && !error; p++) {
		struct emu_launch l = {.name = source->phases[p].name,
		                       .fn = s->code->fn[p],
		                       .args = s->args,
		                       .nargs = s->r->nargs + s->r->nscalars + (source->scratch_bytes > 0),
		                       .threads = source->phases[p].threads,
		                       .blocks = source->phases[p].blocks,
		                       .shared_bytes = source->phases[p].shared_bytes,
		                       .order = order,
		                       .reverse_blocks = reverse,
		                       .deferred = deferred};
		error = emu_launch(&l);
	}
	for (int i = 0; i < s->n && !error; i++)
		if (!emu_guard_intact(&s->guards[i]))
			error = strdup("wrote behind a buffer");
	return error;
}

static char *difference(const struct stage *a, const struct stage *b)
{
	char *error = NULL;
	for (int i = 0; i < a->n && !error; i++)
		if (memcmp(a->guards[i].data, b->guards[i].data, (size_t)a->guards[i].bytes) != 0)
			if (asprintf(&error, "%s: buffer %d depends on the order of threads", a->code->name,
			             i) < 0)
				error = NULL;
	return error;
}

static char *run_both(struct stage *a, struct stage *b, int64_t serial)
{
	const struct cuda_source *source = &a->code->source;
	int64_t threads = 0;
	for (int p = 0; p < source->nphases; p++)
		threads += source->phases[p].blocks * source->phases[p].threads;
	// Where a warp goes ahead of others a barrier is missed that lies between them and their fragments.
	char *error = run_phases(a, EMU_WARP, false, serial % 2);
	if (error || threads > BIG) // long ones once
		return error;
	error = run_phases(b, serial % 2 ? EMU_FORWARD : EMU_REVERSE, true, serial % 2 == 0);
	return error ? error : difference(a, b);
}

static tgc_status launch(struct tgc_context *c, struct plan_entry *e, const struct step_run *r)
{
	static int64_t serial;
	struct stage *a = calloc(1, sizeof *a), *b = calloc(1, sizeof *b);
	pthread_mutex_lock(&lock);
	bool ok = a && b && open_stage(a, e, r) && open_stage(b, e, r);
	char *error = ok ? run_both(a, b, serial++) : strdup("no memory for guarded buffers");
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < a->n && !error; i++)
		memcpy(a->home[i], a->guards[i].data, (size_t)a->guards[i].bytes);
	tgc_status s =
	    error ? context_fail(c, TGC_ERROR_INTERNAL, "cuda-emu", "%s\n%s", error, a->code->source.text)
	          : TGC_OK;
	free(error);
	close_stage(a);
	close_stage(b);
	return s;
}

static bool open_device(struct tgc_context *c, struct device *d, struct text *why)
{
	(void)c;
	d->target = target_find("sm_90");
	text_add(why, "the emulator, as %s", d->target->name);
	return true;
}

static const struct device_kind kind = {.name = "cuda-emu",
                                        .whole_device = true,
                                        .open = open_device,
                                        .compile = compile,
                                        .release = release,
                                        .launch = launch};
const struct device_kind *const device_extra = &kind;
