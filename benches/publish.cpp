// publish: ackbus through its C++ header, a report for every message. The same work as publish.c does through the C API, with the same arguments.
//
// MODE is callback, or future: every message has one, a window of them is kept, and each is waited for.
#include "bench.h"

#include <ackbus.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <future>
#include <iostream>
#include <string>

namespace {

const char *const MODES[] = {"callback", "future", nullptr};

/// Written by the one report thread; read after flush, when every handler has returned. With futures: by the thread that waits for them.
struct outcome {
    std::uint64_t acked = 0, failed = 0;
    std::uint64_t *latencies = nullptr;
    bench_pacer pacer = {};

    void take(const ackbus::report &report)
    {
        if (report.persistence() == ackbus::persistence::persisted) {
            acked++;
            if (latencies != nullptr)
                latencies[report.tag()] = bench_latency_ns(&pacer, report.tag());
        } else if (failed++ == 0) {
            std::cerr << "publish: the first failure: " << name(report.status()) << ": " << report.text() << '\n';
        }
    }
};

void publish(const ackbus::publisher &bus, const bench_load &load, const std::string &payload, outcome &outcome)
{
    // On a thread of its own, as publish.c does it.
    std::async(std::launch::async, [&] {
        const std::string subject = load.subject;
        if (load.rate > 0)
            outcome.pacer = bench_pacer_start(load.rate);
        for (std::uint64_t i = 0; i < load.count; i++) {
            if (load.rate > 0)
                bench_pace(&outcome.pacer, i);
            bus.publish(subject, payload, ackbus::tag(i));
        }
    }).get();
    if (!load.hold)
        bus.flush(std::chrono::milliseconds(BENCH_FLUSH_MS));
}

/// The futures of one window are kept, and each is waited for.
void publish_futures(const ackbus::publisher &bus, const bench_load &load, const std::string &payload, outcome &outcome)
{
    const std::string subject = load.subject;
    std::deque<std::future<ackbus::ack>> futures;
    for (std::uint64_t i = 0; i < load.count; i++) {
        futures.push_back(bus.submit(subject, payload));
        if (futures.size() > load.window) {
            futures.front().get();
            futures.pop_front();
            outcome.acked++;
        }
    }
    for (auto &future : futures) {
        future.get();
        outcome.acked++;
    }
}

} // namespace

int main(int argc, char **argv)
try {
    const bench_load load = bench_parse(argc, argv, MODES);
    if (load.connections > 0)
        bench_refuse("--connections", "given", "for publish.c alone");
    const bool futures = strcmp(load.mode, "future") == 0;
    if (load.threads > 1 || (futures && (load.rate > 0 || load.hold)))
        bench_refuse("an option", load.threads > 1 ? "--threads" : "--rate or --hold", "one thread; with futures no rate, and no --hold");
    outcome outcome;
    outcome.latencies = bench_latencies_new(&load);
    ackbus::config config;
    config.set("servers", std::string("nats://") + load.address).set("max_pending", load.window).set("report", "all").set("msg_id", load.msg_id ? "auto" : "none");
    config.on_reports([&outcome](const ackbus::report &report) { outcome.take(report); });
    const auto bus = ackbus::publisher::connect(config);
    const std::string payload(load.size, 'x');

    const bench_watch watch = bench_start();
    if (futures)
        publish_futures(bus, load, payload, outcome);
    else
        publish(bus, load, payload, outcome);
    bench_stop(&watch, &load, outcome.acked, outcome.failed);
    if (load.hold)
        _exit(0); // nobody acks: a close would wait for that
    bus.close();
    bench_latencies_write(&load, outcome.latencies);
    return outcome.acked == load.count ? 0 : 1;
} catch (const std::exception &error) {
    std::cerr << "publish: " << error.what() << '\n';
    return 1;
}
