#!/bin/sh
# From the trained checkpoint in this folder to predictions without PyTorch. Prints each command that it runs.
set -eu
cd "$(dirname "$0")/../.."
example=examples/fashion_mnist
bundle=build/demo/slim_vgg.bundle

say() { printf '\n$ %s\n' "$*"; "$@"; }
PATH="$PWD/.venv/bin:$PATH"

say vgg-export $example/slim_vgg.pth -o $bundle --overwrite \
    --preprocess $example/preprocess.json --labels $example/class_indices.json --samples $example/images
say vgg-run info $bundle
say vgg-run verify $bundle
say vgg-run predict $bundle $example/images --top-k 1 --device cpu
