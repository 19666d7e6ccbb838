// The disk cache of compiled kernels: where it is, what lies in it, emptying it.
// In:  TGC_CACHE (a folder; 0: none), else XDG_CACHE_HOME/tgc, else HOME/.cache/tgc. Out: what is found there.
// Not here: using it, which every context on the cpu does by itself. The folder, and the one above it, are made with
// mode 0700. One that belongs to another user, or that others may write to, is not used, nor is any by a set-uid
// program. A file that is damaged, foreign or of another build is never used: its kernel is compiled anew.
// Threads: every function here may be called from any thread, also while other processes use the cache.
#ifndef TGC_CACHE_H
#define TGC_CACHE_H

#include <tgc/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tgc_cache_info {
	bool usable;         // false: kernels are kept in memory only
	char folder[1024];   // "" if nothing names one
	char reason[256];    // why this one; not usable: why not
	int64_t files, bytes; // in it now
	int64_t limit_bytes; // beyond it the files that were not used for the longest time are dropped
} tgc_cache_info;
// Looks without making anything: a folder that is not there yet counts as usable.
TGC_API tgc_cache_info tgc_cache_look(void);

// A file of the cache. Valid during the call only.
typedef struct tgc_cache_entry {
	const char *name;    // in the folder
	const char *problem; // what is wrong with it; NULL: sound
	const char *key;     // all that the object depends on, the kernel's text last; NULL if there is a problem
	int64_t bytes;
	int64_t used;        // when it was last used, to a day; seconds since 1970
} tgc_cache_entry;
typedef bool tgc_cache_fn(void *user, const tgc_cache_entry *entry); // false: stop

// Reads and checks every file, the last used first. Errors: IO if there is no usable folder.
TGC_API tgc_status tgc_cache_each(tgc_cache_fn *fn, void *user);
// Removes every file of the cache, also what was left of writers that were killed; nothing else in the folder.
// Errors: IO if there is no usable folder or something could not be removed.
TGC_API tgc_status tgc_cache_clear(void);

#ifdef __cplusplus
}
#endif
#endif
