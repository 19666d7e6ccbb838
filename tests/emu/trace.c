// Who touches which global memory, to find blocks of one launch that disturb each other.
// In:  memory between guard pages, the block that runs. Out: whether a block writes what another one reads or
// writes. Every access to that memory faults: its page is opened for one instruction, which is stepped over,
// and closed again; accesses are told apart by groups of 4 bytes, wider ones count as their first. Slow: for
// tests with small kernels. x86-64 only, elsewhere nothing is seen. Not here: what is said about it
// (machine.c).
#include "emu.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { NOBODY = -1, SEVERAL = -2, PAGE = 4096, MOST = 8, OPEN = 4 };

struct watched {
	const struct emu_guard *guard;
	char *from, *to;          // its pages
	int32_t *writer, *reader; // blocks, by group of 4 bytes
};
static struct {
	struct watched w[MOST];
	int n;
	char *open[OPEN]; // pages that the current instruction uses
	int nopen;
	struct emu_conflict found;
} t;

#if defined(__x86_64__)
enum { TRAP_FLAG = 0x100, FAULT_WRITES = 2 };

static struct watched *watched_at(const char *at)
{
	for (int i = 0; i < t.n; i++)
		if (at >= t.w[i].guard->data && at < t.w[i].guard->data + t.w[i].guard->bytes)
			return &t.w[i];
	return NULL;
}

static void note(struct watched *w, const char *at, bool writes, int block)
{
	int64_t i = (at - w->guard->data) / 4;
	int32_t *writer = &w->writer[i], *reader = &w->reader[i];
	bool other = *writer != NOBODY && *writer != block;
	bool read = *reader != NOBODY && *reader != block;
	if (!t.found.is && (other || (writes && read)))
		t.found = (struct emu_conflict){true,  (int)(w - t.w), i * 4, block, other ? *writer : *reader,
		                                writes};
	if (writes)
		*writer = block;
	else
		*reader = *reader == NOBODY || *reader == block ? block : SEVERAL;
}

bool emu_trace_fault(void *address, void *context, int block)
{
	ucontext_t *u = context;
	char *at = address, *page = (char *)((uintptr_t)at & ~(uintptr_t)(PAGE - 1));
	struct watched *w = watched_at(at);
	if (!w || t.nopen == OPEN || mprotect(page, PAGE, PROT_READ | PROT_WRITE) != 0)
		return false;
	note(w, at, u->uc_mcontext.gregs[REG_ERR] & FAULT_WRITES, block);
	t.open[t.nopen++] = page;
	u->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
	return true;
}

bool emu_trace_step(void *context)
{
	ucontext_t *u = context;
	bool ours = t.nopen > 0;
	while (t.nopen)
		mprotect(t.open[--t.nopen], PAGE, PROT_NONE);
	u->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
	return ours;
}

bool emu_trace_can(void)
{
	return true;
}
#else
bool emu_trace_fault(void *address, void *context, int block)
{
	(void)address, (void)context, (void)block;
	return false;
}

bool emu_trace_step(void *context)
{
	(void)context;
	return false;
}

bool emu_trace_can(void)
{
	return false;
}
#endif

static bool watch(const struct emu_guard *g)
{
	struct watched *w = &t.w[t.n];
	size_t groups = (size_t)(g->bytes + 3) / 4 + 1;
	*w = (struct watched){.guard = g, .from = g->map + PAGE, .to = g->map + g->map_bytes - PAGE};
	w->writer = malloc(groups * sizeof *w->writer);
	w->reader = malloc(groups * sizeof *w->reader);
	t.n++;
	if (!w->writer || !w->reader)
		return false;
	for (size_t i = 0; i < groups; i++)
		w->writer[i] = w->reader[i] = NOBODY;
	return mprotect(w->from, (size_t)(w->to - w->from), PROT_NONE) == 0;
}

bool emu_trace_begin(const struct emu_guard *guards, int n)
{
	t.n = t.nopen = 0;
	t.found = (struct emu_conflict){0};
	bool ok = n <= MOST;
	for (int i = 0; i < n && ok; i++)
		ok = guards[i].bytes == 0 || watch(&guards[i]);
	return ok;
}

struct emu_conflict emu_trace_end(void)
{
	for (int i = 0; i < t.n; i++) {
		mprotect(t.w[i].from, (size_t)(t.w[i].to - t.w[i].from), PROT_READ | PROT_WRITE);
		free(t.w[i].writer);
		free(t.w[i].reader);
	}
	t.n = t.nopen = 0;
	return t.found;
}
