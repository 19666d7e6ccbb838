// Emulated kernels through NVRTC as well: what runs here must compile there.
// In:  texts; the architecture, TGC_EMU_NVRTC in the environment for the device's own kernels. Out: the
// compiler's log, or totals. Where there is no NVRTC nothing is compiled, and that is said once.
#include "check_nvrtc.h"

#include <stdlib.h>
#include <time.h>

static struct nvrtc library;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct emu_totals own;

static void open_library(void)
{
	if (!nvrtc_open(&library, NULL, ""))
		fprintf(stderr, "kernels do not go through NVRTC: %s\n", library.library.why);
}

const char *emu_nvrtc_missing(void)
{
	pthread_once(&once, open_library);
	return library.library.handle ? NULL : library.library.why;
}

static double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

char *emu_nvrtc(const char *arch, int n, const char *const *names, const char *const *texts,
                struct emu_totals *totals)
{
	struct nvrtc_source sources[EMU_NVRTC_MOST] = {0};
	struct nvrtc_code code;
	double begun = now_ms();
	assert(n <= EMU_NVRTC_MOST);
	for (int i = 0; i < n; i++)
		sources[i] = (struct nvrtc_source){names[i], texts[i]};
	char *error = nvrtc_compile(&library, arch, emit_cuda_prelude(), n, sources, false, &code);
	if (error)
		return error;
	pthread_mutex_lock(&lock);
	totals->kernels += n;
	totals->ms += now_ms() - begun;
	for (int i = 0; i < code.nfunctions; i++) {
		const struct nvrtc_function *f = &code.functions[i];
		totals->functions++;
		totals->spilling += f->spill_bytes > 0;
		totals->spilled_bytes += f->spill_bytes;
		totals->most_registers =
		    f->registers > totals->most_registers ? f->registers : totals->most_registers;
	}
	pthread_mutex_unlock(&lock);
	nvrtc_code_free(&code);
	return NULL;
}

void emu_totals_print(const char *arch, const struct emu_totals *t)
{
	printf("NVRTC for %s: %d kernels, %d functions, %.1f ms a kernel; %d spill, %d bytes in all; at most "
	       "%d registers\n",
	       arch, t->kernels, t->functions, t->kernels ? t->ms / t->kernels : 0.0, t->spilling,
	       t->spilled_bytes, t->most_registers);
}

char *emu_nvrtc_own(int n, const char *const *names, const char *const *texts)
{
	const char *arch = getenv("TGC_EMU_NVRTC");
	return !arch || !*arch || emu_nvrtc_missing() ? NULL : emu_nvrtc(arch, n, names, texts, &own);
}

__attribute__((destructor)) static void report(void)
{
	if (own.kernels)
		emu_totals_print(getenv("TGC_EMU_NVRTC"), &own);
}
