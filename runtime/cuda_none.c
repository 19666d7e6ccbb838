// The build without CUDA: the device is known by name, and says that it is not there.
#include "cuda.h"

static bool open_device(struct tgc_context *c, struct device *d, struct text *why)
{
	(void)c, (void)d;
	text_add(why, "this build of tgc has no CUDA");
	return false;
}

const struct device_kind cuda_kind = {.name = "cuda", .open = open_device};
const struct device_kind cuda_dry_kind = {.name = "cuda-dry", .open = open_device};

void cuda_process_close(struct runtime *r)
{
	r->cuda = NULL;
}
