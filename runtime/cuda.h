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

// ---- trace_cuda.c: traced kernels for a GPU that need not be there ------------------------------------------------------
struct trace_cuda {
	const struct target *t; // NULL: none is asked for
	struct target record;   // of which t may be
	bool opened;            // nvrtc was looked for; it is there, or says why not
	struct nvrtc nvrtc;
};
void trace_cuda_open(struct trace_cuda *g, bool tf32); // the environment says for which; tf32: products may round
// Adds to a json_t what trace_json.c lists.
void trace_cuda_add(struct trace_cuda *g, void *json, const struct lowered *j);
void trace_cuda_close(struct trace_cuda *g);

// ---- cuda_driver.c: the driver API -----------------------------------------------------------------------------------
enum { CUDA_OK = 0, CUDA_OUT_OF_MEMORY = 2 };
// X(name, signature): resolved by cuGetProcAddress for CUDA 12.0.
#define CUDA_FUNCTIONS(X) \
	X(cuInit, (unsigned flags)) \
	X(cuDeviceGetCount, (int *n)) \
	X(cuDeviceGet, (int *device, int i)) \
	X(cuDeviceGetName, (char *name, int bytes, int device)) \
	X(cuDeviceGetAttribute, (int *value, int attribute, int device)) \
	X(cuDeviceTotalMem, (size_t *bytes, int device)) \
	X(cuDeviceGetDefaultMemPool, (void **pool, int device)) \
	X(cuMemPoolSetAttribute, (void *pool, int attribute, void *value)) \
	X(cuMemPoolTrimTo, (void *pool, size_t keep)) \
	X(cuDevicePrimaryCtxRetain, (void **context, int device)) \
	X(cuDevicePrimaryCtxRelease, (int device)) \
	X(cuCtxSetCurrent, (void *context)) \
	X(cuCtxSynchronize, (void)) \
	X(cuStreamCreate, (void **stream, unsigned flags)) \
	X(cuStreamDestroy, (void *stream)) \
	X(cuStreamSynchronize, (void *stream)) \
	X(cuStreamBeginCapture, (void *stream, int mode)) \
	X(cuStreamEndCapture, (void *stream, void **graph)) \
	X(cuEventCreate, (void **event, unsigned flags)) \
	X(cuEventDestroy, (void *event)) \
	X(cuEventRecord, (void *event, void *stream)) \
	X(cuEventSynchronize, (void *event)) \
	X(cuEventElapsedTime, (float *ms, void *begun, void *ended)) \
	X(cuMemAllocAsync, (uint64_t *at, size_t bytes, void *stream)) \
	X(cuMemFreeAsync, (uint64_t at, void *stream)) \
	X(cuMemAllocHost, (void **at, size_t bytes)) \
	X(cuMemFreeHost, (void *at)) \
	X(cuMemcpyHtoDAsync, (uint64_t to, const void *from, size_t bytes, void *stream)) \
	X(cuMemcpyDtoHAsync, (void *to, uint64_t from, size_t bytes, void *stream)) \
	X(cuMemcpyDtoDAsync, (uint64_t to, uint64_t from, size_t bytes, void *stream)) \
	X(cuModuleLoadData, (void **module, const void *image)) \
	X(cuModuleUnload, (void *module)) \
	X(cuModuleGetFunction, (void **function, void *module, const char *name)) \
	X(cuFuncSetAttribute, (void *function, int attribute, int value)) \
	X(cuLaunchKernel, (void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
	                   unsigned shared, void *stream, void **params, void **extra)) \
	X(cuGraphInstantiateWithFlags, (void **exec, void *graph, unsigned long long flags)) \
	X(cuGraphExecUpdate, (void *exec, void *graph, void *info)) \
	X(cuGraphLaunch, (void *exec, void *stream)) \
	X(cuGraphExecDestroy, (void *exec)) \
	X(cuGraphDestroy, (void *graph)) \
	X(cuGetErrorName, (int error, const char **name)) \
	X(cuGetErrorString, (int error, const char **text))
