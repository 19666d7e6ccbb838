// A block of CUDA threads on one processor: a fiber each, run one after the other until each waits or ends.
// In:  a compiled kernel, its arguments, an order. Out: memory written, or what would have gone wrong on a GPU:
// threads at different barriers or ended before one, an access outside memory or not aligned, shared arrays
// overrun or larger than said. Shared memory is poisoned before every block.
// Not here: what a warp does together (warp.c), guard pages (guard.c).
#include "emu.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

enum {
	MAX_THREADS = 1024,
	MAX_ARGS = 512,
	MAX_SHARED = 228 << 10,
	MAX_ARRAYS = 64,
	RED_ZONE = 64,
	STACK_BYTES = 64 << 10,
	PAGE = 4096,
	POISON = 0xff,
	RED = 0xa7
};
struct array { // in shared memory
	const void *key;
	long at, bytes;
};

struct tg_machine emu_machine;
static struct {
	const struct emu_launch *launch;
	struct emu_fiber fibers[MAX_THREADS];
	char *stacks, *spare[MAX_THREADS]; // all, and those that no fiber has
	int nspare, live, arrived, barrier_line;
	void *main_sp;
	char *shared;
	long shared_end, shared_bytes;
	struct array arrays[MAX_ARRAYS];
	int narrays;
	sigjmp_buf out; // of the launch
	char *error;
} m;

struct emu_fiber *emu_fiber(int thread)
{
	return &m.fibers[thread];
}
int emu_threads(void)
{
	return m.launch->threads;
}
bool emu_deferred(void)
{
	return m.launch->deferred;
}

void emu_fail(const char *fmt, ...)
{
	char what[512], *all = malloc(1024);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	if (all)
		snprintf(all, 1024, "%s, block %d, thread %d: %s", m.launch->name, emu_machine.block,
		         emu_machine.thread, what);
	m.error = all;
	siglongjmp(m.out, 1);
}

// ---- switching ----------------------------------------------------------------------------------------------

// A caller of the usual ABIs may pass more arguments than are taken.
#define P4 void *, void *, void *, void *
#define P16 P4, P4, P4, P4
#define P64 P16, P16, P16, P16
#define A4(i) a[i], a[(i) + 1], a[(i) + 2], a[(i) + 3]
#define A16(i) A4(i), A4((i) + 4), A4((i) + 8), A4((i) + 12)
#define A64(i) A16(i), A16((i) + 16), A16((i) + 32), A16((i) + 48)
static void call(void)
{
	static void *a[MAX_ARGS];
	uintptr_t fn = (uintptr_t)m.launch->fn;
	int n = m.launch->nargs;
	memcpy(a, m.launch->args, sizeof *a * (size_t)n);
	if (n <= 4)
		((void (*)(P4))fn)(A4(0));
	else if (n <= 16)
		((void (*)(P16))fn)(A16(0));
	else if (n <= 64)
		((void (*)(P64))fn)(A64(0));
	else
		((void (*)(P64, P64, P64, P64, P64, P64, P64, P64))fn)(A64(0), A64(64), A64(128), A64(192),
		                                                       A64(256), A64(320), A64(384), A64(448));
}

static void enter(void);
#if defined(__x86_64__)
void emu_switch(void **save, void *to);
__asm__(".text\n"
        ".globl emu_switch\n"
        ".hidden emu_switch\n"
        "emu_switch:\n"
        "	push %rbp\n	push %rbx\n	push %r12\n	push %r13\n	push %r14\n	push %r15\n"
        "	mov %rsp, (%rdi)\n	mov %rsi, %rsp\n"
        "	pop %r15\n	pop %r14\n	pop %r13\n	pop %r12\n	pop %rbx\n	pop %rbp\n"
        "	ret\n");

static void prepare(struct emu_fiber *f)
{
	void **top = (void **)(void *)(f->stack + STACK_BYTES);
	*--top = NULL; // no caller
	*--top = (void *)(uintptr_t)enter;
	f->sp = top - 6;
}
#else
static ucontext_t contexts[MAX_THREADS], main_context;
static void emu_switch(void **save, void *to)
{
	ucontext_t *from = save == &m.main_sp ? &main_context : *save;
	swapcontext(from, save == &m.main_sp ? to : &main_context);
}

static void prepare(struct emu_fiber *f)
{
	ucontext_t *c = &contexts[f - m.fibers];
	getcontext(c);
	c->uc_stack.ss_sp = f->stack;
	c->uc_stack.ss_size = STACK_BYTES;
	c->uc_link = NULL;
	makecontext(c, enter, 0);
	f->sp = c;
}
#endif

