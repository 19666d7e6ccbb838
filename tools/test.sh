#!/bin/sh
# Installs, builds and runs the everyday test suite.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
exec meson test -C build --print-errorlogs
