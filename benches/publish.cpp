// publish: ackbus through its C++ header, a report for every message. The same work as publish.c does through the C API.
//
//   publish HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id] [--futures]
//
// With --futures every message has one, and all are waited for. Prints the same line as the other clients of the benchmark; see run.sh.
#include <ackbus.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <future>
#include <iostream>
#include <stdexcept>
#include <string>
#include <sys/resource.h>
#include <vector>

namespace {

struct load {
    std::string address, subject;
    std::uint64_t count = 0;
    std::size_t size = 0;
    std::uint64_t window = 0;
    bool msg_id = true, futures = false;
};

std::uint64_t number(const char *name, const std::string &text)
{
    std::size_t end = 0;
    const std::uint64_t value = !text.empty() && text[0] >= '0' && text[0] <= '9' ? std::stoull(text, &end) : 0;
    if (end == 0 || end != text.size())
        throw std::invalid_argument(std::string(name) + " is \"" + text + "\"; allowed: a decimal number");
    return value;
}

load parse(const std::vector<std::string> &words)
{
    if (words.size() < 5)
        throw std::invalid_argument("usage: publish HOST:PORT SUBJECT N SIZE WINDOW [--no-msg-id] [--futures]");
    load load;
    load.address = words[0];
    load.subject = words[1];
    load.count = number("N", words[2]);
    load.size = number("SIZE", words[3]);
    load.window = number("WINDOW", words[4]);
    for (std::size_t i = 5; i < words.size(); i++) {
        if (words[i] == "--no-msg-id")
            load.msg_id = false;
        else if (words[i] == "--futures")
            load.futures = true;
        else
            throw std::invalid_argument("unknown option " + words[i] + "; allowed: --no-msg-id, --futures");
    }
    if (load.count == 0)
        throw std::invalid_argument("N is 0; allowed: at least 1");
    return load;
}

/// Written by the one report thread; read after flush, when every handler has returned.
struct outcome {
    std::uint64_t acked = 0, failed = 0;

    void take(const ackbus::report &report)
    {
        if (report.persistence() == ackbus::persistence::persisted)
            acked++;
        else if (failed++ == 0)
            std::cerr << "publish: the first failure: " << name(report.status()) << ": " << report.text() << '\n';
    }
};

/// User and system time of the whole process: the library's threads included.
double cpu_seconds()
{
    struct rusage usage = {};
    getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void publish(const ackbus::publisher &bus, const load &load, const std::string &payload)
{
    // On a thread of its own, as publish.c does it.
    std::async(std::launch::async, [&] {
        for (std::uint64_t i = 0; i < load.count; i++)
            bus.publish(load.subject, payload, ackbus::tag(i));
    }).get();
    bus.flush(std::chrono::seconds(60));
}

/// The futures of one window are kept, and each is waited for.
void publish_futures(const ackbus::publisher &bus, const load &load, const std::string &payload, outcome &outcome)
{
    std::deque<std::future<ackbus::ack>> futures;
    for (std::uint64_t i = 0; i < load.count; i++) {
        futures.push_back(bus.submit(load.subject, payload));
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
    const load load = parse(std::vector<std::string>(argv + 1, argv + argc));
    outcome outcome;
    ackbus::config config;
    config.set("servers", "nats://" + load.address).set("max_pending", load.window).set("report", "all").set("msg_id", load.msg_id ? "auto" : "none");
    config.on_reports([&outcome](const ackbus::report &report) { outcome.take(report); });
    const auto bus = ackbus::publisher::connect(config);
    const std::string payload(load.size, 'x');

    const auto begin = std::chrono::steady_clock::now();
    double cpu = cpu_seconds();
    if (load.futures)
        publish_futures(bus, load, payload, outcome);
    else
        publish(bus, load, payload);
    const std::chrono::duration<double> wall = std::chrono::steady_clock::now() - begin;
    cpu = cpu_seconds() - cpu;
    bus.close();

    std::printf("client=%s msg_id=%s n=%llu size=%zu window=%llu acked=%llu failed=%llu msgs_per_s=%.0f cpu_us_per_msg=%.3f\n",
                load.futures ? "ackbus-cpp/futures" : "ackbus-cpp", load.msg_id ? "yes" : "no", static_cast<unsigned long long>(load.count), load.size,
                static_cast<unsigned long long>(load.window), static_cast<unsigned long long>(outcome.acked),
                static_cast<unsigned long long>(outcome.failed), static_cast<double>(outcome.acked) / wall.count(), cpu * 1e6 / static_cast<double>(load.count));
    return outcome.acked == load.count ? 0 : 1;
} catch (const std::invalid_argument &error) {
    std::cerr << "publish: " << error.what() << '\n';
    return 2;
} catch (const std::exception &error) {
    std::cerr << "publish: " << error.what() << '\n';
    return 1;
}
