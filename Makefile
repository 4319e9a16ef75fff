# Everything is set up inside the repository, in .venv (build machine) and .venv-runtime (edge device).
PYTHON ?= python3
# Calibrated ranges are cached inside the repository too.
export VGG_DEPLOY_CACHE := $(CURDIR)/build/cache
PIP := -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
EXTRAS := cpu,export,report,openvino,sign,score
INPUTS := pyproject.toml constraints.txt

.PHONY: demo test coverage test-runtime test-gpu test-cuda-stand-in test-arm64 test-container test-triton test-ray environments check bench bench-gpu lessons torture docs clean

demo: .venv/ready .venv-runtime/ready
	@sh examples/fashion_mnist/demo.sh

TESTED := .venv/ready .venv-runtime/ready build/serving/ready build/web/ready build/node/ready build/c/ready
test: $(TESTED)
	.venv/bin/python -m pytest --numprocesses 2 --dist worksteal --cov --cov-report= $(PYTEST_ARGS)
	@echo "coverage: $$(.venv/bin/coverage report --format=total) %"

# The same with the processes that tests start, line by line; measuring those takes minutes more.
coverage: export MEASURED := subprocess
coverage: test
	.venv/bin/coverage html --quiet
	@echo "build/coverage/html/index.html"

# The runtime on another Python: make test-runtime PYTHON=python3.13. No torch and no OpenVINO there: what needs one of
# them runs in .venv. So do the pages in a browser, whose code is no Python.
RUNTIME_VENV = .venv-runtime-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
test-runtime:
	$(PYTHON) -m venv $(RUNTIME_VENV)
	$(RUNTIME_VENV)/bin/python $(PIP) pip
	$(RUNTIME_VENV)/bin/python $(PIP) --editable ".[cpu,report,sign]" --group test-runtime
	$(RUNTIME_VENV)/bin/python -m pytest tests/runtime -k "not openvino" --ignore tests/runtime/test_autoselect.py \
		--ignore-glob "*_in_browser.py" $(PYTEST_ARGS)

# Without a driver there is no use for gigabytes of CUDA: the tests then say in .venv why they are skipped.
GPU_VENV := $(if $(shell command -v nvidia-smi),.venv-gpu,.venv)
test-gpu: $(GPU_VENV)/ready
	$(GPU_VENV)/bin/python -m pytest -m gpu tests/gpu $(PYTEST_ARGS)

# ONNX Runtime's real CUDA provider, on libraries that stand in for NVIDIA's: no GPU is needed, but gcc.
test-cuda-stand-in: .venv/ready build/cuda-stand-in/ready
	cd build/cuda-stand-in && STAND_IN_MB=16000 PYTHONPATH=$$PWD/site LD_LIBRARY_PATH=$$PWD/lib \
		LD_PRELOAD="$$PWD/lib/libcudart.so.13 $$PWD/lib/libcudnn.so.9" \
		$(CURDIR)/.venv/bin/python -m pytest -m gpu $(CURDIR)/tests/gpu $(PYTEST_ARGS)

# What CUDA gives a VGG-16, beside PyTorch there; bundles and results stay in build/gpu.
bench-gpu: $(GPU_VENV)/ready
	$(GPU_VENV)/bin/python tests/benchmark/cuda.py build/gpu $(BENCH_ARGS)

# The runtime on an emulated arm64, from Debian's packages and the wheels that such a device installs.
test-arm64: .venv/ready build/arm64/ready
	.venv/bin/python -m pytest -m arm64 tests/arm64 $(PYTEST_ARGS)

# The steps of examples/container in a fresh Debian. By root, because it changes roots.
test-container: .venv/ready build/container/ready
	.venv/bin/python -m pytest -m container tests/container $(PYTEST_ARGS)

# A real Triton, in a network of its own that has nothing but this machine.
test-triton: .venv/ready build/serving/ready build/triton/ready
	unshare --map-root-user --net sh -c 'ip link set lo up && exec .venv/bin/python -m pytest -m triton tests/serving $(PYTEST_ARGS)'

# Scoring on Ray, in such a network too: Ray listens on the machine's address.
test-ray: build/ray/ready
	unshare --map-root-user --net sh -c 'ip link set lo up && exec build/ray/bin/python -m pytest tests/runtime/score/test_on_ray.py $(PYTEST_ARGS)'

# Everything that check, docs and test need, two at a time: make --jobs 2 environments
environments: $(TESTED) .venv-docs/ready

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: .venv/ready
	.venv/bin/python tests/benchmark/bench.py $(BENCH_ARGS)

lessons: .venv/ready
	.venv/bin/python tests/lessons/table.py
	.venv/bin/python tests/lessons/quantized.py

# Hostile and damaged files by the thousand: make torture TORTURE_ARGS="mutated-images --scale 0.01 --minutes 5"
torture: .venv/ready
	.venv/bin/python -W ignore tests/torture/torture.py $(TORTURE_ARGS)

# The pages of docs/ as a site in build/site; a link that leads nowhere is an error.
docs: .venv-docs/ready
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

# torch comes first and by itself: the exact version decides which build the rest is matched to.
.venv/ready: $(INPUTS)
	$(PYTHON) -m venv .venv
	.venv/bin/python $(PIP) pip
	.venv/bin/python $(PIP) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	.venv/bin/python $(PIP) --editable ".[$(EXTRAS)]" --group dev
	@touch $@