struct driver {
	struct library library;
	int version; // 1000 * major + 10 * minor
#define CUDA_FIELD(NAME, SIGNATURE) int (*NAME) SIGNATURE;
	CUDA_FUNCTIONS(CUDA_FIELD)
};
bool driver_open(struct driver *d, const char *const *names, const char *root); // false: d->library.why
void driver_close(struct driver *d);
// "cuInit: CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)"
void driver_error(const struct driver *d, const char *call, int error, char *text, size_t bytes);

// ---- cuda_copy.c: between the host's memory and the device's -------------------------------------------------------------
enum { CUDA_PIECES = 2, CUDA_ASKED = 32 };
struct cuda_piece { // pinned: on its way to the device, until the event
	char *data;
	void *event;
};
struct cuda_asked { // a number of 8 bytes that lands in pinned memory
	void *event;
	bool used;
};
tgc_status cuda_copy(struct tgc_context *c, const char *op, void *to, const void *from, size_t bytes, enum way way);
int cuda_ask(struct tgc_context *c, const void *from, size_t bytes);                        // device_kind.ask
tgc_status cuda_answer(struct tgc_context *c, int ticket, void *to, size_t bytes);          // device_kind.answer
struct cuda;
void cuda_copy_close(struct cuda *g); // the stream has nothing left to do

// ---- cuda_lt.c: cuBLASLt ----------------------------------------------------------------------------------------------
struct lt_way { // cublasLtMatmulHeuristicResult_t
	uint64_t algorithm[8];
	size_t workspace;
	int state;
	float waves;
	int reserved[4];
};
// X(name, signature): without the prefix cublasLt.
#define LT_FUNCTIONS(X) \
	X(Create, (void **handle)) \
	X(Destroy, (void *handle)) \
	X(MatmulDescCreate, (void **desc, int compute, int scale)) \
	X(MatmulDescDestroy, (void *desc)) \
	X(MatmulDescSetAttribute, (void *desc, int attribute, const void *value, size_t bytes)) \
	X(MatrixLayoutCreate, (void **layout, int type, uint64_t rows, uint64_t columns, int64_t distance)) \
	X(MatrixLayoutDestroy, (void *layout)) \
	X(MatrixLayoutSetAttribute, (void *layout, int attribute, const void *value, size_t bytes)) \
	X(MatmulPreferenceCreate, (void **preference)) \
	X(MatmulPreferenceDestroy, (void *preference)) \
	X(MatmulPreferenceSetAttribute, (void *preference, int attribute, const void *value, size_t bytes)) \
	X(MatmulAlgoGetHeuristic, (void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference, int wanted, \
	                           struct lt_way *ways, int *found)) \
	X(MatmulAlgoCheck, (void *handle, void *desc, void *a, void *b, void *c, void *d, const uint64_t *algorithm, \
	                    struct lt_way *way)) \
	X(Matmul, (void *handle, void *desc, const void *alpha, const void *a, void *a_layout, const void *b, void *b_layout, \
	           const void *beta, const void *c, void *c_layout, void *d, void *d_layout, const uint64_t *algorithm, \
	           void *workspace, size_t bytes, void *stream))
struct cuda_lt {
	struct library library;
	size_t (*version)(void); // 10000 * major + 100 * minor, about
#define LT_FIELD(NAME, SIGNATURE) int (*NAME) SIGNATURE;
	LT_FUNCTIONS(LT_FIELD)
};
struct lt_product { // made ready
	void *desc, *layouts[3]; // of the operands as they are handed over, and the result
	struct lt_way way;
};
extern const uint64_t LT_WORKSPACE; // bytes
tgc_status lt_check(struct tgc_context *c, const char *call, int error); // records it
#define LT_CALL(c, l, NAME, ...) lt_check(c, #NAME, (l)->NAME(__VA_ARGS__))
bool cuda_lt_open(struct cuda_lt *l, const char *const *names, const char *root); // false: l->library.why
void cuda_lt_close(struct cuda_lt *l);
// Not while a graph is captured. After an error too *out is to be freed.
tgc_status cuda_lt_prepare(struct tgc_context *c, const struct matmul *p, struct lt_product **out);
tgc_status cuda_lt_run(struct tgc_context *c, const struct matmul *p, struct lt_product *x, void *const *memory); // by buffer
// The library's status, not recorded.
int cuda_lt_call(const struct cuda *g, const struct matmul *p, struct lt_product *x, void *const *memory);
void cuda_lt_free(const struct cuda_lt *l, struct lt_product *x); // NULL allowed

