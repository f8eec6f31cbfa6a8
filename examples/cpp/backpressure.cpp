// backpressure [URL]: what a producer with futures does when the window is full.
//
// A submit that may not wait throws queue_full when there is no room. The producer then looks at the oldest of its futures, and waits for room only after that.
// The bus never has more messages in memory than the window holds.
#include <ackbus.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <future>
#include <iostream>
#include <string>
#include <utility>

namespace {

constexpr int orders = 20000;
constexpr int window = 256;

class producer {
public:
    explicit producer(const ackbus::publisher &bus) : bus_(bus) {}

    void publish(const std::string &payload)
    {
        ackbus::message message("orders.created", payload);
        try {
            futures_.push_back(bus_.submit(message.stall_wait(std::chrono::seconds(0)))); // does not wait
        } catch (const ackbus::queue_full &) {
            full_++;
            if (!futures_.empty())
                take_oldest(); // the time is well used
            futures_.push_back(bus_.submit(message.stall_wait(ackbus::forever)));
        }
    }

    void finish()
    {
        while (!futures_.empty())
            take_oldest();
        std::cout << "persisted " << persisted_ << ", failed " << failed_ << "; the window was " << (full_ > 0 ? "full at times" : "never full") << '\n';
    }

private:
    void take_oldest()
    {
        std::future<ackbus::ack> oldest = std::move(futures_.front());
        futures_.pop_front();
        try {
            oldest.get();
            persisted_++;
        } catch (const ackbus::error &error) {
            if (failed_++ == 0)
                std::cerr << "the first failure: " << error.what() << '\n';
        }
    }

    const ackbus::publisher &bus_;
    std::deque<std::future<ackbus::ack>> futures_;
    std::uint64_t persisted_ = 0, failed_ = 0, full_ = 0;
};

} // namespace

int main(int argc, char **argv)
try {
    ackbus::config config;
    config.set("servers", argc > 1 ? argv[1] : "nats://127.0.0.1:4222").set("max_pending", window);
    config.topic("orders.>", {{"stream", "ORDERS"}, {"create", "if_missing"}});
    config.on_error([](const ackbus::report &) {}); // every message here has a future, which gets its outcome
    const auto bus = ackbus::publisher::connect(config);
    producer producer(bus);
    for (int i = 0; i < orders; i++)
        producer.publish("{\"order\":" + std::to_string(i) + '}');
    producer.finish();
    const ackbus::stats stats = bus.stats();
    return stats.published == orders && stats.pending_max <= window ? 0 : 1;
} catch (const std::exception &error) {
    std::cerr << "backpressure: " << error.what() << '\n';
    return 1;
}
