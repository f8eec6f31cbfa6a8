# The ABI, and what a release consists of. Part of the Makefile.

.PHONY: abi
abi: tools ## Write the baseline of the ABI anew: bindings/c/abi, and Debian's list of symbols; what breaks programs is refused
	$(timed)
	ACKBUS_BLESS=1 cargo test --locked -p ackbus-capi --test abi
