make build
make install PREFIX="$PWD/target/prefix"

export PKG_CONFIG_PATH="$PWD/target/prefix/lib/pkgconfig"
cc examples/c/quickstart.c $(pkg-config --cflags --libs ackbus) -Wl,-rpath,"$PWD/target/prefix/lib" -o target/installed-shared
target/installed-shared nats://127.0.0.1:4222

cc examples/c/quickstart.c $(pkg-config --cflags --libs ackbus-static) -o target/installed-static
target/installed-static nats://127.0.0.1:4222

CGO_LDFLAGS="-Wl,-rpath,$PWD/target/prefix/lib" go -C examples/consumer/go build -tags ackbus_pkgconfig -o "$PWD/target/installed-go" .
target/installed-go nats://127.0.0.1:4222

cmake -S examples/consumer -B target/consumer -DCMAKE_PREFIX_PATH="$PWD/target/prefix"
cmake --build target/consumer
target/consumer/app-cpp nats://127.0.0.1:4222
target/consumer/app-cpp-static nats://127.0.0.1:4222

make uninstall PREFIX="$PWD/target/prefix"
test -z "$(find target/prefix ! -type d)"
