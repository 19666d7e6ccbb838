// Bytes between the host and a GPU's memory.
// In:  a context's stream. Out: copies in the order of the stream. What goes to the device passes through two pieces of
// pinned memory in turns: the host fills one while the other is on its way, and goes on when the last is filled; so the
// inputs of the next step travel while this one runs. What comes from the device is waited for, but for numbers that are
// asked for later: these land in pinned memory by themselves. Not here: device memory (cuda_device.c).
#include "cuda.h"

enum { EVENT_NO_TIMING = 2 };
static const size_t PIECE = 4 << 20;

// ---- to the device -------------------------------------------------------------------------------------------------

static tgc_status open_piece(struct tgc_context *c, const char *op, struct cuda_piece *p)
{
	tgc_status s = TGC_OK;
	if (!p->data)
		s = CUDA_CALL(c, op, cuMemAllocHost, (void **)&p->data, PIECE);
	if (!s && !p->event)
		s = CUDA_CALL(c, op, cuEventCreate, &p->event, EVENT_NO_TIMING);
	return s ? s : CUDA_CALL(c, op, cuEventSynchronize, p->event); // what it holds was read
}

static tgc_status write(struct tgc_context *c, const char *op, uint64_t to, const char *from, size_t bytes)
{
	struct cuda *g = cuda_of(c);
	tgc_status s = TGC_OK;
	for (size_t at = 0; at < bytes && !s; at += PIECE) {
		struct cuda_piece *p = &g->pieces[g->turn++ % CUDA_PIECES];
		size_t n = bytes - at < PIECE ? bytes - at : PIECE;
		s = open_piece(c, op, p);
		if (s)
			break;
		memcpy(p->data, from + at, n);
		s = CUDA_CALL(c, op, cuMemcpyHtoDAsync, to + at, p->data, n, g->stream);
		if (!s)
			s = CUDA_CALL(c, op, cuEventRecord, p->event, g->stream);
	}
	return s;
}

tgc_status cuda_copy(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes, enum way way)
{
	struct cuda *g = cuda_of(c);
	tgc_status s = device_check(c, op);
	if (!s)
		s = CUDA_CALL(c, op, cuCtxSetCurrent, g->context);
	if (s)
		return s;
	if (way == TO_DEVICE)
		return write(c, op, (uintptr_t)to, from, bytes);
	if (way == WITHIN_DEVICE)
		return CUDA_CALL(c, op, cuMemcpyDtoDAsync, (uintptr_t)to, (uintptr_t)from, bytes, g->stream);
	s = CUDA_CALL(c, op, cuMemcpyDtoHAsync, to, (uintptr_t)from, bytes, g->stream);
	return s ? s : CUDA_CALL(c, op, cuStreamSynchronize, g->stream);
}

// ---- numbers asked for later -----------------------------------------------------------------------------------------

static tgc_status open_numbers(struct tgc_context *c, struct cuda *g)
{
	return g->numbers ? TGC_OK
	                  : CUDA_CALL(c, "item_later", cuMemAllocHost, (void **)&g->numbers, sizeof *g->numbers * CUDA_ASKED);
}

int cuda_ask(struct tgc_context *c, const void *from, size_t bytes)
{
	struct cuda *g = cuda_of(c);
	int i = 0;
	while (i < CUDA_ASKED && g->asked[i].used)
		i++;
	if (i == CUDA_ASKED || device_check(c, "item_later") || CUDA_CALL(c, "item_later", cuCtxSetCurrent, g->context) ||
	    open_numbers(c, g))
		return -1;
	struct cuda_asked *a = &g->asked[i];
	if ((!a->event && CUDA_CALL(c, "item_later", cuEventCreate, &a->event, EVENT_NO_TIMING)) ||
	    CUDA_CALL(c, "item_later", cuMemcpyDtoHAsync, &g->numbers[i], (uintptr_t)from, bytes, g->stream) ||
	    CUDA_CALL(c, "item_later", cuEventRecord, a->event, g->stream))
		return -1;
	a->used = true;
	return i;
}

tgc_status cuda_answer(struct tgc_context *c, int ticket, void *to, size_t bytes)
{
	struct cuda *g = cuda_of(c);
	tgc_status s = device_check(c, "item_later");
	if (!s)
		s = CUDA_CALL(c, "item_later", cuCtxSetCurrent, g->context);
	if (!s)
		s = CUDA_CALL(c, "item_later", cuEventSynchronize, g->asked[ticket].event);
	if (!s && to)
		memcpy(to, &g->numbers[ticket], bytes);
	g->asked[ticket].used = false;
	return s;
}

// ---- closing ---------------------------------------------------------------------------------------------------------

void cuda_copy_close(struct cuda *g)
{
	for (int i = 0; i < CUDA_PIECES; i++) {
		if (g->pieces[i].event)
			g->driver->cuEventDestroy(g->pieces[i].event);
		if (g->pieces[i].data)
			g->driver->cuMemFreeHost(g->pieces[i].data);
	}
	for (int i = 0; i < CUDA_ASKED; i++)
		if (g->asked[i].event)
			g->driver->cuEventDestroy(g->asked[i].event);
	if (g->numbers)
		g->driver->cuMemFreeHost(g->numbers);
}
