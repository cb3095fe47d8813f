# Everything this project does, by name. `make` alone lists the targets. `make demo` and
# `make test` need Rust, g++ and python3, the tests valgrind and pkg-config; the rest is fetched.

CARGO ?= cargo
PYTHON ?= python3
PROMPT ?= Once upon a time
MAX_TOKENS ?= 900
FUZZ_SECONDS ?= 60
TRAIN_MINUTES ?= 55
PREFIX ?= /usr/local

.DEFAULT_GOAL := help
.PHONY: help demo test check bench bundle install toolkit params header model fixtures fuzz clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: toolkit ## build, then generate text with the model that is shipped
	$(CARGO) run --release -- generate --prompt "$(PROMPT)" --max-tokens $(MAX_TOKENS)

test: toolkit ## the whole suite
	$(CARGO) test --release --workspace

check: toolkit ## what must pass before a commit: format, lints, both feature sets, tests, docs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --workspace --all-targets --no-default-features -- -D warnings
	$(CARGO) test --release --workspace
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --release --workspace --no-deps

bench: toolkit ## the benchmarks of the CPU, and what the simulator counts of the kernels
	$(CARGO) bench
	RIDGEPOINT_BENCH_DEVICE=sim $(CARGO) bench --bench ops

bundle: export PROMPT := $(PROMPT)
bundle: export MAX_TOKENS := $(MAX_TOKENS)
bundle: toolkit ## tests, benchmarks, peers and demo, packed to carry to a machine with a GPU
	CARGO=$(CARGO) $(PYTHON) tools/bundle.py

# The name that programs are linked to changes with every version that is not compatible: before 1.0
# that is the second number.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
SONAME := libridgepoint.so.$(basename $(VERSION))
LIBRARIES := $(or $(CARGO_TARGET_DIR),target)/release

install: toolkit ## PREFIX=DIR: binary, header, libraries and pkg-config file for programs that link
	$(CARGO) build --release --bin ridgepoint
	$(CARGO) rustc --release --lib --crate-type cdylib,staticlib -- -C link-arg=-Wl,-soname,$(SONAME)
	install -d "$(PREFIX)/bin" "$(PREFIX)/include" "$(PREFIX)/lib/pkgconfig"
	install -m 755 $(LIBRARIES)/ridgepoint "$(PREFIX)/bin/"
	install -m 644 include/ridgepoint.h "$(PREFIX)/include/"
	install -m 644 $(LIBRARIES)/libridgepoint.a "$(PREFIX)/lib/"
	install -m 755 $(LIBRARIES)/libridgepoint.so "$(PREFIX)/lib/libridgepoint.so.$(VERSION)"
	ln -sfn libridgepoint.so.$(VERSION) "$(PREFIX)/lib/$(SONAME)"
	ln -sfn $(SONAME) "$(PREFIX)/lib/libridgepoint.so"
	sed -e 's|@PREFIX@|$(abspath $(PREFIX))|' -e 's|@VERSION@|$(VERSION)|' ridgepoint.pc.in \
	    > "$(PREFIX)/lib/pkgconfig/ridgepoint.pc"

toolkit: ## nvcc, libclang, cuobjdump and numpy into .toolkit/, where the machine has none
	@tools/toolkit.sh

params: toolkit ## write src/backend/cuda/params anew from kernels/params*.h
	RIDGEPOINT_BLESS=1 $(CARGO) test --release --test suite params::

header: toolkit ## write include/ridgepoint.h anew from src/ffi
	RIDGEPOINT_BLESS=1 $(CARGO) test --release --test suite ffi::header

model: .toolkit/model/complete ## train the shipped models again
	.toolkit/model/bin/python models/train.py --out models --minutes $(TRAIN_MINUTES)

fixtures: .toolkit/fixtures/complete ## make the test fixtures again by the reference implementation
	.toolkit/fixtures/bin/python tests/fixtures/make_fixtures.py
	.toolkit/fixtures/bin/python tests/fixtures/make_quantised.py

# Not in target/: PyTorch, which both need, is 5.6 GB to fetch again after `make clean`.
.toolkit/model/complete: models/requirements.txt
.toolkit/fixtures/complete: tests/fixtures/requirements.txt
.toolkit/model/complete .toolkit/fixtures/complete:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet -r $<
	@touch $@

fuzz: ## FUZZ_SECONDS of each fuzz target; needs cargo-fuzz and a nightly Rust
	@$(CARGO) +nightly fuzz --version >/dev/null 2>&1 || { echo "make fuzz: needs a nightly Rust \
	and cargo-fuzz: rustup toolchain install nightly && cargo install cargo-fuzz" >&2; exit 1; }
	@targets=$$($(CARGO) +nightly fuzz list) || exit 1; for target in $$targets; do \
	    $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

clean: ## remove what was built; the toolkit stays, `rm -r .toolkit` removes it
	$(CARGO) clean
	rm -rf bundle bundle.tar.xz
