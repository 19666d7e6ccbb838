// A stand-in for libnvrtc: CUDA C becomes a library for this processor, to be run on the emulator.
// In:  calls of NVRTC. Out: a struct image instead of a cubin, and a log as ptxas writes it.
// Not here: the driver that loads it (fake_cuda.c).
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emu.h"
#include "fake_cuda.h"

struct program {
	char *text, *log;
	struct image *image;
};

API nvrtcVersion(int *major, int *minor);
API nvrtcCreateProgram(struct program **p, const char *text, const char *name, int n, const char *const *h,
                       const char *const *i);
API nvrtcDestroyProgram(struct program **p);
API nvrtcCompileProgram(struct program *p, int n, const char *const *options);
API nvrtcGetCUBINSize(struct program *p, size_t *bytes);
API nvrtcGetCUBIN(struct program *p, char *to);
API nvrtcGetPTXSize(struct program *p, size_t *bytes);
API nvrtcGetPTX(struct program *p, char *to);
API nvrtcGetProgramLogSize(struct program *p, size_t *bytes);
API nvrtcGetProgramLog(struct program *p, char *to);
__attribute__((visibility("default"))) const char *nvrtcGetErrorString(int error);

API nvrtcVersion(int *major, int *minor)
{
	*major = 12;
	*minor = 9;
	return 0;
}

API nvrtcCreateProgram(struct program **p, const char *text, const char *name, int n, const char *const *h,
                       const char *const *i)
{
	(void)name, (void)n, (void)h, (void)i;
	*p = calloc(1, sizeof **p);
	(*p)->text = strdup(text);
	return 0;
}

API nvrtcDestroyProgram(struct program **p)
{
	free((*p)->text);
	free((*p)->log);
	free((*p)->image);
	free(*p);
	*p = NULL;
	return 0;
}

static int params_of(const char *at)
{
	int depth = 0, n = 1;
	for (const char *p = at; *p; p++) {
		depth += (*p == '(') - (*p == ')');
		n += *p == ',' && depth == 1;
		if (depth == 0)
			return p == at + 1 ? 0 : n;
	}
	return 0;
}

// TG_KERNEL(NAME, 32)(...): how many parameters, and a line for the log.
static void describe(const char *text, FILE *code, FILE *log)
{
	static const char kernel[] = "TG_KERNEL(";
	for (const char *at = text; (at = strstr(at, kernel)); at++) {
		const char *name = at + sizeof kernel - 1, *open = strstr(at, ")(");
		int n = (int)strcspn(name, ",");
		fprintf(code, "__attribute__((visibility(\"default\"))) const int %.*s_nargs = %d;\n", n, name,
		        params_of(open + 1));
		fprintf(log, "ptxas info    : Compiling entry function '%.*s' for 'sm_90'\n", n, name);
		fprintf(log, "    0 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n");
		fprintf(log, "ptxas info    : Used 24 registers, used 1 barriers, 512 bytes smem\n");
	}
}

static struct image *read_image(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct image *image = NULL;
	fseek(f, 0, SEEK_END);
	size_t n = (size_t)ftell(f);
	rewind(f);
	image = calloc(1, sizeof *image + n);
	*image = (struct image){.magic = "FAKECUB", .bytes = n};
	if (fread(image->data, 1, n, f) != n)
		image->bytes = 0;
	fclose(f);
	unlink(path);
	return image;
}

API nvrtcCompileProgram(struct program *p, int n, const char *const *options)
{
	char path[] = "/tmp/tgc-fake-XXXXXX", *code = NULL, *log = NULL;
	const char *names[] = {"kernels", "params"}, *kernels = strstr(p->text + 1, "#line 1 \""), *texts[2];
	size_t bytes;
	if (n < 1 || strcmp(options[0], "--gpu-architecture=sm_90") != 0) {
		p->log = strdup("fake: sm_90 only");
		return 5;
	}
	FILE *c = open_memstream(&code, &bytes), *l = open_memstream(&log, &bytes);
	describe(kernels, c, l);
	fclose(c);
	fclose(l);
	texts[0] = kernels;
	texts[1] = code;
	close(mkstemp(path));
	char *error = emu_compile(2, names, texts, path);
	p->log = error ? error : log;
	p->image = error ? NULL : read_image(path);
	free(code);
	if (error)
		free(log);
	return error ? 6 : 0;
}

API nvrtcGetCUBINSize(struct program *p, size_t *bytes)
{
	*bytes = sizeof *p->image + p->image->bytes;
	return 0;
}

API nvrtcGetCUBIN(struct program *p, char *to)
{
	memcpy(to, p->image, sizeof *p->image + p->image->bytes);
	return 0;
}

API nvrtcGetPTXSize(struct program *p, size_t *bytes)
{
	(void)p;
	*bytes = 1;
	return 0;
}

API nvrtcGetPTX(struct program *p, char *to)
{
	(void)p;
	*to = 0;
	return 0;
}

API nvrtcGetProgramLogSize(struct program *p, size_t *bytes)
{
	*bytes = strlen(p->log ? p->log : "") + 1;
	return 0;
}

API nvrtcGetProgramLog(struct program *p, char *to)
{
	strcpy(to, p->log ? p->log : "");
	return 0;
}

const char *nvrtcGetErrorString(int error)
{
	return error == 6 ? "NVRTC_ERROR_COMPILATION" : "NVRTC_ERROR_OTHER";
}
