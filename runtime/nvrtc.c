// CUDA C to machine code by NVRTC, which is opened at run time and needs no GPU.
// In:  a prelude and the text of some kernels: one program, because most of the time is the program's and not
// the kernel's. Out: a cubin, and what the assembler says of each function; or the compiler's log, where line
// directives make every message name its kernel.
// Not here: caching (cuda_code.c), loading (cuda_driver.c). No contraction of products and sums, no flush to
// zero, exact division and roots: what the numerics contract asks for.
#include "cuda.h"

#include <stdlib.h>

static const char *const own_names[] = {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2", "libnvrtc.so",
                                        NULL};

bool nvrtc_open(struct nvrtc *n, const char *const *names, const char *root)
{
	int (*version)(int *major, int *minor);
	const struct library_symbol symbols[] = {
	    {"nvrtcVersion", &version},
	    {"nvrtcCreateProgram", &n->create},
	    {"nvrtcCompileProgram", &n->compile},
	    {"nvrtcDestroyProgram", &n->destroy},
	    {"nvrtcGetCUBINSize", &n->code_bytes},
	    {"nvrtcGetCUBIN", &n->code},
	    {"nvrtcGetPTXSize", &n->ptx_bytes},
	    {"nvrtcGetPTX", &n->ptx},
	    {"nvrtcGetProgramLogSize", &n->log_bytes},
	    {"nvrtcGetProgramLog", &n->log},
	    {"nvrtcGetErrorString", &n->error_text},
	};
	int major = 0, minor = 0;
	*n = (struct nvrtc){0};
	if (!library_open(&n->library, names ? names : own_names, root) ||
	    !library_symbols(&n->library, TG_COUNT(symbols), symbols))
		return false;
	version(&major, &minor);
	n->version = 1000 * major + 10 * minor;
	return true;
}

void nvrtc_close(struct nvrtc *n)
{
	library_close(&n->library);
}

// ---- the log -------------------------------------------------------------------------------------------------------

static int number_before(const char *line, const char *what)
{
	const char *at = strstr(line, what);
	while (at && at > line && (at[-1] == ' ' || (at[-1] >= '0' && at[-1] <= '9')))
		at--;
	return at ? atoi(at) : 0;
}

static struct nvrtc_function *add_function(struct nvrtc_code *c, const char *name)
{
	struct nvrtc_function *wide = realloc(c->functions, sizeof *wide * (size_t)(c->nfunctions + 1));
	if (!wide)
		return NULL;
	c->functions = wide;
	struct nvrtc_function *f = &wide[c->nfunctions++];
	*f = (struct nvrtc_function){0};
	snprintf(f->name, sizeof f->name, "%.*s", (int)strcspn(name, "'"), name);
	return f;
}

// Lines such as
//	ptxas info    : Compiling entry function 'k_p0' for 'sm_90'
//	    0 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
//	ptxas info    : Used 32 registers, used 1 barriers, 512 bytes smem
static bool read_log(struct nvrtc_code *c, char *log)
{
	static const char entry[] = "Compiling entry function '";
	struct nvrtc_function *f = NULL;
	for (char *save = NULL, *line = strtok_r(log, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		const char *at = strstr(line, entry);
		if (at && !(f = add_function(c, at + sizeof entry - 1)))
			return false;
		if (!f)
			continue;
		if (strstr(line, "spill stores")) {
			f->stack_bytes = number_before(line, "bytes stack frame");
			f->spill_bytes = number_before(line, "bytes spill stores") +
			                 number_before(line, "bytes spill loads");
		} else if (strstr(line, " registers")) {
			f->registers = number_before(line, "registers");
			f->shared_bytes = number_before(line, "bytes smem");
		}
	}
	return true;
}

// malloc'ed; NULL: out of memory, or there is none.
static char *read_text(void *program, int (*bytes)(void *, size_t *), int (*get)(void *, char *))
{
	size_t n = 0;
	char *s = bytes(program, &n) == 0 && n ? calloc(n + 1, 1) : NULL;
	if (s && get(program, s) != 0) {
		free(s);
		s = NULL;
	}
	return s;
}

// ---- compiling -----------------------------------------------------------------------------------------------------

static char *whole_text(const char *prelude, int count, const struct nvrtc_source *sources)
{
	struct text t = {0};
	text_add(&t, "#line 1 \"prelude\"\n%s\n", prelude);
	for (int i = 0; i < count; i++)
		text_add(&t, "#line 1 \"%s\"\n%s\n", sources[i].name, sources[i].text);
	return text_take(&t);
}

static char *collect(const struct nvrtc *n, void *program, char *log, bool ptx, struct nvrtc_code *out)
{
	out->code = read_text(program, n->code_bytes, n->code);
	if (!out->code || n->code_bytes(program, &out->bytes) != 0)
		return strdup("NVRTC returned no machine code");
	if (ptx && !(out->ptx = read_text(program, n->ptx_bytes, n->ptx)))
		return strdup("NVRTC returned no PTX");
	return log && !read_log(out, log) ? strdup("out of memory") : NULL;
}

char *nvrtc_compile(const struct nvrtc *n, const char *arch, const char *prelude, int count,
                    const struct nvrtc_source *sources, bool ptx, struct nvrtc_code *out)
{
	char target[48];
	const char *const options[] = {
	    target, "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true", "--ptxas-options=-v"};
	void *program = NULL;
	char *text = whole_text(prelude, count, sources), *error = NULL;
	*out = (struct nvrtc_code){0};
	if (!text)
		return strdup("out of memory");
	snprintf(target, sizeof target, "--gpu-architecture=%s", arch);
	int e = n->create(&program, text, "kernels.cu", 0, NULL, NULL);
	free(text);
	if (e)
		return strdup(n->error_text(e));
	e = n->compile(program, TG_COUNT(options), options);
	char *log = read_text(program, n->log_bytes, n->log);
	if (e) {
		struct text t = {0};
		text_add(&t, "NVRTC %d.%d: %s%s%s", n->version / 1000, n->version % 1000 / 10, n->error_text(e),
		         log ? "\n" : "", log ? log : "");
		error = text_take(&t);
	} else {
		error = collect(n, program, log, ptx, out);
	}
	free(log);
	n->destroy(&program);
	if (error)
		nvrtc_code_free(out);
	return error;
}

void nvrtc_code_free(struct nvrtc_code *c)
{
	free(c->code);
	free(c->ptx);
	free(c->functions);
	*c = (struct nvrtc_code){0};
}
