// Private header of the CUDA emulator: kernels' text, compiled for this processor, run thread by thread.
// Sectioned by .c file. One launch at a time in a process.
#ifndef TG_EMU_HOST_H
#define TG_EMU_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "abi.h"

// ---- machine.c: a block of threads ------------------------------------------------------------------------------
enum emu_order { EMU_FORWARD, EMU_REVERSE, EMU_WARP }; // of threads; warp: each as far as it gets
struct emu_launch {
	const char *name; // of the function, in messages
	void *fn;
	void *const *args; // pointers
	int nargs;
	int threads; // a block
	int64_t blocks;
	int64_t shared_bytes; // that its record promises; -1: any
	enum emu_order order;
	bool reverse_blocks;
	bool deferred; // asynchronous copies happen as late as they may, else at once
	const struct emu_guard *watched; // memory in which blocks must not disturb each other, if that can be seen
	int nwatched;
};
char *emu_launch(const struct emu_launch *l); // NULL, or what went wrong (malloc'ed)

// ---- between machine.c and warp.c -------------------------------------------------------------------------------
enum emu_state { EMU_NEW, EMU_READY, EMU_AT_BARRIER, EMU_AT_WARP, EMU_DONE };
enum emu_together { EMU_SYNC, EMU_SHUFFLE, EMU_LDMATRIX, EMU_MMA }; // what a warp does together
struct emu_copy {
	void *to;
	const void *from; // NULL: zeros
	int bytes, group;
};
struct emu_fiber {
	void *sp;
	char *stack; // its low end; NULL: it has none yet
	uint8_t state;
	int line; // where it waits
	// what it brings to its warp
	uint8_t together;
	uint32_t mask;
	uint64_t bits;
	int from, n, transposed, kind;
	const void *row;
	unsigned *r;
	float *c;
	const unsigned *a, *b;
	// asynchronous copies
	struct emu_copy *copies;
	int ncopies, cap, group;
};
extern struct tg_machine emu_machine;
struct emu_fiber *emu_fiber(int thread); // of the running block
int emu_threads(void);
void emu_wait(enum emu_state state, int line); // the running thread, until another makes it ready
// Ends the launch; does not return.
_Noreturn void emu_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool emu_deferred(void);
// warp.c
void emu_warp_sync(unsigned mask, int line);
unsigned long long emu_shuffle(unsigned mask, unsigned long long bits, int from, int line);
void emu_copy(void *to, const void *from, int bytes, int ok, int line);
void emu_copy_commit(void);
void emu_copy_wait(int groups);
void emu_ldmatrix(unsigned *r, const void *row, int n, int transposed, int line);
void emu_mma(float *c, const unsigned *a, const unsigned *b, int kind, int line);

// ---- guard.c: memory between pages that nobody may touch --------------------------------------------------------
struct emu_guard {
	char *data; // 16-byte aligned; its end is as near as that allows to a page without rights
	int64_t bytes;
	char *map;
	size_t map_bytes;
};
bool emu_guard_new(struct emu_guard *g, int64_t bytes); // poisoned; false: out of memory
bool emu_guard_intact(const struct emu_guard *g);       // nobody wrote just behind it
void emu_guard_free(struct emu_guard *g);

// ---- trace.c: who touches what ----------------------------------------------------------------------------------
struct emu_conflict {
	bool is;
	int guard; // its number
	int64_t at; // byte in it
	int block, other;
	bool writes; // the block, else the other one did
};
bool emu_trace_can(void); // on this machine
bool emu_trace_begin(const struct emu_guard *guards, int n); // false: too many, or out of memory
struct emu_conflict emu_trace_end(void);                     // the first
// Signal handlers': false: it is not about watched memory.
bool emu_trace_fault(void *address, void *context, int block);
bool emu_trace_step(void *context);

// ---- build.c: text to functions ---------------------------------------------------------------------------------
struct emu_library;
// Kernels' texts in one call of the C compiler. NULL, or its messages (malloc'ed).
char *emu_build(int n, const char *const *names, const char *const *texts, struct emu_library **out);
char *emu_compile(int n, const char *const *names, const char *const *texts, const char *library); // to this file
char *emu_load(const char *path, struct emu_library **out);                                     // and removes it
void *emu_function(const struct emu_library *l, const char *name); // NULL: it has none
void emu_library_free(struct emu_library *l);                      // NULL allowed

#endif
