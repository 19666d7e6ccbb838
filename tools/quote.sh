#!/bin/sh
# A text file as C string literals, one a line. Argument: the file.
exec sed 's/\\/\\\\/g; s/"/\\"/g; s/^/"/; s/$/\\n"/' "$1"
