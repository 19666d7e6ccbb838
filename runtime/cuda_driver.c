// The CUDA driver API, opened at run time: never linked, so that one program runs with and without a GPU.
// In:  nothing. Out: functions of CUDA 12.0 and later, resolved by the driver itself; or why there are none.
// Not here: what is done with them (cuda_device.c, cuda_run.c).
#include "cuda.h"

static const char *const own_names[] = {"libcuda.so.1", "libcuda.so", NULL};
enum { OLDEST = 12000 };

typedef int get_fn(const char *name, void **to, int version, uint64_t flags, int *status);

static bool resolve(struct driver *d, get_fn *get)
{
	struct {
		const char *name;
		void *to;
	} all[] = {
#define CUDA_ROW(NAME, SIGNATURE) {#NAME, &d->NAME},
	    CUDA_FUNCTIONS(CUDA_ROW)};
	for (int i = 0; i < TG_COUNT(all); i++) {
		void *at = NULL;
		int status = 0;
		if (get(all[i].name, &at, OLDEST, 0, &status) || !at) {
			struct text why = {0};
			text_add(&why, "%s (CUDA %d.%d) has no %s", d->library.path, d->version / 1000,
			         d->version % 1000 / 10, all[i].name);
			library_close(&d->library);
			d->library.why = text_take(&why);
			return false;
		}
		memcpy(all[i].to, &at, sizeof at);
	}
	return true;
}

bool driver_open(struct driver *d, const char *const *names, const char *root)
{
	int (*version)(int *v);
	get_fn *get;
	const struct library_symbol symbols[] = {{"cuDriverGetVersion", &version},
	                                         {"cuGetProcAddress_v2", &get}};
	*d = (struct driver){0};
	if (!library_open(&d->library, names ? names : own_names, root) ||
	    !library_symbols(&d->library, TG_COUNT(symbols), symbols))
		return false;
	version(&d->version);
	if (d->version >= OLDEST)
		return resolve(d, get);
	struct text why = {0};
	text_add(&why, "%s is of CUDA %d.%d, 12.0 is wanted", d->library.path, d->version / 1000,
	         d->version % 1000 / 10);
	library_close(&d->library);
	d->library.why = text_take(&why);
	return false;
}

void driver_close(struct driver *d)
{
	library_close(&d->library);
}

void driver_error(const struct driver *d, const char *call, int error, char *text, size_t bytes)
{
	const char *name = NULL, *what = NULL;
	d->cuGetErrorName(error, &name);
	d->cuGetErrorString(error, &what);
	snprintf(text, bytes, "%s: %s (%s)", call, name ? name : "unknown error", what ? what : "no text");
}
