# The benchmark: its clients, all of it, and its tests. Part of the Makefile.

bench_programs := $(target)/bench

# About half an hour; QUICK=1 takes a few minutes. A part of it: make bench BENCH='--loads endpoint --clients raw,ackbus-c'
.PHONY: bench
bench: bench-clients server .tools/plots/pyvenv.cfg ## Rate, CPU, memory and latency beside the raw loop and all peers; half an hour, QUICK=1 a few minutes; writes docs/bench
	$(timed)
	PYTHONPATH=benches .tools/plots/bin/python -m harness --target "$(target)" $(if $(QUICK),--quick) $(BENCH)

.PHONY: bench-clients
bench-clients: build libnats bench-rust bench-go bench-python $(addprefix $(bench_programs)/,publish publish-cpp allocations.so)
	@if [ -f /usr/include/nats/nats.h ]; then $(MAKE) $(bench_programs)/nats-c; fi

.PHONY: bench-rust
bench-rust: tools
	$(timed)
	cargo build --locked --release -p ackbus-bench-endpoint -p ackbus-test-support

bench_cc = $(CC) -std=c11 -Wall -Wextra -Wpedantic -Werror -O2
bench_ackbus = -L$(target)/release -lackbus -Wl,-rpath,$(target)/release -pthread

$(bench_programs)/publish: benches/publish.c benches/bench.h include/ackbus.h | build
	@mkdir -p $(@D)
	$(bench_cc) -Iinclude $< -o $@ $(bench_ackbus)

$(bench_programs)/publish-cpp: benches/publish.cpp benches/bench.h $(wildcard include/*.h* include/ackbus/*) | build
	@mkdir -p $(@D)
	$(CXX) -std=c++17 -Wall -Wextra -Wpedantic -Werror -O2 -Iinclude $< -o $@ $(bench_ackbus)

$(bench_programs)/nats-c: benches/nats.c benches/bench.h
	@mkdir -p $(@D)
	$(bench_cc) $< -o $@ -lnats -pthread

$(bench_programs)/allocations.so: benches/allocations.c
	@mkdir -p $(@D)
	$(bench_cc) -fno-builtin -fPIC -shared $< -o $@ -ldl

# bindings/go looks for the library in the checkout's own target.
.PHONY: bench-go
bench-go: build
	$(timed)
	command -v go >/dev/null || { echo "skipped: ackbus-go and nats-go: go is not installed"; exit 0; }
	[ -z "$(CARGO_TARGET_DIR)" ] || export CGO_LDFLAGS="-L$(abspath $(target))/release -Wl,-rpath,$(abspath $(target))/release"
	cd benches/go
	go build -o $(abspath $(bench_programs))/publish-go .

# An environment of its own: ackbus and its peers as their users install them.
.tools/bench-python/pyvenv.cfg: benches/python/requirements.txt
.PHONY: bench-python
bench-python: wheel .tools/bench-python/pyvenv.cfg
	$(timed)
	$(pip_quiet) .tools/bench-python/bin/python -m pip install --quiet --no-index --no-deps --force-reinstall $(wheels)/*.whl

# Against the endpoint, without optimisation: whether a client keeps the contract, not how fast it is. With --workspace and an example as in `test_programs`.
.PHONY: test-bench
test-bench: build .tools/python/pyvenv.cfg bench-go $(addprefix $(bench_programs)/,publish publish-cpp allocations.so) ## The benchmark's arithmetic, plan and page, and a short run of every client that is built; format and lints
	$(timed)
	cargo build --locked --workspace --exclude ackbus-python --example quickstart $(addprefix --bin ackbus-bench-,endpoint raw rust async-nats)
	.tools/python/bin/ruff format --check --quiet benches
	.tools/python/bin/ruff check --quiet benches
	PYTHONPATH=benches:benches/python .tools/python/bin/python -W error -m unittest discover --quiet --start-directory benches/harness/tests --top-level-directory benches
