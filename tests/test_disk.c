// The disk cache: whatever happens to its files, results stay right and nothing fails.
// In:  folders of its own, damaged on purpose. "--kills N" instead kills N processes while they write, and
// looks after each (the suite does a few). What needs another user is skipped where this is not root.
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <tgc/cache.h>
#include <time.h>
#include <unistd.h>

enum { NOBODY = 65534 };

static int kills = 25;

// ---- folders ------------------------------------------------------------------------------------

static char folder[64];

static int remove_one(const char *name)
{
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", name);
	return system(command);
}

static int make(void **state)
{
	(void)state;
	snprintf(folder, sizeof folder, "/tmp/tgc-disk-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	return setenv("TGC_CACHE", folder, 1);
}

static int drop(void **state)
{
	(void)state;
	return remove_one(folder);
}

static int open_folder(void)
{
	struct disk_place p;
	assert_true(disk_find(&p));
	int fd = disk_folder(&p, true);
	assert_true(fd >= 0);
	return fd;
}

struct found {
	int sound, damaged;
	char name[64]; // of the last one
};

static bool count(void *user, const tgc_cache_entry *e)
{
	struct found *f = user;
	assert_true(e->problem ? !e->key : e->key != NULL);
	f->damaged += e->problem != NULL;
	f->sound += !e->problem;
	snprintf(f->name, sizeof f->name, "%s", e->name);
	return true;
}

static struct found look(void)
{
	struct found f = {0};
	assert_int_equal(tgc_cache_each(count, &f), TGC_OK);
	return f;
}

// Files of any name.
static int entries(void)
{
	char command[128];
	int n = -1;
	snprintf(command, sizeof command, "ls -A '%s' | wc -l", folder);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	return n;
}

// ---- one file, without a compiler ---------------------------------------------------------------

static const char KEY[] = "a key that holds everything", OBJECT[] = "an object\0with zeros\0";

static bool publish(int fd, const char *key)
{
	struct disk_file f;
	assert_true(disk_pack(&f, key, OBJECT, sizeof OBJECT));
	int error = disk_publish(fd, key, &f);
	free(f.data);
	return error == 0;
}

static bool is_hit(int fd, const char *key)
{
	size_t n = 0;
	char *object = disk_load(fd, key, &n);
	if (!object)
		return false;
	assert_int_equal(n, sizeof OBJECT);
	assert_memory_equal(object, OBJECT, n);
	free(object);
	return true;
}

static void path_of(const char *key, char path[128])
{
	snprintf(path, 128, "%s/%s.tgc", folder, disk_name(key).s);
}

static size_t slurp(const char *path, char *to, size_t room)
{
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(to, 1, room, f);
	fclose(f);
	return n;
}

static void spit(const char *path, const char *data, size_t n)
{
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, n, f), n);
	fclose(f);
}

static void what_is_stored_is_found(void **state)
{
	int fd = open_folder();
	(void)state;
	assert_false(is_hit(fd, KEY));
	assert_true(publish(fd, KEY));
	assert_true(is_hit(fd, KEY));
	assert_false(is_hit(fd, "another key"));
	assert_true(publish(fd, KEY)); // over it
	assert_true(is_hit(fd, KEY));
	assert_int_equal(entries(), 1);
	close(fd);
}

static void damage_is_a_miss(void **state)
{
	static char good[4096], bad[4096];
	char path[128];
	int fd = open_folder();
	(void)state;
	assert_true(publish(fd, KEY));
	path_of(KEY, path);
	size_t n = slurp(path, good, sizeof good);
	for (size_t i = 0; i < n; i++) {
		spit(path, good, i); // truncated
		assert_false(is_hit(fd, KEY));
		assert_int_equal(look().damaged, 1);
		memcpy(bad, good, n);
		for (int bit = 0; bit < 8; bit++) {
			bad[i] = (char)(good[i] ^ 1 << bit);
			spit(path, bad, n);
			assert_false(is_hit(fd, KEY));
		}
		assert_int_equal(look().damaged, 1);
	}
	memcpy(bad, good, n);
	spit(path, bad, n + 1); // longer
	assert_false(is_hit(fd, KEY));
	for (size_t at = 8; at < 24; at += 8) { // lengths that claim everything
		memcpy(bad, good, n);
		memset(bad + at, 255, 8);
		spit(path, bad, n);
		assert_false(is_hit(fd, KEY));
	}
	assert_true(publish(fd, KEY)); // mends it
	assert_true(is_hit(fd, KEY));
	close(fd);
}

