# The doors of the house; CMake and the scripts do the work. `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.ONESHELL:
MAKEFLAGS += --no-print-directory
.PHONY: help setup configure build program install install-library deb test test-long conformance sweep demo bench bench-quick bench-kernels bench-threads format clang compilers headers sanitize fuzz clean

BUILD ?= build
JOBS ?= $(shell nproc)
# ON: warnings are errors, for those who change the code (.ci/run). Empty: as the folder was configured, and OFF in a new one.
WERROR ?=

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: ## installs the Debian packages that the build needs, if any is missing
	@scripts/setup.sh

configure: setup
	@WERROR=$(WERROR) scripts/configure.sh $(BUILD) -DCMAKE_BUILD_TYPE=Release

build: configure ## the program, as build/halftone, and the tests
	@cmake --build $(BUILD) -j $(JOBS)

program: configure ## the program alone, as build/halftone
	@cmake --build $(BUILD) -j $(JOBS) --target halftone

install: program ## copies the program and its documents to PREFIX (default /usr/local), below DESTDIR if that is set
	@cmake --install $(BUILD) --prefix "$(or $(PREFIX),/usr/local)"

install-library: program ## the library for other programs: headers, libhalftone.a and halftone.pc, to PREFIX (default /usr/local)
	@cmake --build $(BUILD) -j $(JOBS) --target halftone_library
	cmake --install $(BUILD) --component library --prefix "$(or $(PREFIX),/usr/local)"

deb: setup ## a Debian package, build-deb/halftone_VERSION_ARCHITECTURE.deb, for Debian 12 and later
	@scripts/configure.sh build-deb -DCMAKE_BUILD_TYPE=Release -DHALFTONE_TESTS=OFF -DHALFTONE_BENCH=OFF -DHALFTONE_BUNDLE=ON
	cmake --build build-deb -j $(JOBS) --target halftone
	cd build-deb
	cpack -G DEB

test: build ## every test but the long ones; under five minutes on two cores
	@cd $(BUILD)
	ctest --output-on-failure --no-tests=error -LE long -j $(JOBS)

test-long: build ## the longer proofs, against PyTorch and ONNX Runtime too
	@BUILD=$(BUILD) scripts/test_long.sh

conformance: program ## the ONNX project's backend tests, forward and gradient, and docs/operators.md from them; CONFORMANCE= options of tests/long/conformance.py
	@BUILD=$(BUILD) JOBS=$(JOBS) scripts/conformance.sh $(CONFORMANCE)

sweep: program ## networks of torchvision, timm and transformers against PyTorch, and docs/coverage.md from them; hours, and goes on where it was stopped; SWEEP= options of tests/long/sweep.py
	@BUILD=$(BUILD) scripts/sweep.sh $(SWEEP)

demo: setup ## continues a small network on Fashion-MNIST in fp32, bf16 and fp16, side by side
	@JOBS=$(JOBS) scripts/demo.sh $(BUILD)

bench: ## training steps beside PyTorch's, every network, precision and variant; hours (BENCH= options of bench/run.py)
	@BUILD=$(BUILD) JOBS=$(JOBS) scripts/bench.sh $(BENCH)

bench-quick: ## the same for a ResNet-20 and a perceptron, in two to five minutes after set-up
	@BUILD=$(BUILD) JOBS=$(JOBS) scripts/bench.sh --quick $(BENCH)

bench-kernels: configure ## matrix products and convolutions alone, as a part of the processor's multiply-add peak
	@scripts/setup.sh bench
	cmake $(BUILD) >/dev/null
	cmake --build $(BUILD) -j $(JOBS) --target bench_kernels
	$(BUILD)/bench_kernels $(BENCH)

bench-threads: configure ## training steps of tiny to middling networks with one thread and with more (BENCH="--busy 4": on a busy machine)
	@cmake $(BUILD) >/dev/null
	cmake --build $(BUILD) -j $(JOBS) --target bench_threads
	$(BUILD)/bench_threads $(BENCH)

format: ## formats the C++ sources that git knows
	@scripts/setup.sh format
	git ls-files '*.h' '*.cpp' | xargs clang-format -i

clang: ## builds and tests with clang too, in build-clang
	@scripts/setup.sh clang
	CC=clang CXX=clang++ WERROR=ON scripts/configure.sh build-clang -DCMAKE_BUILD_TYPE=Release
	cmake --build build-clang -j $(JOBS)
	ctest --test-dir build-clang --output-on-failure --no-tests=error -LE long -j $(JOBS)

compilers: ## builds and tests with g++ 14 and clang 19 in a Debian 13 made by debootstrap (needs root); OPTIONS= of scripts/compilers.sh
	@JOBS=$(JOBS) scripts/compilers.sh $(OPTIONS)

headers: configure ## every header alone, as far as the syntax
	@cmake $(BUILD) >/dev/null
	cmake --build $(BUILD) -j $(JOBS) --target check_headers

sanitize: ## tests under AddressSanitizer and UndefinedBehaviorSanitizer, then threads under ThreadSanitizer
	@scripts/sanitize.sh

fuzz: ## libFuzzer on every reader, FUZZ_SECONDS (default 1800) of processor time; goes on where it was stopped
	@scripts/fuzz.sh

clean: ## removes all build folders
	@rm -rf --one-file-system build build-*
