// Which of cuBLASLt's algorithms computes a product.
// In:  a product that is described. Out: the first one that its heuristics name, so that a plan's bits stay. Where TGC_TUNE
// is 1: the fastest of the first 8, timed once in memory of its own, then kept by the context, and on the disk under all
// that the choice depends on: library, GPU, product. Algorithms add in different orders, so results may differ in their
// last bits from those without it, and only where nothing was kept from run to run. Whatever is wrong with what the disk
// holds, it is timed again. Not here: descriptors and calls (cuda_lt.c).
#include "cuda.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_WAYS = 8, ROUNDS = 3, PIECE = 256, PREFER_WORKSPACE = 1, PREFER_ALIGNMENT = 5 }; // of a, b, c, d, in a row
static const uint32_t ALIGNED = 16; // less than the plan's buffers are, and all that 16-byte accesses want

struct lt_choice {
	struct lt_choice *next;
	struct lt_way way;
	char key[];
};

// ---- what the heuristics name --------------------------------------------------------------------------------------

static int prefer(const struct cuda_lt *l, void *preference)
{
	int error = l->MatmulPreferenceSetAttribute(preference, PREFER_WORKSPACE, &LT_WORKSPACE, sizeof LT_WORKSPACE);
	for (int i = 0; i < 4 && !error; i++)
		error = l->MatmulPreferenceSetAttribute(preference, PREFER_ALIGNMENT + i, &ALIGNED, sizeof ALIGNED);
	return error;
}

// At least one, or an error.
static tgc_status name_ways(struct tgc_context *c, const struct lt_product *x, int wanted, struct lt_way *ways, int *found)
{
	struct cuda *g = cuda_of(c);
	const struct cuda_lt *l = g->lt;
	void *preference = NULL;
	int usable = 0;
	tgc_status s = LT_CALL(c, l, MatmulPreferenceCreate, &preference);
	if (!s)
		s = lt_check(c, "MatmulPreferenceSetAttribute", prefer(l, preference));
	*found = 0;
	if (!s)
		s = LT_CALL(c, l, MatmulAlgoGetHeuristic, g->lt_handle, x->desc, x->layouts[0], x->layouts[1], x->layouts[2],
		            x->layouts[2], preference, wanted, ways, found);
	for (int i = 0; i < *found; i++)
		if (!ways[i].state)
			ways[usable++] = ways[i];
	*found = usable;
	if (!s && !usable)
		s = context_fail(c, TGC_ERROR_COMPILE, "realize", "cuBLASLt knows no way to compute a product");
	if (preference)
		l->MatmulPreferenceDestroy(preference);
	return s;
}

// ---- timing --------------------------------------------------------------------------------------------------------

struct trial { // the product in memory of its own; all NULL: there is none left for it
	struct matmul p;
	void *memory[4];
	struct buffer *all;
	void *events[2];
};

static int64_t extent(const struct matmul *p, int64_t rows, int64_t columns, int64_t distance, int64_t batch_stride)
{
	int64_t elems = (p->batch - 1) * batch_stride + (rows - 1) * distance + columns;
	return (elems * (int64_t)tgc_type_bytes((tgc_type)p->type) + PIECE - 1) / PIECE * PIECE;
}

static tgc_status open_trial(struct tgc_context *c, const struct matmul *p, struct trial *t)
{
	int64_t bytes[4] = {extent(p, p->left_turned ? p->k : p->m, p->left_turned ? p->m : p->k, p->left_row, p->left_batch),
	                    extent(p, p->right_turned ? p->n : p->k, p->right_turned ? p->k : p->n, p->right_row,
	                           p->right_batch),
	                    extent(p, p->m, p->n, p->out_row, p->out_batch), extent(p, 1, p->n, 0, 0)};
	*t = (struct trial){.p = *p};
	t->p.left = 0;
	t->p.right = 1;
	t->p.out = 2;
	t->p.bias = p->bias < 0 ? -1 : 3;
	t->all = buffer_new(device_of(c)->memory, bytes[0] + bytes[1] + bytes[2] + bytes[3]);
	if (!t->all)
		return TGC_OK;
	char *at = t->all->data;
	for (int i = 0; i < 4; at += bytes[i++])
		t->memory[i] = at;
	tgc_status s = TGC_OK;
	for (int i = 0; i < 2 && !s; i++)
		s = CUDA_CALL(c, "realize", cuEventCreate, &t->events[i], 0);
	return s;
}

static void close_trial(const struct cuda *g, struct trial *t)
{
	for (int i = 0; i < 2; i++)
		if (t->events[i])
			g->driver->cuEventDestroy(t->events[i]);
	buffer_unref(t->all);
}

// The fastest of some rounds; the first one only brings it into the caches. Not finite: the library does not run it.
static tgc_status time_way(struct tgc_context *c, const struct trial *t, struct lt_product *x, float *best)
{
	struct cuda *g = cuda_of(c);
	*best = HUGE_VALF;
	for (int i = 0; i <= ROUNDS; i++) {
		float ms = 0;
		tgc_status s = CUDA_CALL(c, "realize", cuEventRecord, t->events[0], g->stream);
		if (!s && cuda_lt_call(g, &t->p, x, t->memory))
			return TGC_OK;
		if (!s)
			s = CUDA_CALL(c, "realize", cuEventRecord, t->events[1], g->stream);
		if (!s)
			s = CUDA_CALL(c, "realize", cuEventSynchronize, t->events[1]);
		if (!s)
			s = CUDA_CALL(c, "realize", cuEventElapsedTime, &ms, t->events[0], t->events[1]);
		if (s)
			return s;
		*best = i && ms < *best ? ms : *best;
	}
	return TGC_OK;
}

