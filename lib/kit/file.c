// Opening and reading files that a user named.
// In:  a path. Out: a descriptor of a regular file; a FIFO, a folder or a device is refused, not waited for.
#include "kit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int file_open(tgc_context *c, const char *op, const char *path, int64_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		report(c, TGC_ERROR_IO, op, "cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	struct stat st;
	if (fstat(fd, &st) != 0)
		report(c, TGC_ERROR_IO, op, "cannot look at %s: %s", path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		report(c, TGC_ERROR_IO, op, "%s is no regular file", path);
	else {
		*bytes = st.st_size;
		return fd;
	}
	close(fd);
	return -1;
}

tgc_status file_read(tgc_context *c, const char *op, const char *path, int fd, void *to, size_t n,
                     int64_t offset)
{
	size_t done = 0;
	while (done < n) {
		ssize_t got = pread(fd, (char *)to + done, n - done, (off_t)(offset + (int64_t)done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return report(c, TGC_ERROR_IO, op, "cannot read %s: %s", path, strerror(errno));
		if (got == 0)
			return report(c, TGC_ERROR_TRUNCATED, op,
			              "%s ends at byte %lld, %zu more were expected", path,
			              (long long)(offset + (int64_t)done), n - done);
		done += (size_t)got;
	}
	return TGC_OK;
}
