// A device whose memory is not the host's: waiting for it, and its ceilings, through the public API alone.
// In:  a context on it. Out: rates of a copy from one variable to another, and of a kernel that only multiplies and adds.
// What is timed is many runs, one behind the other, until the last is done: the host's part overlaps with them.
// Not here: the processor's ceilings (ceiling.c).
#include "bench.h"
#include "ceiling.h"

enum { MOST = 64, CHAIN = 40, FEWEST = 1 << 14 };
static const int64_t LARGEST = (int64_t)1 << 26;
static const double TURN = 4e-3, LONG_ENOUGH = 3e-4; // seconds

void bench_wait(tgc_context *c)
{
	tgc_scope_begin(c);
	tgc_item(tgc_from_data(c, TGC_F32, TGC_SHAPE(1), &(float){0})); // whatever was asked for before comes first
	tgc_scope_end(c);
}

double bench_far_seconds(tgc_context *c, bool (*step)(void *user), void *user)
{
	int n = 0;
	if (!step(user)) // the one before left the caches full of something else
		return -1;
	bench_wait(c);
	double begun = ceiling_now();
	do {
		if (!step(user))
			return -1;
		n++;
	} while (n < MOST && ceiling_now() - begun < TURN);
	bench_wait(c);
	return (ceiling_now() - begun) / n;
}

// ---- copy ----------------------------------------------------------------------------------------------------------

static bool copy(void *user)
{
	struct bench_device *d = user;
	tgc_assign(d->to, d->from);
	return tgc_flush(d->c) == TGC_OK;
}

double bench_device_copy(struct bench_device *d)
{
	double s = d->from ? bench_far_seconds(d->c, copy, d) : 0;
	return s > 0 ? 2e-9 * (double)d->bytes / s : 0;
}

// ---- multiply and add ----------------------------------------------------------------------------------------------

static bool chain(void *user)
{
	struct bench_device *d = user;
	tgc_scope_begin(d->c);
	tgc_tensor *x = tgc_cast(tgc_iota(d->c, TGC_I32, TGC_SHAPE(d->elems), 0), TGC_F32);
	for (int i = 0; i < CHAIN; i++)
		x = tgc_add(tgc_mul(x, d->by), d->plus);
	bool good = tgc_realize(tgc_sum(x, TGC_ALL_AXES, false)) == TGC_OK;
	tgc_scope_end(d->c);
	return good;
}

double bench_device_fma(struct bench_device *d)
{
	double s = bench_far_seconds(d->c, chain, d);
	return s > 0 ? 2e-9 * CHAIN * (double)d->elems / s : 0;
}

// ---- opening -------------------------------------------------------------------------------------------------------

bool bench_device_open(struct bench_device *d, tgc_context *c, double moved)
{
	*d = (struct bench_device){.c = c, .elems = FEWEST, .bytes = (int64_t)moved / 2 / 64 * 64};
	if (d->bytes) {
		d->from = tgc_variable(tgc_ones(c, TGC_F32, TGC_SHAPE(d->bytes / 4)));
		d->to = tgc_variable(tgc_zeros(c, TGC_F32, TGC_SHAPE(d->bytes / 4)));
		return copy(d);
	}
	d->by = tgc_keep(tgc_scalar(c, 0.999));
	d->plus = tgc_keep(tgc_scalar(c, 1e-3));
	while (d->elems < LARGEST) { // until a run takes long enough to be the device's and not the host's
		double s = bench_far_seconds(c, chain, d);
		if (s < 0 || s > LONG_ENOUGH)
			break;
		d->elems *= 8;
	}
	return tgc_error_status(c) == TGC_OK;
}

void bench_device_close(struct bench_device *d)
{
	tgc_tensor *all[] = {d->from, d->to, d->by, d->plus};
	for (int i = 0; i < 4; i++)
		if (all[i])
			tgc_release(all[i]);
}
