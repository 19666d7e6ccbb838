// Folders in /tmp that end with the program, also where it is stopped: their names hold the number of its process.
// In:  what a folder is for. Out: its path. A thread waits for SIGINT and SIGTERM, since a handler may not look into
// folders. Whatever a process left that was killed otherwise goes when the next one starts.
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const whats[] = {"bench", "peer"};

static int remove_one(const char *path, const struct stat *s, int type, struct FTW *at)
{
	(void)s, (void)type, (void)at;
	return remove(path);
}

bool bench_folder_remove(const char *path)
{
	if (nftw(path, remove_one, 8, FTW_PHYS | FTW_DEPTH) == 0)
		return true;
	fprintf(stderr, "tgc bench: cannot remove %s: %s\n", path, strerror(errno));
	return false;
}

bool bench_folder_new(const char *what, char *path, size_t bytes)
{
	snprintf(path, bytes, "/tmp/tgc-%s-%ld-XXXXXX", what, (long)getpid());
	if (mkdtemp(path))
		return true;
	fprintf(stderr, "tgc bench: cannot make a folder like %s: %s\n", path, strerror(errno));
	return false;
}

// The process that a folder of ours belongs to; 0: it is none.
static long owner(const char *name)
{
	char pattern[32];
	for (size_t i = 0; i < sizeof whats / sizeof *whats; i++) {
		long pid = 0;
		int end = 0;
		snprintf(pattern, sizeof pattern, "tgc-%s-%%ld-%%n", whats[i]);
		if (sscanf(name, pattern, &pid, &end) == 1 && end && strlen(name + end) == 6)
			return pid;
	}
	return 0;
}

// Removes the folders of this user that belong to this process, or to one that is gone.
static void sweep(bool mine)
{
	DIR *d = opendir("/tmp");
	struct dirent *e;
	while (d && (e = readdir(d))) {
		struct stat s;
		char path[300];
		long pid = owner(e->d_name);
		snprintf(path, sizeof path, "/tmp/%s", e->d_name);
		bool wanted = mine ? pid == getpid() : pid > 0 && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
		if (wanted && lstat(path, &s) == 0 && S_ISDIR(s.st_mode) && s.st_uid == geteuid())
			bench_folder_remove(path);
	}
	if (d)
		closedir(d);
}

static sigset_t ending(void)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, SIGINT);
	sigaddset(&s, SIGTERM);
	return s;
}

static void *wait_for_end(void *user)
{
	sigset_t s = ending();
	int which;
	(void)user;
	if (sigwait(&s, &which) != 0)
		return NULL;
	sweep(true);
	signal(which, SIG_DFL);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	raise(which);
	return NULL;
}

void bench_folder_guard(void)
{
	sigset_t s = ending();
	pthread_t id;
	sweep(false);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	if (pthread_create(&id, NULL, wait_for_end, NULL) == 0)
		pthread_detach(id);
	else
		pthread_sigmask(SIG_UNBLOCK, &s, NULL);
}
