make build
c++ -std=c++17 examples/cpp/quickstart.cpp -Iinclude -Ltarget/release -lackbus -pthread -Wl,-rpath,$PWD/target/release -o target/quickstart-cpp
target/quickstart-cpp nats://127.0.0.1:4222
