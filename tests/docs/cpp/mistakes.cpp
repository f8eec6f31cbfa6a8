// mistakes URL: what a newcomer reads after the usual mistakes. docs/quickstart/cpp.md shows this program and what it prints.
#include <ackbus.hpp>

#include <iostream>

namespace {

template <typename Call> void say(Call call)
{
    try {
        call();
    } catch (const ackbus::error &error) {
        std::cout << error.what() << '\n';
    }
}

void mistakes(const std::string &url)
{
    ackbus::config config;
    // A value that an option does not have, and a key that does not exist.
    say([&] { config.set("on_full", "wait"); });
    say([&] { config.set("max_pendign", 100); });

    // Nobody listens there.
    say([&] { (void)ackbus::publisher::connect(config.set("servers", "nats://127.0.0.1:1")); });

    // Outcomes are to be polled, as no handler is set; a future has nobody who settles it.
    const auto polled = ackbus::publisher::connect(config.set("servers", url));
    say([&] { (void)polled.submit("orders.created", "{}"); });

    ackbus::publisher bus;
    config.on_error([&bus](const ackbus::report &report) {
        std::cout << name(report.status()) << ": " << report.text() << '\n';
        say([&] { bus.flush(); }); // in a handler, which would wait for itself
    });
    bus = ackbus::publisher::connect(config);

    // A pattern where a topic is wanted.
    say([&] { bus.publish("orders.*", "{}"); });

    // No stream takes the topic: publish succeeds, and the handler is told. One that waits for the outcome hears it itself.
    say([&] { bus.publish_wait("invoices.new", "{}"); });
    bus.publish("invoices.new", "{}");
    bus.close();
}

} // namespace

int main(int argc, char **argv)
{
    mistakes(argc > 1 ? argv[1] : "nats://127.0.0.1:4222");
}
