make build
cc examples/c/quickstart.c -Iinclude -Ltarget/release -lackbus -Wl,-rpath,$PWD/target/release -o target/quickstart
target/quickstart nats://127.0.0.1:4222
