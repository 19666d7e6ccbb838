// Jobs side by side on threads of their own, with stacks large enough for a compiler.
// In:  a count and a function. Out: it was called for each number, in no order.
// Not here: running kernels (pool.c). The caller's stack may be small, so it only waits.
#include "runtime.h"

#include <stdatomic.h>

enum { MAX_THREADS = 64, STACK_BYTES = 16 << 20 };

struct jobs {
	void (*fn)(void *user, int i);
	void *user;
	int n;
	atomic_int next;
};

static void *work(void *arg)
{
	struct jobs *j = arg;

	for (int i; (i = atomic_fetch_add(&j->next, 1)) < j->n;)
		j->fn(j->user, i);
	return NULL;
}

void parallel_run(int n, int threads, void (*fn)(void *user, int i), void *user)
{
	struct jobs j = {.fn = fn, .user = user, .n = n};
	pthread_t ids[MAX_THREADS];
	pthread_attr_t attr;
	int started = 0;

	threads = threads > MAX_THREADS ? MAX_THREADS : threads < 1 ? 1 : threads;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	while (started < threads && started < n && !pthread_create(&ids[started], &attr, work, &j))
		started++;
	pthread_attr_destroy(&attr);
	if (!started)
		work(&j);
	for (int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
}
