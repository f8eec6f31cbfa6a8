#!/usr/bin/env bash
# The tests of the Go package behind `make test-go`, which builds the library and the test server first.
#
#   scripts/test-go.sh         format, vet, and all tests in all the ways that find faults of cgo
#   scripts/test-go.sh lint    format and vet alone
set -euo pipefail
cd "$(dirname "$0")/.."

command -v go >/dev/null || { echo "skipped: go is not installed"; exit 0; }

modules=(bindings/go bindings/go/ackbusprom examples/go benches/go tests/faults/drivers/go)
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    # The package looks into the checkout's own target.
    library=$(cd "$CARGO_TARGET_DIR/release" && pwd)
    export CGO_LDFLAGS="-L$library -Wl,-rpath,$library"
    ACKBUS_TEST_SERVER=$(cd "$CARGO_TARGET_DIR/debug" && pwd)/ackbus-test-server
    export ACKBUS_TEST_SERVER
fi

in_modules() {
    local module
    for module in "${modules[@]}"; do
        (cd "$module" && "$@")
    done
}

# go's cache of test results does not see that the library has changed.
package() {
    (cd bindings/go && go test -count=1 "$@")
}

unformatted=$(gofmt -l bindings/go examples/go examples/consumer/go benches/go tests/faults/drivers/go scripts)
if [ -n "$unformatted" ]; then
    printf 'not formatted, make fmt does it:\n%s\n' "$unformatted" >&2
    exit 1
fi
in_modules go vet ./...
go vet scripts/godoc.go
[ "${1:-}" != lint ] || exit 0

package ./...
(cd bindings/go/ackbusprom && go test -count=1 ./...)
(cd examples/go && go test -count=1 ./...)
echo "with the race detector:"
package -short -race .
echo "with the collector at work all the time:"
GOGC=1 package -short .
echo "with the collector at each use of a handle:"
package -short -skip Conformance -tags ackbus_debug .
echo "with cgo's checks of every pointer:"
GOEXPERIMENT=cgocheck2 package -short -skip Conformance .
