// quickstart [URL]: publishes a message and says what became of it.
#include <ackbus.hpp>
#include <iostream>

int main(int argc, char **argv)
{
    ackbus::config config;
    config.set("servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222").topic("orders.>", {{"stream", "ORDERS"}, {"create", "if_missing"}});
    config.on_error([](const ackbus::report &report) { std::cerr << report.topic() << ": " << report.text() << '\n'; });
    auto bus = ackbus::publisher::connect(config);
    bus.publish("orders.created", R"({"id":1})"); // returns at once
    bus.flush(std::chrono::seconds(10));          // waits for the outcome
    std::cout << bus.stats().published << " of " << bus.stats().accepted << " persisted\n";
}
