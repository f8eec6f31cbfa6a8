# The ABI, and what a release consists of. Part of the Makefile.

dist := $(target)/dist
dist_work := $(target)/dist-work

.PHONY: abi
abi: tools ## Write the baseline of the ABI anew: bindings/c/abi, and Debian's list of symbols; what breaks programs is refused
	$(timed)
	ACKBUS_BLESS=1 cargo test --locked -p ackbus-capi --test abi

# A build of its own: the paths in it are mapped, and cargo would build everything again each time the two took turns.
.PHONY: dist
dist: tools debhelper .tools/python/pyvenv.cfg ## Build what a release has from the last commit, into target/dist: sources, wheel, Debian packages, checksums
	$(timed)
	packaging/dist.sh "$(dist)" "$(dist_work)"

.PHONY: test-dist
test-dist: dist server ## Install what `dist` built, in folders of its own; build programs with it and run them against a server
	$(timed)
	$(test_programs)
	packaging/test-dist.sh "$(dist)" "$(dist_work)" "$(target)/debug/ackbus-test-server"

.PHONY: test-reproducible
test-reproducible: dist ## Build it all again in another folder, at another time: the same bytes must come out
	$(timed)
	packaging/reproducible.sh "$(dist)" "$(dist_work)"

# Debian packages are built where they can be.
.PHONY: debhelper
debhelper:
	@command -v dh >/dev/null && command -v lintian >/dev/null && exit 0
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	    { apt-get update && apt-get install --yes --no-install-recommends debhelper lintian; } >/dev/null 2>&1 && exit 0
	    echo "Debian packages skipped: apt-get could not install debhelper and lintian"
	else
	    echo "Debian packages skipped, or not checked: debhelper or lintian is not installed, and this is not root on Debian"
	fi
