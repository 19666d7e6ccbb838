// Writing the disk cache behind the program's back.
// In:  compiled objects. Out: files, by and by: a thread of its own waits for the disk, so that the first step
// does not. Closing waits for it, and so does the end of the process. What cannot be written is a miss later.
// Not here: what a file looks like (disk.c).
#include "runtime.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MAX_WAITING = 64 << 20, TRIM_EVERY = 16 << 20, MAX_FAILURES = 3, PATIENCE_SECONDS = 1 };

struct waiting { // to be written
	struct waiting *next;
	char *key;
	struct disk_file file;
};
struct disk {
	struct disk_place place;
	int folder;
	int64_t limit_bytes;
	pthread_mutex_t lock;
	pthread_cond_t more, idle;
	struct waiting *first, **last;
	size_t bytes; // waiting
	bool started, busy, closing, urgent;
	int pauses;      // compilers at work, who need the processors more
	int failures;    // in a row
	int64_t written; // since it was looked whether there is too much; -1: never looked
	uint64_t stored;
	pthread_t thread;
};

static void waiting_free(struct waiting *w)
{
	free(w->key);
	free(w->file.data);
	free(w);
}

// Somebody who filled the disk or took the rights away is not asked again and again.
static void write_one(struct disk *d, struct waiting *w)
{
	int error = d->failures < MAX_FAILURES ? disk_publish(d->folder, w->key, &w->file) : EIO;
	d->failures = error ? d->failures + 1 : 0;
	if (error)
		return;
	if (d->written >= 0)
		d->written += (int64_t)w->file.bytes;
	if (d->written < 0 || d->written > TRIM_EVERY || d->written > d->limit_bytes / 8) {
		disk_trim(d->folder, d->limit_bytes);
		d->written = 0;
	}
}

static struct timespec in_seconds(int seconds)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += seconds;
	return t;
}

// Until there is something to write and nobody compiles, or did so for long. The caller holds the lock.
static struct waiting *next(struct disk *d)
{
	while (!d->first && !d->closing)
		pthread_cond_wait(&d->more, &d->lock);
	struct timespec until = in_seconds(PATIENCE_SECONDS);
	int error = 0;
	while (d->pauses && !d->closing && !d->urgent && !error)
		error = pthread_cond_timedwait(&d->more, &d->lock, &until);
	return d->first;
}

static void *work(void *user)
{
	struct disk *d = user;
	pthread_mutex_lock(&d->lock);
	for (;;) {
		struct waiting *w = next(d);
		if (!w)
			break;
		d->first = w->next;
		if (!d->first)
			d->last = &d->first;
		d->bytes -= w->file.bytes;
		d->busy = true;
		pthread_mutex_unlock(&d->lock);
		write_one(d, w);
		waiting_free(w);
		pthread_mutex_lock(&d->lock);
		d->busy = false;
		d->stored += d->failures == 0;
		if (!d->first)
			pthread_cond_broadcast(&d->idle);
	}
	pthread_mutex_unlock(&d->lock);
	return NULL;
}

// The thread takes no signals: they are the program's, and SIGXFSZ (a file grown too long) would end it.
static bool start(struct disk *d)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	d->started = pthread_create(&d->thread, NULL, work, d) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return d->started;
}

void disk_store(struct disk *d, const char *key, const void *object, size_t bytes)
{
	struct waiting *w = calloc(1, sizeof *w);
	if (!w)
		return;
	w->key = strdup(key);
	bool ok = w->key && disk_pack(&w->file, key, object, bytes);
	pthread_mutex_lock(&d->lock);
	if (ok && d->bytes + w->file.bytes <= MAX_WAITING && (d->started || start(d))) {
		*d->last = w;
		d->last = &w->next;
		d->bytes += w->file.bytes;
		w = NULL;
		pthread_cond_signal(&d->more);
	}
	pthread_mutex_unlock(&d->lock);
	if (w)
		waiting_free(w);
}

bool disk_wait(struct disk *d, int seconds)
{
	struct timespec until = in_seconds(seconds);
	if (pthread_mutex_timedlock(&d->lock, &until) != 0)
		return false;
	int error = 0;
	d->urgent = true;
	pthread_cond_signal(&d->more);
	while ((d->first || d->busy) && !error)
		error = pthread_cond_timedwait(&d->idle, &d->lock, &until);
	pthread_mutex_unlock(&d->lock);
	return error == 0;
}

void disk_pause(struct disk *d, int more)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->pauses += more;
	if (!d->pauses)
		pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
}

int disk_descriptor(const struct disk *d)
{
	return d->folder;
}

uint64_t disk_stored(struct disk *d)
{
	pthread_mutex_lock(&d->lock);
	uint64_t n = d->stored;
	pthread_mutex_unlock(&d->lock);
	return n;
}

struct disk *disk_open(struct disk_place *p, int64_t limit_bytes)
{
	int fd = disk_find(p) ? disk_folder(p, true) : -1;
	if (fd < 0)
		return NULL;
	struct disk *d = calloc(1, sizeof *d);
	if (!d) {
		close(fd);
		snprintf(p->reason, sizeof p->reason, "out of memory");
		return NULL;
	}
	*d = (struct disk){.place = *p, .folder = fd, .limit_bytes = limit_bytes, .written = -1};
	d->last = &d->first;
	pthread_mutex_init(&d->lock, NULL);
	pthread_cond_init(&d->more, NULL);
	pthread_cond_init(&d->idle, NULL);
	return d;
}

void disk_close(struct disk *d)
{
	if (!d)
		return;
	pthread_mutex_lock(&d->lock);
	d->closing = true;
	pthread_cond_signal(&d->more);
	pthread_mutex_unlock(&d->lock);
	if (d->started)
		pthread_join(d->thread, NULL);
	pthread_cond_destroy(&d->idle);
	pthread_cond_destroy(&d->more);
	pthread_mutex_destroy(&d->lock);
	close(d->folder);
	free(d);
}