// ---- cuda_tune.c: an algorithm for a product -------------------------------------------------------------------------
struct lt_choice; // one that was timed
tgc_status cuda_tune_choose(struct tgc_context *c, const struct matmul *p, struct lt_product *x); // fills way
void cuda_tune_close(struct cuda *g);

// ---- cuda_device.c: the device "cuda" ----------------------------------------------------------------------------------
struct cuda { // of a context
	struct driver *driver;
	struct nvrtc *nvrtc;
	const struct cuda_lt *lt;
	void *lt_handle;          // NULL: no product was prepared
	struct buffer *workspace; // the same
	bool tunes;               // algorithms are timed
	struct lt_choice *choices; // NULL: none was
	int device;
	int64_t all_bytes;
	void *context, *pool, *stream;
	struct cuda_piece pieces[CUDA_PIECES];
	unsigned turn; // of the pieces
	struct cuda_asked asked[CUDA_ASKED];
	int64_t *numbers; // pinned, by ticket; NULL: none was asked for
	char arch[16], name[128];
};
extern const struct device_kind cuda_kind, cuda_dry_kind; // cuda_dry.c: compiles only
static inline struct cuda *cuda_of(const struct tgc_context *c) { return device_of(c)->own; }
// OK, or a failed call: recorded, and the device is dead from now on.
tgc_status cuda_check(struct tgc_context *c, const char *op, const char *call, int error);
#define CUDA_CALL(c, op, NAME, ...) cuda_check(c, op, #NAME, cuda_of(c)->driver->NAME(__VA_ARGS__))

// ---- cuda_code.c: kernels to cubins, in memory and on the disk ---------------------------------------------------------
struct cuda_code {
	struct code code; // first
	struct cuda_code *next;
	char *key;        // all that it depends on. Compared in full
	char name[48];
	struct cuda_batch *batch; // the cubin that it is in
	struct cuda_phase phases[16];
	struct nvrtc_function info[16];
	void *function[16]; // NULL: not loaded
	int refs;           // plans that use it
	bool fresh;         // being compiled: nobody has it yet
};
struct cuda_batch {
	struct cuda_batch *next;
	char *key; // names of its kernels
	int refs;  // of its kernels, together
	uint64_t used; // when the last plan let go of it
	void *image;
	size_t bytes;
	void *module; // NULL: not loaded
};
struct cuda_process { // struct runtime.cuda
	pthread_mutex_t lock; // of what follows
	int64_t idle_bytes, most_idle_bytes; // of cubins that no plan uses; more than so much is dropped, the oldest first
	uint64_t clock;
	struct cuda_code *table[1024];
	struct cuda_batch *batches;
	char build[96];
	// cuda_device.c, under the runtime's lock
	struct driver driver;
	struct nvrtc nvrtc;
	struct cuda_lt lt; // may be missing
	int device;
	void *context; // the device's primary one; NULL: not retained
};
struct cuda_process *cuda_process(struct tgc_context *c, struct runtime *r); // made when first asked for; NULL: no memory
void cuda_process_close(struct runtime *r);
// Kernels compiled or found, not loaded. An error is recorded.
tgc_status cuda_codes_get(struct tgc_context *c, struct runtime *r, const struct nvrtc *n, const struct target *t, int threads,
                          int count, struct kernel *const *kernels, const struct code **codes);

void cuda_code_release(struct runtime *r, const struct code *code); // NULL allowed

// ---- cuda_run.c: a plan as one CUDA graph ------------------------------------------------------------------------------
tgc_status cuda_run(struct tgc_context *c, struct plan_entry *e, void *const *leaf_data, void *const *out_data);
void cuda_forget(struct plan_entry *e);

#endif