// Sound, but another key's: as if two keys had one hash.
static void the_whole_key_is_compared(void **state)
{
	char a[128], b[128];
	int fd = open_folder();
	(void)state;
	assert_true(publish(fd, KEY));
	path_of(KEY, a);
	path_of("another key", b);
	assert_int_equal(rename(a, b), 0);
	assert_false(is_hit(fd, "another key"));
	assert_int_equal(look().damaged, 1);
	close(fd);
}

static void only_own_regular_files_are_read(void **state)
{
	char path[128], other[128];
	int fd = open_folder();
	(void)state;
	assert_true(publish(fd, KEY));
	path_of(KEY, path);
	snprintf(other, sizeof other, "%s/elsewhere", folder);
	assert_int_equal(rename(path, other), 0);
	assert_int_equal(symlink("elsewhere", path), 0);
	assert_false(is_hit(fd, KEY));
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_false(is_hit(fd, KEY)); // and does not wait
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_false(is_hit(fd, KEY));
	rmdir(path);
	assert_int_equal(symlink("/dev/zero", path), 0);
	assert_false(is_hit(fd, KEY));
	unlink(path);
	assert_int_equal(rename(other, path), 0);
	assert_true(is_hit(fd, KEY));
	assert_int_equal(chmod(path, 0620), 0);
	assert_false(is_hit(fd, KEY));
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(truncate(path, (off_t)1 << 40), 0);
	assert_false(is_hit(fd, KEY)); // nor is a terabyte allocated
	close(fd);
}

static void foreign_files_are_not_read(void **state)
{
	char path[128];
	(void)state;
	if (geteuid() != 0) {
		print_message("not root: there is no other user's file to be had\n");
		skip();
	}
	int fd = open_folder();
	assert_true(publish(fd, KEY));
	path_of(KEY, path);
	assert_int_equal(chown(path, NOBODY, NOBODY), 0);
	assert_false(is_hit(fd, KEY));
	assert_int_equal(look().damaged, 1);
	close(fd);
	struct disk_place p;
	assert_int_equal(chown(folder, NOBODY, NOBODY), 0);
	assert_true(disk_find(&p));
	assert_int_equal(disk_folder(&p, true), -1);
	assert_string_equal(p.reason, "belongs to another user");
}

static void folders_that_others_reach_are_refused(void **state)
{
	static const int modes[] = {0720, 0702, 0777, 01777};
	struct disk_place p;
	char link[128];
	(void)state;
	assert_true(disk_find(&p));
	for (int i = 0; i < TG_COUNT(modes); i++) {
		assert_int_equal(chmod(folder, (mode_t)modes[i]), 0);
		assert_int_equal(disk_folder(&p, true), -1);
		assert_string_equal(p.reason, "others may write to it");
		assert_false(tgc_cache_look().usable);
		assert_int_equal(tgc_cache_clear(), TGC_ERROR_IO);
	}
	assert_int_equal(chmod(folder, 0755), 0);
	assert_true(tgc_cache_look().usable);
	snprintf(link, sizeof link, "%s/link///", folder);
	setenv("TGC_CACHE", link, 1);
	link[strlen(link) - 3] = 0;
	assert_int_equal(symlink(folder, link), 0);
	assert_true(disk_find(&p));
	assert_int_equal(disk_folder(&p, true), -1);
}