static void enter(void)
{
	call();
	struct emu_fiber *f = &m.fibers[emu_machine.thread];
	f->state = EMU_DONE;
	m.live--;
	if (m.arrived)
		emu_fail("ends while %d threads wait at the barrier of line %d", m.arrived, m.barrier_line);
	emu_switch(&f->sp, m.main_sp);
}

void emu_wait(enum emu_state state, int line)
{
	struct emu_fiber *f = &m.fibers[emu_machine.thread];
	f->state = (uint8_t)state;
	f->line = line;
	emu_switch(&f->sp, m.main_sp);
}

static void resume(int thread)
{
	struct emu_fiber *f = &m.fibers[thread];
	if (f->state == EMU_NEW) {
		f->stack = m.spare[--m.nspare];
		prepare(f);
	}
	f->state = EMU_READY;
	emu_machine.thread = thread;
	emu_switch(&m.main_sp, f->sp);
	if (f->state == EMU_DONE)
		m.spare[m.nspare++] = f->stack;
}

// ---- what a block does together ------------------------------------------------------------------------------------

static void barrier(int line)
{
	if (m.live < m.launch->threads)
		emu_fail("comes to the barrier of line %d after another thread has ended", line);
	if (m.arrived && m.barrier_line != line)
		emu_fail("divergent barrier: comes to line %d while %d threads wait at line %d", line,
		         m.arrived, m.barrier_line);
	m.barrier_line = line;
	if (++m.arrived < m.launch->threads) {
		emu_wait(EMU_AT_BARRIER, line);
		return;
	}
	m.arrived = 0;
	for (int i = 0; i < m.launch->threads; i++)
		if (m.fibers[i].state == EMU_AT_BARRIER)
			m.fibers[i].state = EMU_READY;
}

static void *shared(const void *key, long bytes, int line)
{
	for (int i = 0; i < m.narrays; i++)
		if (m.arrays[i].key == key)
			return m.shared + m.arrays[i].at;
	long at = (m.shared_end + RED_ZONE + 15) & ~15L;
	m.shared_bytes = ((m.shared_bytes + 15) & ~15L) + bytes;
	if (m.narrays == MAX_ARRAYS || m.shared_bytes > MAX_SHARED)
		emu_fail("line %d: %ld bytes of shared memory are too much", line, m.shared_bytes);
	m.arrays[m.narrays++] = (struct array){key, at, bytes};
	memset(m.shared + m.shared_end, RED, (size_t)(at - m.shared_end));
	memset(m.shared + at, POISON, (size_t)bytes);
	m.shared_end = at + bytes;
	memset(m.shared + m.shared_end, RED, RED_ZONE);
	return m.shared + at;
}

static bool is_red(long from, long to)
{
	for (long i = from; i < to; i++)
		if ((unsigned char)m.shared[i] != RED)
			return false;
	return true;
}

static void check_shared(void)
{
	long end = 0;
	for (int i = 0; i <= m.narrays; i++) {
		long at = i < m.narrays ? m.arrays[i].at : m.shared_end + RED_ZONE;
		if (m.narrays && !is_red(end, at))
			emu_fail("the block wrote outside its shared arrays, behind array %d of %d", i,
			         m.narrays);
		end = i < m.narrays ? at + m.arrays[i].bytes : end;
	}
	if (m.launch->shared_bytes >= 0 && m.shared_bytes > m.launch->shared_bytes)
		emu_fail("%ld bytes of shared memory, the record says %lld", m.shared_bytes,
		         (long long)m.launch->shared_bytes);
}

static void misaligned(const void *p, int bytes)
{
	emu_fail("%p is not aligned to %d bytes", p, bytes);
}

// ---- a launch ------------------------------------------------------------------------------------------------------

static bool may_run(const struct emu_fiber *f)
{
	return f->state == EMU_NEW || f->state == EMU_READY;
}

// Threads from `from` to `to`, each until it waits, by the order. False: none could move.
static bool sweep(int from, int to)
{
	bool moved = false;
	for (int k = 0; k < to - from; k++) {
		int i = m.launch->order == EMU_REVERSE ? to - 1 - k : from + k;
		if (!may_run(&m.fibers[i]))
			continue;
		resume(i);
		moved = true;
	}
	return moved;
}

static void fail_stuck(void)
{
	int barrier = 0, warp = 0, line = 0;
	for (int i = 0; i < m.launch->threads; i++) {
		barrier += m.fibers[i].state == EMU_AT_BARRIER;
		if (m.fibers[i].state != EMU_AT_WARP)
			continue;
		warp++;
		line = m.fibers[i].line;
		emu_machine.thread = i;
	}
	emu_fail("stuck: %d threads wait at the barrier of line %d, %d for lanes of their warp at line %d, %d "
	         "have ended",
	         barrier, m.barrier_line, warp, line, m.launch->threads - m.live);
}

