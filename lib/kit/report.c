// Errors of the kit, recorded in the context through the public door.
// In:  a printf text. Out: the context's first error.
#include "kit.h"

#include <stdarg.h>
#include <stdio.h>

tgc_status report(tgc_context *c, tgc_status s, const char *op, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return tgc_fail(c, s, op, text);
}