# The same with the GPU's onnxruntime in the place of the CPU's, as the two overwrite each other's files.
.venv-gpu/ready: $(INPUTS)
	$(PYTHON) -m venv .venv-gpu
	.venv-gpu/bin/python $(PIP) pip
	.venv-gpu/bin/python $(PIP) torch==$$(sed -n 's/^torch==//p' constraints.txt)
	.venv-gpu/bin/python $(PIP) --editable ".[$(EXTRAS)]" --group dev
	.venv-gpu/bin/python -m pip uninstall --quiet --yes onnxruntime
	.venv-gpu/bin/python $(PIP) "onnxruntime-gpu[cuda,cudnn]==$$(sed -n 's/^onnxruntime==//p' constraints.txt)" nvidia-ml-py
	@touch $@

# What an edge device installs: the wheel with the [cpu] extra, no torch, no onnx.
.venv-runtime/ready: $(INPUTS) $(shell find runtime models calibration export -name '*.py')
	$(PYTHON) -m venv .venv-runtime
	.venv-runtime/bin/python $(PIP) --force-reinstall --no-deps .
	.venv-runtime/bin/python $(PIP) ".[cpu]"
	@touch $@

.venv-docs/ready: $(INPUTS)
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python $(PIP) pip
	.venv-docs/bin/python $(PIP) --editable . --group docs
	@touch $@

# What examples/http_endpoint needs beyond that, and the clients of Triton that ask it: in a folder of its own, because
# the device's environment stays as it is, and the clients want an older protobuf than onnx.
SERVING := examples/http_endpoint/requirements.txt tests/serving/requirements.txt
build/serving/ready: $(SERVING) constraints.txt
	$(PYTHON) $(PIP) --upgrade --target build/serving $(SERVING:%=--requirement %)
	@touch $@

# Triton 2.51 for CPUs, as PyPI has it. Its own numpy is older than the one in constraints.txt.
build/triton/ready:
	$(PYTHON) -m venv build/triton
	build/triton/bin/python -m pip install --quiet --disable-pip-version-check nvidia-pytriton==0.7.0 \
		onnxruntime==$$(sed -n 's/^onnxruntime==//p' constraints.txt)
	@touch $@

build/ray/ready: $(INPUTS)
	$(PYTHON) -m venv build/ray
	build/ray/bin/python $(PIP) pip
	build/ray/bin/python $(PIP) --editable ".[cpu,score,ray,report]" ray==2.60.0 --group test-runtime
	@touch $@

# The engine of the page that vgg-run web writes. Without npm the page's tests in the browser are skipped, and say so.
build/web/ready: tests/runtime/web/package.json
	@mkdir -p build/web && cp $< build/web
	npm install --prefix build/web --ignore-scripts --no-audit --no-fund --prefer-offline --silent && touch $@ || true

# examples/node, where its owner would install it.
build/node/ready: examples/node/package.json
	@mkdir -p build/node
	npm install --prefix examples/node --ignore-scripts --no-audit --no-fund --prefer-offline --silent && touch $@ || true

# Roots to run programs from, without installing anything: Python for arm64, and a QEMU that is newer than Debian 12's.
build/arm64/ready: $(INPUTS) $(shell find runtime -name '*.py')
	rm -rf build/arm64 && mkdir -p build/arm64
	mmdebstrap --quiet --variant=extract --architectures=arm64 --include=python3.11,libstdc++6 bookworm build/arm64/root
	mmdebstrap --quiet --variant=extract --include=qemu-user trixie build/arm64/qemu
	.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/arm64 .
	.venv/bin/python $(PIP) --target build/arm64/site --python-version 3.11 --only-binary=:all: \
	  --platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 "$$(echo build/arm64/*.whl)[cpu]"
	@touch $@

build/container/ready: $(INPUTS) $(shell find runtime -name '*.py')
	rm -rf build/container && mkdir -p build/container
	mmdebstrap --quiet --variant=apt --include=python3,python3-pip bookworm build/container/root
	.venv/bin/python -m pip wheel --quiet --no-deps --wheel-dir build/container/wheelhouse .
	.venv/bin/python -m pip download --quiet --constraint constraints.txt --dest build/container/wheelhouse \
	  "$$(echo build/container/wheelhouse/*.whl)[cpu]"
	@touch $@

build/cuda-stand-in/ready: tests/gpu/stand_in/build.py tests/gpu/stand_in/stand_in.c constraints.txt
	rm -rf build/cuda-stand-in
	.venv/bin/python $(PIP) --no-deps --target build/cuda-stand-in/site \
	  onnxruntime-gpu==$$(sed -n 's/^onnxruntime==//p' constraints.txt) nvidia-ml-py
	.venv/bin/python tests/gpu/stand_in/build.py build/cuda-stand-in
	@touch $@

# ONNX Runtime's C headers, as a package for another purpose carries them.
build/c/ready: examples/c/classify.c
	@mkdir -p build/c
	@cd build/c && npm pack --silent com.github.asus4.onnxruntime@0.4.9 >/dev/null && \
	tar -xzf *.tgz --strip-components=7 --wildcards '*-simulator/onnxruntime.framework/Headers/*.h' && rm *.tgz && touch ready || true

clean:
	rm -rf .venv .venv-docs .venv-gpu .venv-runtime .venv-runtime-* build dist examples/node/node_modules
