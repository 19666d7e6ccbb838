// Private header of the CUDA half of floor 3. Sectioned by .c file. The few types and functions of NVIDIA's
// libraries are declared here or where they are used: building needs no toolkit.
#ifndef TG_CUDA_H
#define TG_CUDA_H

#include "runtime.h"

// ---- library.c: libraries opened at run time ---------------------------------------------------------------------
struct library {
	void *handle;
	char path[1024];
	char *why; // malloc'ed: why it is not there
};
struct library_symbol {
	const char *name;
	void *to; // a pointer to a function pointer
};
// names: file names, the wanted one first, NULL at the end. root: goes before absolute folders, "" but in tests.
bool library_open(struct library *l, const char *const *names, const char *root);
bool library_symbols(struct library *l, int n, const struct library_symbol *symbols); // false: closed, why is set
void library_close(struct library *l); // leaves it empty

// ---- nvrtc.c: CUDA C to machine code ------------------------------------------------------------------------------
// Once opened it serves any number of threads.
struct nvrtc {
	struct library library;
	int version; // 1000 * major + 10 * minor
	int (*create)(void **program, const char *text, const char *name, int, const char *const *, const char *const *);
	int (*compile)(void *program, int n, const char *const *options);
	int (*destroy)(void **program);
	int (*code_bytes)(void *program, size_t *bytes), (*code)(void *program, char *to);
	int (*ptx_bytes)(void *program, size_t *bytes), (*ptx)(void *program, char *to);
	int (*log_bytes)(void *program, size_t *bytes), (*log)(void *program, char *to);
	const char *(*error_text)(int error);
};
struct nvrtc_source { // of one kernel: several functions
	const char *name; // in messages
	const char *text;
};
struct nvrtc_function { // what the assembler says of one
	char name[80];
	int registers, stack_bytes, spill_bytes, shared_bytes; // spills: stored and loaded
};
struct nvrtc_code {
	void *code; // an ELF file of the architecture
	size_t bytes;
	char *ptx;
	struct nvrtc_function *functions;
	int nfunctions;
};
// names as for library_open; NULL: NVRTC's own. false: n->library.why.
bool nvrtc_open(struct nvrtc *n, const char *const *names, const char *root);
void nvrtc_close(struct nvrtc *n);
// The kernels, behind the prelude, as one program for an architecture such as "sm_90". NULL, or the compiler's log
// (malloc'ed), in which every line names the kernel. Afterwards nvrtc_code_free.
char *nvrtc_compile(const struct nvrtc *n, const char *arch, const char *prelude, int count,
                    const struct nvrtc_source *sources, bool ptx, struct nvrtc_code *out);
void nvrtc_code_free(struct nvrtc_code *c);

#endif
