// error_callback [URL]: an error handler that logs, counts and dead-letters what failed.
//
// Publishes orders to two topics. No stream takes one of them, so half of the messages fail; each is published again, to a dead-letter topic, from inside the
// handler. That always works: a handler may publish as many messages as it got reports, however full the window is.
#include <ackbus.hpp>

#include <cstdint>
#include <exception>
#include <iostream>
#include <string>
#include <string_view>

namespace {

constexpr int orders = 1000;
constexpr std::string_view dead_letters = "dead.orders";

/// Used by the one thread that calls handlers, and read when the publisher is closed.
class error_handler {
public:
    void operator()(const ackbus::report &report)
    {
        if (failed++ < 3) // log some, count all
            std::cerr << report.topic() << " failed after " << report.attempts() << " attempts: " << name(report.status()) << ": " << report.text() << '\n';
        if (report.topic() == dead_letters) { // a dead letter that fails is not dead-lettered again
            lost++;
            return;
        }
        ackbus::message letter(dead_letters, report.payload());
        letter.header("X-Topic", report.topic()).header("X-Reason", name(report.status()));
        // Whoever replays it must know whether a copy may exist.
        letter.header("X-Persisted", report.persistence() == ackbus::persistence::not_persisted ? "no" : "possibly");
        try {
            bus.publish(letter);
            dead_lettered++;
        } catch (const ackbus::error &) { // such as: closed
            lost++;
        }
    }

    ackbus::publisher bus; // the handler needs the publisher, and the publisher the handler: moved in after connect
    std::uint64_t failed = 0, dead_lettered = 0, lost = 0;
};

} // namespace

int main(int argc, char **argv)
try {
    error_handler handler;
    ackbus::config config;
    config.set("servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222").on_error([&handler](const ackbus::report &report) { handler(report); });
    config.topic("orders.>", {{"stream", "ORDERS"}, {"create", "if_missing"}}).topic("dead.>", {{"stream", "DEAD_LETTERS"}, {"create", "if_missing"}});
    handler.bus = ackbus::publisher::connect(config);
    for (int i = 0; i < orders; i++)
        handler.bus.publish(i % 2 == 0 ? "orders.created" : "unknown.topic", "{\"order\":" + std::to_string(i) + '}');
    handler.bus.flush(); // for the orders, and so for the dead letters that their handlers publish
    handler.bus.close(); // for those
    std::cout << "failed " << handler.failed << ", dead-lettered " << handler.dead_lettered << ", lost " << handler.lost << '\n';
} catch (const std::exception &error) {
    std::cerr << "error_callback: " << error.what() << '\n';
    return 1;
}
