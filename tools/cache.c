// `tgc cache list|verify|clear`: the disk cache of compiled kernels.
// In:  the folder that TGC_CACHE, XDG_CACHE_HOME or HOME name. Out: a line a file. Exit status 1 if there is no
// usable folder, if verify finds a damaged file, or if clear could not remove all.
#include "commands.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <tgc/cache.h>
#include <time.h>

static const char USAGE[] =
    "usage: tgc cache list|verify|clear\n"
    "\n"
    "  list      every compiled kernel in the cache, the last used first\n"
    "  verify    reads every file and names what is damaged; a damaged file is never used\n"
    "  clear     empties the cache\n";

struct tally {
	bool list;
	int64_t sound, damaged, bytes;
};

// The rest of the key's line that begins with `word`.
static void field(const char *key, const char *word, char *out, size_t bytes)
{
	size_t n = strlen(word);
	*out = 0;
	for (const char *line = key; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, word, n) == 0) {
			snprintf(out, bytes, "%.*s", (int)strcspn(line + n, " \n"), line + n);
			return;
		}
	}
}

static int count_lines(const char *text)
{
	int n = 0;
	for (; text && *text; text++)
		n += *text == '\n';
	return n;
}

static void list(const tgc_cache_entry *e)
{
	char when[32], build[64], llvm[32], target[32];
	time_t used = (time_t)e->used;
	struct tm tm;
	strftime(when, sizeof when, "%Y-%m-%d", localtime_r(&used, &tm));
	field(e->key, "tgc ", build, sizeof build);
	field(e->key, "llvm ", llvm, sizeof llvm);
	field(e->key, "target ", target, sizeof target);
	printf("%-36s %8" PRId64 "  %s  %-10.10s  %-8s %-10s %6d\n", e->name, e->bytes, when, build, llvm,
	       target, count_lines(strstr(e->key, "\nkernel ")));
}

static bool visit(void *user, const tgc_cache_entry *e)
{
	struct tally *t = user;
	t->bytes += e->bytes;
	if (e->problem) {
		t->damaged++;
		printf("%-36s %8" PRId64 "  %s\n", e->name, e->bytes, e->problem);
		return true;
	}
	t->sound++;
	if (t->list)
		list(e);
	return true;
}

static int look(const tgc_cache_info *info, bool all)
{
	struct tally t = {.list = all};
	if (all && info->files)
		printf("%-36s %8s  %-10s  %-10s  %-8s %-10s %6s\n", "file", "bytes", "used", "build", "llvm",
		       "target", "lines");
	if (info->files && tgc_cache_each(visit, &t) != TGC_OK) {
		fprintf(stderr, "tgc cache: cannot read %s\n", info->folder);
		return 1;
	}
	printf("%s: %" PRId64 " sound, %" PRId64 " damaged, %" PRId64 " bytes of %" PRId64 "\n", info->folder,
	       t.sound, t.damaged, t.bytes, info->limit_bytes);
	return t.damaged > 0;
}

static int clear(const tgc_cache_info *info)
{
	if (info->files && tgc_cache_clear() != TGC_OK) {
		fprintf(stderr, "tgc cache: cannot empty %s\n", info->folder);
		return 1;
	}
	printf("%s: %" PRId64 " files removed\n", info->folder, info->files);
	return 0;
}

int command_cache(int argc, char **argv)
{
	const char *what = argc == 2 ? argv[1] : "";
	tgc_cache_info info = tgc_cache_look();
	bool known = !strcmp(what, "list") || !strcmp(what, "verify") || !strcmp(what, "clear");
	if (!known) {
		fputs(USAGE, stderr);
		return 2;
	}
	if (!info.usable) {
		fprintf(stderr, "tgc cache: there is none: %s%s%s\n", info.folder, *info.folder ? ": " : "",
		        info.reason);
		return 1;
	}
	if (!strcmp(what, "clear"))
		return clear(&info);
	int status = look(&info, !strcmp(what, "list"));
	return !strcmp(what, "verify") ? status : 0;
}