static void the_environment_names_the_folder(void **state)
{
	static const struct {
		const char *own, *xdg, *home, *want; // NULL: none
	} rows[] = {
	    {"/own", "/xdg", "/home/me", "/own"},
	    {"/own//", NULL, NULL, "/own"},
	    {"0", "/xdg", "/home/me", NULL},
	    {"", "/xdg", "/home/me", "/xdg/tgc"},
	    {NULL, "relative", "/h", "/h/.cache/tgc"},
	    {NULL, NULL, "/h", "/h/.cache/tgc"},
	    {NULL, "", "", NULL},
	    {NULL, NULL, NULL, NULL},
	    {NULL, NULL, "relative", NULL},
	};
	char *before = strdup(getenv("HOME") ? getenv("HOME") : "/");
	struct disk_place p;
	(void)state;
	for (int i = 0; i < TG_COUNT(rows); i++) {
		const char *names[] = {"TGC_CACHE", "XDG_CACHE_HOME", "HOME"};
		const char *values[] = {rows[i].own, rows[i].xdg, rows[i].home};
		for (int k = 0; k < 3; k++)
			values[k] ? setenv(names[k], values[k], 1) : unsetenv(names[k]);
		assert_true(disk_find(&p) == (rows[i].want != NULL));
		assert_string_equal(p.folder, rows[i].want ? rows[i].want : "");
		assert_true(*p.reason);
	}
	setenv("HOME", before, 1);
	unsetenv("XDG_CACHE_HOME");
	free(before);
}

static void a_home_that_is_not_there_is_not_made(void **state)
{
	char deep[128];
	struct disk_place p;
	(void)state;
	snprintf(deep, sizeof deep, "%s/home/.cache/tgc", folder);
	setenv("TGC_CACHE", deep, 1);
	assert_true(disk_find(&p));
	assert_int_equal(disk_folder(&p, true), -1);
	assert_int_equal(entries(), 0);
	assert_false(tgc_cache_look().usable);
	snprintf(deep, sizeof deep, "%s/.cache/tgc", folder);
	setenv("TGC_CACHE", deep, 1);
	assert_true(tgc_cache_look().usable);
	close(open_folder());
	struct stat st;
	assert_int_equal(stat(deep, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void the_oldest_go(void **state)
{
	char path[128], key[32];
	int fd = open_folder();
	(void)state;
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof key, "key %d", i);
		assert_true(publish(fd, key));
		path_of(key, path);
		struct timespec at[2] = {{.tv_sec = time(NULL) - 1000 + i}, {.tv_sec = time(NULL) - 1000 + i}};
		assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
	}
	snprintf(path, sizeof path, "%s/.new-0123456789abcdef", folder); // of a writer that is gone
	spit(path, "x", 1);
	assert_int_equal(disk_trim(fd, 1 << 20) > 0, 1);
	assert_int_equal(entries(), 21); // it may still be at work
	struct timespec old[2] = {{.tv_sec = time(NULL) - 7200}, {.tv_sec = time(NULL) - 7200}};
	assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
	path_of("key 19", path);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	int64_t left = disk_trim(fd, 10 * (int64_t)st.st_size);
	assert_true(left <= 10 * (int64_t)st.st_size && left >= 8 * (int64_t)st.st_size);
	assert_int_equal(entries(), left / (st.st_size - 1));
	assert_true(is_hit(fd, "key 19"));
	assert_false(is_hit(fd, "key 0"));
	static const char *const foreign[] = {"notes", "notes.tgc", ".new-notes",
	                                      "0123456789abcdef0123456789abcdef"};
	for (int i = 0; i < TG_COUNT(foreign); i++) {
		snprintf(path, sizeof path, "%s/%s", folder, foreign[i]);
		spit(path, "x", 1);
	}
	assert_int_equal(tgc_cache_clear(), TGC_OK);
	assert_int_equal(entries(), TG_COUNT(foreign));
	close(fd);
}

// A file that was not used for long is young again once it is.
static void use_keeps_files_young(void **state)
{
	char path[128];
	int fd = open_folder();
	struct stat st;
	(void)state;
	assert_true(publish(fd, KEY));
	path_of(KEY, path);
	struct timespec at[2] = {{.tv_sec = time(NULL) - 900000}, {.tv_sec = time(NULL) - 900000}};
	assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
	assert_int_equal(look().sound, 1); // looking is not using
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_mtime < time(NULL) - 800000);
	assert_true(is_hit(fd, KEY));
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_mtime > time(NULL) - 100);
	close(fd);
}

