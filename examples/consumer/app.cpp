// app [URL]: publishes one message, to a server or in memory, and says what became of it.
#include <ackbus.hpp>
#include <iostream>

int main(int argc, char **argv)
try {
    ackbus::config config;
    config.set("servers", argc > 1 ? argv[1] : "memory:").topic("consumer.>", {{"stream", "CONSUMER"}, {"create", "if_missing"}});
    const auto bus = ackbus::publisher::connect(config);
    bus.publish_wait("consumer.created", "{}", std::chrono::seconds(10));
    std::cout << "C++, ackbus " << ackbus_version_string() << ": persisted\n";
} catch (const ackbus::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
