#!/bin/sh
# From the trained checkpoint in this folder to predictions without PyTorch. Prints each command that it runs.
# The export runs in the build machine's environment, the rest in the edge device's, which has no torch and no onnx.
set -eu
cd "$(dirname "$0")/../.."
example=examples/fashion_mnist
bundle=build/demo/slim_vgg.bundle

run_in() { environment=$1; shift; printf '\n$ %s\n' "$*"; command=$1; shift; "$environment/bin/$command" "$@"; }

run_in .venv vgg-export $example/slim_vgg.pth -o $bundle --overwrite \
    --preprocess $example/preprocess.json --labels $example/class_indices.json --samples $example/images
run_in .venv-runtime vgg-run info $bundle
run_in .venv-runtime vgg-run verify $bundle
run_in .venv-runtime vgg-run predict $bundle $example/images --top-k 1 --device cpu