// ---- in a child: limits and users that cannot be taken back -------------------------------------

static void in_child(void (*fn)(void), int want_signal)
{
	int status = -1;
	fflush(NULL);
	pid_t child = fork();
	if (child == 0) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (want_signal)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == want_signal);
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void require(bool ok, int code)
{
	if (!ok)
		_exit(code);
}

static void write_too_much(void)
{
	struct rlimit most = {64, 64};
	signal(SIGXFSZ, SIG_IGN);
	int fd = open_folder();
	require(publish(fd, "before"), 1);
	require(setrlimit(RLIMIT_FSIZE, &most) == 0, 2);
	require(!publish(fd, KEY), 3);
	require(!is_hit(fd, KEY), 4);
	require(is_hit(fd, "before"), 5);
}

static void a_full_disk_leaves_nothing_behind(void **state)
{
	(void)state;
	in_child(write_too_much, 0);
	assert_int_equal(entries(), 1);
	assert_int_equal(look().sound, 1);
}

static void write_read_only(void)
{
	int fd = open_folder();
	require(publish(fd, "before"), 1);
	require(fchmod(fd, 0500) == 0, 2);
	require(!publish(fd, KEY), 3);
	require(is_hit(fd, "before"), 4);
	disk_trim(fd, 1);
	require(is_hit(fd, "before"), 5);
	require(fchmod(fd, 0700) == 0, 6);
}

static void write_read_only_as_nobody(void)
{
	require(setgid(NOBODY) == 0 && setuid(NOBODY) == 0, 9);
	write_read_only();
}

static void a_read_only_folder_is_read(void **state)
{
	(void)state;
	bool root = geteuid() == 0; // whom modes do not stop
	if (root)
		assert_int_equal(chown(folder, NOBODY, NOBODY), 0);
	in_child(root ? write_read_only_as_nobody : write_read_only, 0);
}

// ---- with a compiler ----------------------------------------------------------------------------

struct outcome {
	float y[33];
	uint64_t compiled, loaded, reused;
	bool ok;
};

static struct outcome compute(double factor)
{
	struct outcome o = {0};
	tgc_context_options options = {.struct_size = sizeof options, .device = "cpu", .threads = 2};
	tgc_context *c = tgc_context_new(&options);
	tgc_tensor *x = tgc_iota(c, TGC_F32, TGC_SHAPE(33, 17), 0);
	tgc_tensor *y = tgc_sum(tgc_exp(tgc_mul(tgc_add(x, 1), factor)), TGC_AXES(1), false);
	o.ok = tgc_read(y, o.y, sizeof o.y) == TGC_OK;
	tgc_stats s = tgc_get_stats(c);
	o.compiled = s.kernels_compiled;
	o.loaded = s.kernels_loaded;
	o.reused = s.kernels_reused;
	tgc_context_free(&c);
	return o;
}