static void run_block(int block)
{
	int n = m.launch->threads;
	emu_machine.block = block;
	m.live = n;
	m.arrived = m.narrays = 0;
	m.shared_end = m.shared_bytes = 0;
	for (int i = 0; i < n; i++) {
		struct emu_fiber *f = &m.fibers[i];
		f->state = EMU_NEW;
		f->ncopies = f->group = 0;
	}
	while (m.live) {
		bool moved = false;
		if (m.launch->order != EMU_WARP)
			moved = sweep(0, n);
		for (int w = 0; m.launch->order == EMU_WARP && w < n; w += 32)
			while (sweep(w, w + 32 < n ? w + 32 : n))
				moved = true;
		if (!moved)
			fail_stuck();
	}
	check_shared();
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
	if (sig == SIGTRAP ? emu_trace_step(context)
	                   : sig == SIGSEGV && emu_trace_fault(info->si_addr, context, emu_machine.block))
		return;
	uintptr_t at = (uintptr_t)info->si_addr, stacks = (uintptr_t)m.stacks;
	if (at >= stacks && at < stacks + (uintptr_t)MAX_THREADS * (STACK_BYTES + PAGE))
		emu_fail("its local variables do not fit in %d bytes", STACK_BYTES);
	emu_fail("%s at %p", sig == SIGTRAP ? "trap" : sig == SIGFPE ? "arithmetic fault" : "access outside memory", info->si_addr);
}

// malloc'ed text; NULL: ready.
static char *open_machine(void)
{
	size_t each = STACK_BYTES + PAGE;
	if (m.stacks)
		return NULL;
	char *p = mmap(NULL, each * MAX_THREADS, PROT_READ | PROT_WRITE,
	               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	m.shared = malloc(MAX_SHARED + MAX_ARRAYS * 2 * RED_ZONE + 64);
	if (p == MAP_FAILED || !m.shared)
		return strdup("out of memory");
	m.stacks = p;
	for (int i = 0; i < MAX_THREADS; i++) // below each is a page that nobody may touch
		mprotect(p + each * (size_t)i, PAGE, PROT_NONE);
	emu_machine = (struct tg_machine){.shared = shared,
	                                  .barrier = barrier,
	                                  .warp_sync = emu_warp_sync,
	                                  .shuffle = emu_shuffle,
	                                  .copy = emu_copy,
	                                  .copy_commit = emu_copy_commit,
	                                  .copy_wait = emu_copy_wait,
	                                  .ldmatrix = emu_ldmatrix,
	                                  .mma = emu_mma,
	                                  .misaligned = misaligned};
	return NULL;
}

// A failed launch leaves stacks behind in no order.
static void collect_stacks(void)
{
	for (m.nspare = 0; m.nspare < MAX_THREADS; m.nspare++)
		m.spare[m.nspare] =
		    m.stacks + (STACK_BYTES + PAGE) * (size_t)(MAX_THREADS - 1 - m.nspare) + PAGE;
}

static char *conflict_text(const struct emu_launch *l)
{
	struct emu_conflict c = emu_trace_end();
	char *text = c.is ? malloc(256) : NULL;
	if (text)
		snprintf(text, 256, "%s: block %d %s byte %lld of buffer %d, which block %d has %s", l->name, c.block,
		         c.writes ? "writes" : "reads", (long long)c.at, c.guard, c.other,
		         c.writes ? "used" : "written");
	return text;
}

char *emu_launch(const struct emu_launch *l)
{
	static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGTRAP};
	static char alternate[64 << 10];
	struct sigaction mine = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER},
	                 old[4];
	stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, before;
	char *error = open_machine();
	if (error)
		return error;
	if (l->threads < 1 || l->threads > MAX_THREADS || l->nargs > MAX_ARGS)
		return strdup("a launch of more threads or arguments than there may be");
	if (l->nwatched && !emu_trace_begin(l->watched, l->nwatched)) {
		(void)emu_trace_end();
		return strdup("too much memory to watch");
	}
	m.launch = l;
	m.error = NULL;
	collect_stacks();
	sigaltstack(&stack, &before);
	for (int i = 0; i < 4; i++)
		sigaction(signals[i], &mine, &old[i]);
	if (!sigsetjmp(m.out, 1))
		for (int64_t b = 0; b < l->blocks; b++)
			run_block((int)(l->reverse_blocks ? l->blocks - 1 - b : b));
	for (int i = 0; i < 4; i++)
		sigaction(signals[i], &old[i], NULL);
	sigaltstack(&before, NULL);
	char *conflict = l->nwatched ? conflict_text(l) : NULL;
	if (!m.error)
		return conflict;
	free(conflict);
	return m.error;
}
