# The fault suite: its drivers, the short selection, all of it, and the soak. Part of the Makefile above.

faults := $(target)/faults
driver_c := tests/faults/drivers/c
python_drivers := $(CURDIR)/tests/faults/drivers/python
play := "$(target)/debug/ackbus-faults"

.PHONY: test-faults
test-faults: fault-drivers server ## The fault suite, as far as it is short: its drivers, and eleven faults for ackbus in each language
	$(timed)
	ACKBUS_FAULT_DRIVERS="$(faults)" cargo test --locked -p ackbus-faults
	cargo build --locked -p ackbus-faults --bin ackbus-faults
	$(play) play --short --jobs 4 --drivers "$(faults)"

# Half an hour or so; a part of it: make faults ROWS='--rows T2,T5'
.PHONY: faults
faults: fault-drivers fault-peers server .tools/plots/pyvenv.cfg ## Every fault for ackbus and its peers; writes docs/faults
	$(timed)
	cargo build --locked -p ackbus-faults --bin ackbus-faults
	done=0
	$(play) play --seeds 3 --jobs 3 --drivers "$(faults)" --out docs/faults $(ROWS) || done=$$?
	.tools/plots/bin/python tests/faults/plot.py docs/faults
	exit $$done

.PHONY: soak
soak: fault-drivers server .tools/plots/pyvenv.cfg ## 20 minutes of random faults, with memory and descriptors over time; writes docs/faults/soak.svg
	$(timed)
	cargo build --locked -p ackbus-faults --bin ackbus-faults
	done=0
	$(play) soak --minutes $(or $(MINUTES),20) --seed $(or $(SEED),1) --drivers "$(faults)" --out docs/faults || done=$$?
	.tools/plots/bin/python tests/faults/plot.py docs/faults
	exit $$done

.PHONY: fault-drivers
fault-drivers: $(faults)/ackbus-c fault-driver-rust fault-driver-go fault-driver-python ## Build the drivers of the fault suite for ackbus

.PHONY: fault-peers
fault-peers: fault-peer-c fault-peer-rust fault-peer-go fault-peer-python ## Build the drivers of the fault suite for ackbus' peers, as their users install them

# Optimised, as users have them: the fault suite compares clients.
.PHONY: fault-driver-rust fault-peer-rust
fault-driver-rust: tools
	$(timed)
	$(call rust_driver,fault-driver-ackbus,ackbus-rust)

fault-peer-rust: tools
	$(timed)
	$(call rust_driver,fault-driver-async-nats,async-nats)

define rust_driver
	cargo build --locked --release -p ackbus-faults --bin $(1)
	mkdir -p $(faults)
	ln -sf ../release/$(1) $(faults)/$(2)
endef

$(faults)/ackbus-c: libraries = -L$(target)/release -lackbus -Wl,-rpath,$(target)/release
$(faults)/ackbus-c: include/ackbus.h | build
$(faults)/nats-c: libraries = -lnats
$(faults)/%-c: $(driver_c)/%.c $(wildcard $(driver_c)/driver.[ch] $(driver_c)/lines.[ch])
	@mkdir -p $(@D)
	$(CC) -std=c11 -Wall -Wextra -Wpedantic -Werror $(CFLAGS) -Iinclude $(filter %.c,$^) -o $@ $(libraries) -pthread

.PHONY: fault-peer-c
fault-peer-c: libnats
	@if [ -f /usr/include/nats/nats.h ]; then $(MAKE) $(faults)/nats-c; fi

.PHONY: fault-driver-go fault-peer-go
fault-driver-go: build
	$(timed)
	$(call go_driver,ackbus,ackbus-go)

fault-peer-go: tools
	$(timed)
	$(call go_driver,natsgo,nats-go)

# bindings/go looks for the library in the checkout's own target.
define go_driver
	command -v go >/dev/null || { echo "skipped: $(2): go is not installed"; exit 0; }
	[ -z "$(CARGO_TARGET_DIR)" ] || export CGO_LDFLAGS="-L$(abspath $(target))/release -Wl,-rpath,$(abspath $(target))/release"
	cd tests/faults/drivers/go
	go build -o $(abspath $(faults))/$(2) ./$(1)
endef

.PHONY: fault-driver-python fault-peer-python
fault-driver-python: python-package
	$(timed)
	$(call python_driver,ackbus_driver.py,$(python),ackbus-python)

fault-peer-python: .tools/faults-python/pyvenv.cfg
	$(timed)
	$(call python_driver,nats_driver.py,.tools/faults-python/bin/python,nats-py)

define python_driver
	mkdir -p $(faults)
	printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' "$(CURDIR)/$(2)" "$(python_drivers)/$(1)" >$(faults)/$(3)
	chmod +x $(faults)/$(3)
endef

# An environment of its own: the peer is as its users install it.
.tools/faults-python/pyvenv.cfg: tests/faults/drivers/python/requirements.txt

.PHONY: libnats
libnats:
	@[ -f /usr/include/nats/nats.h ] && exit 0
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    { apt-get update && apt-get install --yes --no-install-recommends libnats-dev; } >/dev/null 2>&1 && exit 0
	    echo "nats.c skipped: apt-get could not install libnats-dev"
	else
	    echo "nats.c skipped: libnats-dev is not installed, and this is not root on Debian"
	fi
