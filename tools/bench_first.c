// Process start to first loss: a fresh process that makes the data, runs one step and says how long it took.
// In:  a workload. Out: a line of numbers, or what was read from one. The cache is the one that TGC_CACHE
// names. Not here: emptying the cache (bench.c).
#include "bench.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double boot_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

int bench_first_main(const struct bench_workload *w, int threads, double begun_ms)
{
	double begun = begun_ms > 0 ? begun_ms : boot_ms(), value = 0;
	tgc_tensor *out[BENCH_OUT];
	struct bench_run r;
	int n, status = 1;
	if (begun_ms > 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL); // a killed benchmark's cache is not to be made again
	if (bench_open(&r, w, threads) && bench_step(&r, out, &n) == TGC_OK) {
		if (n && tgc_tensor_elems(out[0]) == 1)
			value = tgc_item(out[0]);
		if (bench_is_far(r.c))
			bench_wait(r.c);
		double end = boot_ms();
		tgc_stats s = tgc_get_stats(r.c);
		status = bench_step(&r, out, &n) != TGC_OK;
		printf("first_ms %.1f second_ms %.1f loss %.9g compiled %llu loaded %llu\n", end - begun,
		       boot_ms() - end, value, (unsigned long long)s.kernels_compiled,
		       (unsigned long long)s.kernels_loaded);
	}
	tgc_print_error(r.c);
	bench_close(&r);
	return status;
}

pid_t bench_spawn(char *const *argv, FILE **to, FILE **from)
{
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	pid_t pid = -1;
	posix_spawn_file_actions_t a;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigemptyset(&none);
	posix_spawn_file_actions_init(&a);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none); // ours is bench_folder.c's
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
	if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0) {
		posix_spawn_file_actions_adddup2(&a, in[0], 0);
		posix_spawn_file_actions_adddup2(&a, out[1], 1);
		if (posix_spawnp(&pid, argv[0], &a, &attributes, argv, environ) != 0)
			pid = -1;
	}
	posix_spawn_file_actions_destroy(&a);
	posix_spawnattr_destroy(&attributes);
	*to = fdopen(in[1], "w");
	*from = fdopen(out[0], "r");
	close(in[0]);
	close(out[1]);
	return pid;
}

bool bench_first_run(const char *name, int threads, struct bench_first *out)
{
	char begun[32], count[16];
	FILE *to, *from;
	int status = 1;
	snprintf(begun, sizeof begun, "%.3f", boot_ms());
	snprintf(count, sizeof count, "%d", threads);
	char *argv[] = {"/proc/self/exe", "bench", "--only", (char *)name, "--threads", count,
	                "--first",        begun,   NULL};
	pid_t pid = bench_spawn(argv, &to, &from);
	bool read =
	    from && fscanf(from, "first_ms %lf second_ms %lf loss %lf compiled %llu loaded %llu",
	                   &out->first_ms, &out->second_ms, &out->value, &out->compiled, &out->loaded) == 5;
	if (to)
		fclose(to);
	if (from)
		fclose(from);
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 && read;
}
