#!/bin/sh
# The example in README.md is examples/readme.c, to the letter. Argument: the source folder.
set -eu
cd "$1"
awk '/^```c$/ { on = 1; next } /^```$/ { on = 0 } on' README.md >"${TMPDIR:-/tmp}/tgc-readme-$$.c"
diff "${TMPDIR:-/tmp}/tgc-readme-$$.c" examples/readme.c && status=0 || status=1
rm -f "${TMPDIR:-/tmp}/tgc-readme-$$.c"
exit $status
