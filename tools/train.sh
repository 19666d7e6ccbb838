#!/bin/sh
# Installs, builds and trains an MLP on Fashion-MNIST. Arguments go to the example.
set -eu
cd "$(dirname "$0")/.."
sh tools/setup.sh
exec build/examples/fashion_mnist "$@"
