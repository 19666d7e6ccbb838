// Batches of a data set.
// In:  a tgc_dataset. Out: u8 pixels uploaded as they are, cast and normalised by operations of the graph.
// Not here: files (dataset.c).
#include "kit.h"

#include <stdlib.h>
#include <string.h>

struct tgc_loader {
	tgc_context *ctx;
	const tgc_dataset *data;
	tgc_loader_options o;
	int64_t *order;
	uint8_t *pixels;
	int32_t *labels;
	int64_t next, index;
	uint64_t state; // of the shuffle
};

// splitmix64. Source: Steele, Lea, Flood 2014.
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void shuffle(tgc_loader *l)
{
	for (int64_t i = l->data->count - 1; i > 0; i--) {
		int64_t j = (int64_t)(draw(&l->state) % (uint64_t)(i + 1));
		int64_t t = l->order[i];
		l->order[i] = l->order[j];
		l->order[j] = t;
	}
}

static void rewind_epoch(tgc_loader *l)
{
	l->next = l->index = 0;
	if (l->o.shuffle)
		shuffle(l);
}

tgc_loader *tgc_loader_new_with(tgc_context *c, const tgc_dataset *d, tgc_loader_options o)
{
	if (!c || !d || o.batch < 0) {
		report(c, TGC_ERROR_ARG, "loader", "data set %s, batch %lld", d ? "given" : "NULL",
		       (long long)o.batch);
		return NULL;
	}
	if (o.batch == 0)
		o.batch = 128;
	if (o.std == 0)
		o.std = 1;
	int64_t pixels = d->channels * d->height * d->width;
	tgc_loader *l = calloc(1, sizeof *l);
	if (l) {
		l->ctx = c;
		l->data = d;
		l->o = o;
		l->state = o.seed;
		l->order = malloc(sizeof *l->order * (size_t)(d->count ? d->count : 1));
		l->pixels = malloc((size_t)(o.batch * pixels) + 1);
		l->labels = malloc(sizeof *l->labels * (size_t)o.batch);
	}
	if (!l || !l->order || !l->pixels || !l->labels) {
		report(c, TGC_ERROR_MEMORY, "loader", "no memory for batches of %lld", (long long)o.batch);
		tgc_loader_free(&l);
		return NULL;
	}
	for (int64_t i = 0; i < d->count; i++)
		l->order[i] = i;
	rewind_epoch(l);
	return l;
}

void tgc_loader_free(tgc_loader **l)
{
	if (!l || !*l)
		return;
	free((*l)->order);
	free((*l)->pixels);
	free((*l)->labels);
	free(*l);
	*l = NULL;
}

int64_t tgc_loader_batches(const tgc_loader *l)
{
	return (l->data->count + (l->o.drop_last ? 0 : l->o.batch - 1)) / l->o.batch;
}

static void collect(tgc_loader *l, int64_t count)
{
	const tgc_dataset *d = l->data;
	size_t pixels = (size_t)(d->channels * d->height * d->width);
	for (int64_t i = 0; i < count; i++) {
		int64_t at = l->order[l->next + i];
		memcpy(l->pixels + (size_t)i * pixels, d->images + (size_t)at * pixels, pixels);
		l->labels[i] = d->labels[at];
	}
}

bool tgc_loader_next(tgc_loader *l, tgc_batch *b)
{
	const tgc_dataset *d = l->data;
	int64_t left = d->count - l->next;
	int64_t count = left < l->o.batch ? left : l->o.batch;
	if (count <= 0 || (count < l->o.batch && l->o.drop_last)) {
		rewind_epoch(l);
		return false;
	}
	collect(l, count);
	tgc_tensor *raw = tgc_from_data(l->ctx, TGC_U8, TGC_SHAPE(count, d->channels, d->height, d->width), l->pixels);
	double scale = 1 / (255 * l->o.std);
	b->x = tgc_sub(tgc_mul(tgc_cast(raw, TGC_F32), scale), l->o.mean / l->o.std);
	b->y = tgc_from_data(l->ctx, TGC_I32, TGC_SHAPE(count), l->labels);
	b->count = count;
	b->index = l->index++;
	l->next += count;
	return true;
}
