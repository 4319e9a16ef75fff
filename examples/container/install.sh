#!/bin/sh
# From /wheelhouse and /bundle to /opt/vgg, in any Debian with Python 3.11 or later and pip: the steps of the Dockerfile.
set -eu
python3 -m venv --without-pip /opt/vgg
python3 -m pip --python /opt/vgg/bin/python install --no-index --find-links /wheelhouse --no-compile "vgg-deploy[cpu]"
# What no prediction needs: onnxruntime's tools and its second copy of the engine, for programs in C; tests and stubs.
cd /opt/vgg/lib/python3.*/site-packages
rm -rf onnxruntime/transformers onnxruntime/tools onnxruntime/quantization onnxruntime/capi/libonnxruntime.so.*
find . -type d -name tests -prune -exec rm -rf {} +
find . \( -name '*.pyi' -o -name '*.a' \) -delete
# The self-test proves that nothing is missing, and leaves the bytecode of exactly the modules that a prediction imports.
/opt/vgg/bin/vgg-run verify /bundle --device cpu
