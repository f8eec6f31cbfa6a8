// Publishes one message, without a server, and says what became of it.
#include <ackbus.hpp>
#include <iostream>

int main()
try {
    const auto bus = ackbus::publisher::connect(ackbus::config().set("servers", "memory:"));
    bus.publish_wait("orders.created", "{}", std::chrono::seconds(10));
    std::cout << "C++, ackbus " << ackbus_version_string() << ": persisted\n";
} catch (const ackbus::error &error) {
    std::cerr << error.what() << '\n';
    return 1;
}