static int open_files(void)
{
	int n = 0;
	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void need_compiler(void)
{
	if (!jit_available()) {
		print_message("this build has no compiler\n");
		skip();
	}
}

static void kernels_come_back_from_the_disk(void **state)
{
	(void)state;
	need_compiler();
	struct outcome cold = compute(0.01);
	assert_true(cold.ok && cold.compiled > 0 && cold.loaded == 0);
	assert_int_equal(look().sound, cold.compiled);
	struct outcome warm = compute(0.01);
	assert_true(warm.ok && warm.compiled == 0 && warm.loaded == cold.compiled);
	assert_memory_equal(warm.y, cold.y, sizeof warm.y);
	int before = open_files();
	for (int i = 0; i < 10; i++)
		assert_true(compute(0.01).loaded == cold.compiled);
	assert_int_equal(open_files(), before);
	setenv("TGC_CACHE", "0", 1);
	struct outcome without = compute(0.01);
	assert_true(without.ok && without.compiled == cold.compiled && without.loaded == 0);
	assert_memory_equal(without.y, cold.y, sizeof warm.y);
}

static void damaged_kernels_are_compiled_again(void **state)
{
	static char good[1 << 16], bad[1 << 16];
	char path[192];
	(void)state;
	need_compiler();
	struct outcome cold = compute(0.02);
	struct found f = look();
	assert_true(cold.ok && f.sound > 0);
	snprintf(path, sizeof path, "%s/%s", folder, f.name);
	size_t n = slurp(path, good, sizeof good);
	for (size_t i = 0; i < 40; i++) {
		size_t at = i * (n - 1) / 39;
		memcpy(bad, good, n);
		bad[at] = (char)(bad[at] ^ 0x10);
		spit(path, bad, i % 2 ? n : at);
		struct outcome again = compute(0.02);
		assert_true(again.ok && again.compiled == 1 && again.loaded == cold.compiled - 1);
		assert_memory_equal(again.y, cold.y, sizeof again.y);
		assert_int_equal(look().damaged, 0); // mended
	}
}

// An object that is sound as a file, but nothing that a linker takes.
static void objects_that_do_not_load_are_compiled_again(void **state)
{
	struct disk_file f;
	char *key;
	(void)state;
	need_compiler();
	struct outcome cold = compute(0.03);
	int fd = open_folder();
	assert_null(disk_read(fd, look().name, &f, false));
	key = strndup(f.key, f.key_bytes);
	free(f.data);
	assert_true(publish(fd, key));
	close(fd);
	free(key);
	struct outcome again = compute(0.03);
	assert_true(again.ok && again.compiled == 1 && again.loaded == cold.compiled - 1);
	assert_memory_equal(again.y, cold.y, sizeof again.y);
}

static void compute_on_a_full_disk(void)
{
	struct rlimit most = {64, 64};
	require(setrlimit(RLIMIT_FSIZE, &most) == 0, 1); // SIGXFSZ would end the process
	struct outcome o = compute(0.04);
	require(o.ok && o.compiled > 0, 2);
}

static void a_full_disk_does_not_stop_a_program(void **state)
{
	(void)state;
	need_compiler();
	in_child(compute_on_a_full_disk, 0);
	assert_int_equal(entries(), 0);
}

static void leave_without_closing(void)
{
	tgc_context *c = tgc_context_new(NULL);
	tgc_tensor *y = tgc_exp(tgc_mul(tgc_iota(c, TGC_F32, TGC_SHAPE(77), 0), 0.125));
	require(tgc_realize(y) == TGC_OK, 1);
	exit(0);
}

static void the_end_of_a_process_loses_nothing(void **state)
{
	(void)state;
	need_compiler();
	in_child(leave_without_closing, 0);
	struct found f = look();
	assert_true(f.sound > 0 && f.damaged == 0 && entries() == f.sound);
}

static void *compute_in_thread(void *arg)
{
	*(struct outcome *)arg = compute(0.05);
	return NULL;
}

static void one_key_many_threads(void **state)
{
	enum { THREADS = 8 };
	static struct outcome o[THREADS];
	pthread_t ids[THREADS];
	uint64_t compiled = 0, kernels = 0;
	(void)state;
	need_compiler();
	tgc_context *open = tgc_context_new(NULL); // keeps what is process-wide
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&ids[i], NULL, compute_in_thread, &o[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(ids[i], NULL);
	for (int i = 0; i < THREADS; i++) {
		assert_true(o[i].ok && o[i].loaded == 0);
		assert_memory_equal(o[i].y, o[0].y, sizeof o[0].y);
		compiled += o[i].compiled;
		kernels = o[i].compiled + o[i].reused;
	}
	assert_int_equal(compiled, kernels);
	struct runtime *r = device_of(open)->process;
	assert_true(disk_wait(r->disk, 60));
	assert_int_equal(disk_stored(r->disk), kernels); // each published once
	tgc_context_free(&open);
	struct found f = look();
	assert_true(f.sound == (int)kernels && f.damaged == 0 && entries() == f.sound);
}

static void compute_in_process(void)
{
	struct outcome o = compute(0.06);
	require(o.ok && o.y[0] > 0, 1);
}

static void one_key_several_processes(void **state)
{
	enum { PROCESSES = 6 };
	pid_t ids[PROCESSES];
	(void)state;
	need_compiler();
	for (int i = 0; i < PROCESSES; i++) {
		ids[i] = fork();
		if (ids[i] == 0) {
			compute_in_process();
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status = -1;
		assert_int_equal(waitpid(ids[i], &status, 0), ids[i]);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	struct outcome o = compute(0.06);
	assert_true(o.ok && o.compiled == 0);
	assert_int_equal(entries(), look().sound);
}

// ---- killed while writing -----------------------------------------------------------------------

// Writes the same few large files for ever.
static void write_on(void)
{
	static char object[100000];
	struct disk_place p;
	struct disk *d = disk_open(&p, 1 << 20);
	require(d, 1);
	for (int i = 0;; i++) {
		char key[32];
		snprintf(key, sizeof key, "key %d", i % 20);
		memset(object, i % 20, sizeof object);
		disk_store(d, key, object, sizeof object);
		if (i % 5 == 4)
			disk_wait(d, 60);
	}
}

// Every file is sound, and what a key finds is its own.
static int check_after_kill(int fd)
{
	static char object[100000];
	struct found f = look();
	int hits = 0;
	assert_int_equal(f.damaged, 0);
	for (int i = 0; i < 20; i++) {
		char key[32];
		size_t n;
		snprintf(key, sizeof key, "key %d", i);
		char *got = disk_load(fd, key, &n);
		if (!got)
			continue;
		memset(object, i, sizeof object);
		assert_int_equal(n, sizeof object);
		assert_memory_equal(got, object, n);
		free(got);
		hits++;
	}
	return hits;
}

static void killed_writers_leave_the_cache_sound(void **state)
{
	int fd = open_folder(), hits = 0, left;
	uint64_t r = 88172645463325252u;
	(void)state;
	for (int i = 0; i < kills; i++) {
		int status = -1;
		fflush(NULL);
		pid_t child = fork();
		if (child == 0) {
			write_on();
			_exit(1);
		}
		r ^= r << 13, r ^= r >> 7, r ^= r << 17;
		usleep((useconds_t)(r % 20000));
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		hits += check_after_kill(fd);
	}
	left = entries() - look().sound;
	print_message("%d writers killed: %d files read after it, none damaged; %d unfinished left behind\n",
	              kills, hits, left);
	assert_true(kills < 25 || hits > 0);
	assert_int_equal(tgc_cache_clear(), TGC_OK);
	assert_int_equal(entries(), 0);
	close(fd);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "--kills") == 0) {
		kills = atoi(argv[2]);
		const struct CMUnitTest one[] = {
		    cmocka_unit_test_setup_teardown(killed_writers_leave_the_cache_sound, make, drop)};
		return cmocka_run_group_tests(one, NULL, NULL);
	}
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)
	const struct CMUnitTest tests[] = {
	    TEST(what_is_stored_is_found),
	    TEST(damage_is_a_miss),
	    TEST(the_whole_key_is_compared),
	    TEST(only_own_regular_files_are_read),
	    TEST(foreign_files_are_not_read),
	    TEST(folders_that_others_reach_are_refused),
	    TEST(the_environment_names_the_folder),
	    TEST(a_home_that_is_not_there_is_not_made),
	    TEST(the_oldest_go),
	    TEST(use_keeps_files_young),
	    TEST(a_full_disk_leaves_nothing_behind),
	    TEST(a_read_only_folder_is_read),
	    TEST(kernels_come_back_from_the_disk),
	    TEST(damaged_kernels_are_compiled_again),
	    TEST(objects_that_do_not_load_are_compiled_again),
	    TEST(a_full_disk_does_not_stop_a_program),
	    TEST(the_end_of_a_process_loses_nothing),
	    TEST(one_key_many_threads),
	    TEST(one_key_several_processes),
	    TEST(killed_writers_leave_the_cache_sound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