// *timed: the choice is worth keeping.
static tgc_status time_all(struct tgc_context *c, const struct matmul *p, struct lt_product *x, bool *timed)
{
	struct lt_way ways[MOST_WAYS];
	struct trial t;
	float least = HUGE_VALF;
	int found, fastest = 0;
	tgc_status s = name_ways(c, x, MOST_WAYS, ways, &found);
	if (s)
		return s;
	s = open_trial(c, p, &t);
	*timed = t.all;
	for (int i = 0; i < found && !s && t.all; i++) {
		float ms;
		x->way = ways[i];
		s = time_way(c, &t, x, &ms);
		if (ms < least) {
			least = ms;
			fastest = i;
		}
	}
	close_trial(cuda_of(c), &t);
	x->way = ways[fastest];
	if (!s && *timed && isinf(least))
		return context_fail(c, TGC_ERROR_COMPILE, "realize", "cuBLASLt runs no way that it knows to compute a product");
	if (!s)
		context_log(c, 't', "product %lld x %lld x %lld: way %d of %d, %g us", (long long)p->m, (long long)p->n,
		            (long long)p->k, fastest + 1, found, 1e3 * (double)least);
	return s;
}

// ---- what was found before -----------------------------------------------------------------------------------------

static char *key_of(const struct cuda *g, const struct matmul *p, bool tf32)
{
	struct text t = {0};
	text_add(&t, "tgc product\ncuBLASLt %zu\ntarget %s %s\nworkspace %llu\n%s%s %lld x %lld x %lld, %lld times\n",
	         g->lt->version(), g->arch, g->name, (unsigned long long)LT_WORKSPACE, tgc_type_name((tgc_type)p->type),
	         tf32 ? " as TF32" : "", (long long)p->m, (long long)p->n, (long long)p->k, (long long)p->batch);
	text_add(&t, "left %lld %lld%s right %lld %lld%s out %lld %lld%s\n", (long long)p->left_row, (long long)p->left_batch,
	         p->left_turned ? " turned" : "", (long long)p->right_row, (long long)p->right_batch,
	         p->right_turned ? " turned" : "", (long long)p->out_row, (long long)p->out_batch,
	         p->bias < 0 ? "" : " plus bias");
	return text_take(&t);
}

// An algorithm of this library's version is so many bytes, which mean something to it alone: it says whether they do.
static bool load(const struct cuda *g, const struct disk *d, const char *key, struct lt_product *x)
{
	size_t bytes = 0;
	uint64_t *algorithm = d ? disk_load(disk_descriptor(d), key, &bytes) : NULL;
	struct lt_way way = {.state = 0};
	bool sound = algorithm && bytes == sizeof way.algorithm &&
	             !g->lt->MatmulAlgoCheck(g->lt_handle, x->desc, x->layouts[0], x->layouts[1], x->layouts[2],
	                                     x->layouts[2], algorithm, &way) &&
	             !way.state && way.workspace <= LT_WORKSPACE;
	if (sound) {
		x->way = way;
		memcpy(x->way.algorithm, algorithm, sizeof way.algorithm);
	}
	free(algorithm);
	return sound;
}

static tgc_status find(struct tgc_context *c, const struct matmul *p, struct lt_product *x, const char *key)
{
	struct cuda *g = cuda_of(c);
	struct disk *d = device_of(c)->process->disk;
	for (const struct lt_choice *i = g->choices; i; i = i->next)
		if (strcmp(i->key, key) == 0) {
			x->way = i->way;
			return TGC_OK;
		}
	if (!load(g, d, key, x)) {
		bool timed;
		tgc_status s = time_all(c, p, x, &timed);
		if (s || !timed)
			return s;
		if (d)
			disk_store(d, key, x->way.algorithm, sizeof x->way.algorithm);
	}
	struct lt_choice *new = malloc(sizeof *new + strlen(key) + 1); // without it the next product is timed again
	if (new) {
		*new = (struct lt_choice){.next = g->choices, .way = x->way};
		strcpy(new->key, key);
		g->choices = new;
	}
	return TGC_OK;
}

tgc_status cuda_tune_choose(struct tgc_context *c, const struct matmul *p, struct lt_product *x)
{
	int found;
	if (!cuda_of(c)->tunes)
		return name_ways(c, x, 1, &x->way, &found);
	char *key = key_of(cuda_of(c), p, p->type == TGC_F32 && device_of(c)->target->tf32);
	tgc_status s = key ? find(c, p, x, key) : context_fail(c, TGC_ERROR_MEMORY, "realize", "no memory for a product");
	free(key);
	return s;
}

void cuda_tune_close(struct cuda *g)
{
	while (g->choices) {
		struct lt_choice *first = g->choices;
		g->choices = first->next;
		free(first);
	}
}
