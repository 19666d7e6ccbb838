// The device "cuda-dry": plans, kernels and machine code for a GPU that need not be there; nothing runs.
// In:  TGC_TRACE_TARGET ("sm_90" without), NVRTC. Out: plans scheduled for that GPU and compiled as on it, so that
// listings and compile times are the GPU's; every value is 0. For looking at plans only, which is why it is never
// chosen but by its name. Not here: a driver.
#include "cuda.h"

#include <stdlib.h>

static bool open_device(struct tgc_context *c, struct device *d, struct text *why)
{
	const char *name = getenv("TGC_TRACE_TARGET");
	struct cuda_process *p = cuda_process(c, d->process);
	d->target = target_find(name && *name ? name : "sm_90");
	if (!p) {
		text_add(why, "out of memory");
		return false;
	}
	if (!d->target || d->target->family != FAMILY_CUDA) {
		text_add(why, "device cuda-dry: nothing is known of \"%s\"", name);
		return false;
	}
	pthread_mutex_lock(&d->process->lock);
	bool ok = p->nvrtc.library.handle || (nvrtc_close(&p->nvrtc), nvrtc_open(&p->nvrtc, NULL, ""));
	pthread_mutex_unlock(&d->process->lock);
	if (ok)
		text_add(why, "%s, NVRTC %d.%d; nothing runs", d->target->name, p->nvrtc.version / 1000,
		         p->nvrtc.version % 1000 / 10);
	else
		text_add(why, "device cuda-dry: no NVRTC: %s", p->nvrtc.library.why);
	return ok;
}

static tgc_status compile(struct tgc_context *c, int n, struct kernel *const *kernels, const struct code **codes)
{
	struct device *d = device_of(c);
	return cuda_codes_get(c, d->process, &d->process->cuda->nvrtc, d->target, pool_threads(d->pool), n, kernels, codes);
}

// What a step is the first to write becomes 0, so that nothing undefined is read by the host.
static tgc_status run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data)
{
	(void)leaf_data;
	for (int i = 0; i < e->plan->nbufs; i++)
		if (e->plan->bufs[i].cls == BUF_OUT)
			memset(out_data[e->plan->bufs[i].index], 0, (size_t)e->plan->bufs[i].bytes);
	for (int i = 0; i < e->plan->nsteps; i++) {
		uint64_t now = clock_ns();
		if (e->trace)
			trace_step(c, e->trace, i, now, now);
		c->stats.launches += e->steps[i].code != NULL;
	}
	return TGC_OK;
}

const struct device_kind cuda_dry_kind = {.name = "cuda-dry",
                                          .whole_device = true,
                                          .open = open_device,
                                          .compile = compile,
                                          .release = cuda_code_release,
                                          .run = run};
