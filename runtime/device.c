// The kinds of devices, and bytes between the host and a device's memory.
// In:  names, pointers. Out: what a context runs on; copies.
// Not here: choosing (context_open.c), running (exec.c, cuda_run.c).
#include "cuda.h"

#include <stdlib.h>

// ---- cpu -----------------------------------------------------------------------------------------------------------

static bool open_cpu(struct tgc_context *c, struct device *d, struct text *why)
{
	(void)c;
	int threads = pool_threads(d->pool);
	d->target = target_host();
	if (jit_available())
		text_add(why, "%s, %d thread%s", d->target->name, threads, threads > 1 ? "s" : "");
	else
		text_add(why, "device cpu needs LLVM, which this build of tgc has not");
	return jit_available();
}

static tgc_status compile_cpu(struct tgc_context *c, int n, struct kernel *const *kernels,
                              const struct code **codes)
{
	struct device *d = device_of(c);
	return jit_compile(c, d->process, pool_threads(d->pool), n, kernels, d->target, codes);
}

static const struct device_kind cpu = {
    .name = "cpu", .open = open_cpu, .compile = compile_cpu, .release = jit_release};

// ---- interp --------------------------------------------------------------------------------------------------------

static bool open_interp(struct tgc_context *c, struct device *d, struct text *why)
{
	(void)c;
	d->target = target_host();
	text_add(why, "the reference interpreter");
	return true;
}

static const struct device_kind interp = {.name = "interp", .interp = true, .open = open_interp};

// ---- all of them ---------------------------------------------------------------------------------------------------

static const struct device_kind *const kinds[] = {&cpu, &cuda_kind, &cuda_dry_kind, &interp};

const char *device_names(void)
{
	return "cpu, cuda and interp";
}

const struct device_kind *device_find(const char *name)
{
	for (int i = 0; i < TG_COUNT(kinds); i++)
		if (strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return &device_extra && strcmp(device_extra->name, name) == 0 ? device_extra : NULL;
}

static tgc_status move(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes,
                       enum way way)
{
	if (!bytes)
		return TGC_OK;
	if (device_is_far(c))
		return device_of(c)->kind->copy(c, op, to, from, bytes, way);
	memcpy(to, from, bytes);
	return TGC_OK;
}

tgc_status device_write(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes)
{
	return move(c, op, to, from, bytes, TO_DEVICE);
}

tgc_status device_read(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes)
{
	return move(c, op, to, from, bytes, FROM_DEVICE);
}

tgc_status device_poison(struct tgc_context *c, const char *op, const struct buffer *b)
{
	static const size_t piece = 1 << 20;
	size_t bytes = b && debug_on(c, 'z') ? (size_t)b->bytes : 0;
	char *ones = bytes ? malloc(piece) : NULL;
	tgc_status s = TGC_OK;
	if (!ones)
		return bytes ? context_fail(c, TGC_ERROR_MEMORY, op, "no memory to fill memory with") : TGC_OK;
	memset(ones, 0xff, piece);
	for (size_t at = 0; at < bytes && !s; at += piece)
		s = device_write(c, op, (char *)b->data + at, ones, bytes - at < piece ? bytes - at : piece);
	free(ones);
	return s;
}

tgc_status device_copy(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes)
{
	return move(c, op, to, from, bytes, WITHIN_DEVICE);
}
