// Handlers and futures: who gets which outcome, what a handler may do, where its exceptions go, and when it ends.
#include "check.hpp"

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <typeinfo>
#include <vector>

namespace {

using ackbus::status;

// With the in-memory backend a message fails when its expectation does not hold.
ackbus::message failing(std::string_view topic) { return ackbus::message(topic, "{}").expected_last_seq(UINT64_MAX); }

struct seen {
    std::atomic<int> reports{0}, errors{0}, events{0}, exceptions{0};
};

void each_outcome_goes_to_one_handler()
{
    seen all, split, errors, failures;
    const auto count = [](std::atomic<int> &number) { return [&number](const ackbus::report &) { number++; }; };
    const auto publish_four = [](const ackbus::config &config) {
        const auto bus = ackbus::publisher::connect(config);
        bus.publish("a", "");
        bus.publish(failing("a"));
        bus.publish(failing("a"));
        bus.publish(ackbus::message("a", "").report_always());
        bus.flush(10s);
        CHECK(bus.stats().published == 2 && bus.stats().publish_errors == 2 && bus.handler_exceptions() == 0);
        THROWS(ackbus::call_error, status::invalid_state, bus.poll(1));
    };
    publish_four(memory().on_reports(count(all.reports)));
    CHECK(all.reports == 4);
    publish_four(memory().on_reports(count(split.reports)).on_error(count(split.errors)));
    CHECK(split.reports == 2 && split.errors == 2);
    publish_four(memory().on_error(count(errors.errors)));
    CHECK(errors.errors == 2);
    // The option has the last word, in any order.
    publish_four(memory().set("report", "failures").on_reports(count(failures.reports)));
    CHECK(failures.reports == 3); // two failures, and the one that asked for it
}

void handlers_may_publish()
{
    std::atomic<int> letters{0};
    std::atomic<bool> refused{false};
    ackbus::publisher bus; // named before it is there
    ackbus::config config = memory();
    config.set("max_pending", 1).on_error([&](const ackbus::report &report) {
        CHECK(report.status() == status::wrong_expectation && report.persistence() == ackbus::persistence::not_persisted && !report.text().empty());
        bus.publish(ackbus::message("dead.letters", report.payload()).header("X-Topic", report.topic()));
        letters++;
        // P5: what waits is refused.
        THROWS(ackbus::call_error, status::wrong_thread, bus.flush());
        THROWS(ackbus::call_error, status::wrong_thread, bus.publish_wait("a", ""));
        THROWS(ackbus::call_error, status::wrong_thread, bus.close());
        THROWS(ackbus::call_error, status::wrong_thread, ackbus::publisher::connect(memory()));
        refused = true;
    });
    bus = ackbus::publisher::connect(config);
    for (int i = 0; i < 1000; i++)
        bus.publish(failing("orders.created"));
    bus.flush(); // for the orders, and so for the letters that their handlers publish
    bus.close();
    CHECK(letters == 1000 && refused && bus.stats().published == 1000 && bus.handler_exceptions() == 0);
}

// A handler that throws costs nobody an outcome: not the reports of the same batch, not the futures between them, not flush or close.
void exceptions_reach_their_handler()
{
    constexpr int messages = 1000;
    std::atomic<int> reports{0}, errors{0};
    std::atomic<int> told{0}, text_told{0};
    ackbus::config config = memory();
    config.on_reports([&](const ackbus::report &) {
        reports++;
        throw std::runtime_error("from on_reports");
    });
    config.on_error([&](const ackbus::report &) {
        errors++;
        throw 42; // NOLINT: anything can be thrown
    });
    config.on_event([](const ackbus::event &) { throw std::runtime_error("from on_event"); });
    config.on_handler_exception([&](const std::exception_ptr &exception) {
        told++;
        try {
            std::rethrow_exception(exception);
        } catch (const std::runtime_error &error) {
            text_told += std::string(error.what()) == "from on_reports";
        } catch (int number) {
            CHECK(number == 42);
        }
        throw std::runtime_error("from the last of all handlers"); // counted and dropped
    });
    std::vector<std::future<ackbus::ack>> futures;
    const auto bus = ackbus::publisher::connect(config);
    for (int i = 0; i < messages; i++) {
        bus.publish("a", "");
        futures.push_back(bus.submit("a", ""));
        bus.publish(failing("a"));
    }
    bus.flush(10s);
    CHECK(reports == messages && errors == messages);
    for (auto &future : futures)
        CHECK(future.get().stream == "MEMORY");
    bus.close(10s);
    CHECK(told >= 2 * messages + 1 && text_told == messages); // and the events
    CHECK(bus.handler_exceptions() == 2 * static_cast<std::uint64_t>(told));
    CHECK(bus.stats().published == 2 * messages && bus.stats().publish_errors == messages);

    // Without a handler for them they are counted.
    const auto quiet = ackbus::publisher::connect(memory().on_reports([](const ackbus::report &) { throw 1; }));
    quiet.publish("a", "");
    quiet.flush(10s);
    CHECK(quiet.handler_exceptions() == 1);
}

void futures_get_their_outcome()
{
    std::atomic<int> elsewhere{0};
    const auto count = [&](const ackbus::report &) { elsewhere++; };
    auto config = memory();
    config.on_error(count).on_reports(count).topic("metrics.>", "mode", "ephemeral");
    const auto bus = ackbus::publisher::connect(config);
    const ackbus::ack ack = bus.submit("orders.created", "{}").get();
    CHECK(ack.id == 1 && ack.stream == "MEMORY" && ack.stream_seq == 1 && !ack.duplicate && ack.attempts == 1 && ack.latency > 0ns);
    CHECK(bus.submit(ackbus::message("orders.created", "{}").header("N", "1").expected_last_seq(1)).get().stream_seq == 2);
    CHECK(bus.submit("metrics.cpu", "1").get().stream.empty());
    auto future = bus.submit(failing("orders.created"));
    try {
        future.get();
        CHECK(!"must throw");
    } catch (const ackbus::jetstream_error &error) {
        CHECK(error.status() == status::wrong_expectation && error.persistence() == ackbus::persistence::not_persisted && error.server_code() == 10071);
        CHECK(!error.retriable() && !error.fatal() && error.accepted() == 0 && std::string(error.what()).size() > 20);
    }
    static_cast<void>(bus.submit("orders.created", "dropped")); // nobody wants it: it goes nowhere
    THROWS(ackbus::call_error, status::invalid_topic, bus.submit("orders created", "{}"));
    bus.close(10s);
    THROWS(ackbus::closed, status::closed, bus.submit("orders.created", "{}"));
    CHECK(elsewhere == 0);

    const auto polled = ackbus::publisher::connect(memory());
    THROWS(ackbus::call_error, status::invalid_state, polled.submit("a", ""));
    CHECK(polled.stats().accepted == 0);
}

// The caller's tags do not mix with the futures': not even the address of one.
void tags_are_the_callers()
{
    std::mutex mutex;
    std::vector<std::uint64_t> tags;
    const auto bus = ackbus::publisher::connect(memory().on_reports([&](const ackbus::report &report) {
        const std::lock_guard lock(mutex);
        tags.push_back(report.tag());
    }));
    std::vector<std::future<ackbus::ack>> futures;
    std::vector<std::uint64_t> given;
    for (std::uint64_t i = 0; i < 500; i++) {
        futures.push_back(bus.submit(ackbus::message("a", "").tag(i)));
        given.push_back(i == 0 ? UINT64_MAX : reinterpret_cast<std::uintptr_t>(&futures.back()));
        bus.publish("a", "", ackbus::tag(given.back()));
    }
    bus.flush(10s);
    CHECK(tags == given);
    for (auto &future : futures)
        CHECK(future.get().stream == "MEMORY");
}

// What is not sent when the publisher closes is an outcome too.
void close_settles_futures()
{
    std::atomic<int> errors{0};
    ackbus::config config;
    config.set("servers", "nats://127.0.0.1:1").set("retry_on_connect", true).on_error([&](const ackbus::report &report) {
        CHECK(report.status() == status::closed || report.status() == status::purged);
        errors++;
    });
    std::future<ackbus::ack> closed, purged;
    {
        const auto bus = ackbus::publisher::connect(config);
        bus.publish("a", "");
        purged = bus.submit("a", "");
        CHECK(purged.wait_for(0s) == std::future_status::timeout);
        CHECK(bus.purge(ackbus::purge_what::all) == 2);
        THROWS(ackbus::flow_error, status::purged, purged.get());
        closed = bus.submit("a", "");
        bus.publish("a", "");
        bus.close(0s);
        CHECK(errors == 2 && closed.wait_for(0s) == std::future_status::ready);
    }
    THROWS(ackbus::closed, status::closed, closed.get());
}

struct counted {
    explicit counted(std::atomic<int> &alive) : alive_(&alive) { alive++; }
    counted(const counted &other) : counted(*other.alive_) {}
    counted &operator=(const counted &) = delete;
    ~counted() { (*alive_)--; }
    std::atomic<int> *alive_;
};

void handlers_end_with_their_last_owner()
{
    std::atomic<int> alive{0};
    {
        const counted token(alive);
        ackbus::config config = memory();
        config.on_reports([token](const ackbus::report &) { static_cast<void>(token); }).on_event([token](const ackbus::event &) { static_cast<void>(token); });
        const ackbus::config copy(config);
        const auto first = ackbus::publisher::connect(config);
        const auto second = ackbus::publisher::connect(copy);
        CHECK(alive > 6);
    }
    CHECK(alive == 0);
    {
        const auto bus = ackbus::publisher::connect(memory().on_error([token = counted(alive)](const ackbus::report &) { static_cast<void>(token); }));
        CHECK(alive == 1);
        bus.close(); // enough, when no config has the handler any more
        CHECK(alive == 0);
    }
    ackbus::config nowhere;
    nowhere.set("servers", "nats://127.0.0.1:1").on_error([token = counted(alive)](const ackbus::report &) { static_cast<void>(token); });
    THROWS(ackbus::transport_error, status::connect_failed, ackbus::publisher::connect(nowhere));
    CHECK(alive == 1); // the config's
    nowhere.on_error(nullptr);
    CHECK(alive == 0);
}

// A handler that destroys its own publisher does not deadlock, and gets its last reports.
void a_handler_may_destroy_its_publisher()
{
    struct shared {
        std::unique_ptr<ackbus::publisher> bus;
        std::promise<void> armed, gone;
        std::atomic<int> reports{0};
    };
    auto state = std::make_shared<shared>();
    auto gone = state->gone.get_future();
    ackbus::config config = memory();
    config.on_reports([state, armed = state->armed.get_future().share()](const ackbus::report &) {
        armed.wait();
        state->reports++;
        state->bus.reset();
    });
    // The handlers' last act.
    const auto tell = [](shared *of) { of->gone.set_value(); };
    config.on_event([state, end = std::shared_ptr<shared>(state.get(), tell)](const ackbus::event &) {});
    state->bus = std::make_unique<ackbus::publisher>(ackbus::publisher::connect(config));
    config = ackbus::config();
    for (int i = 0; i < 3; i++)
        state->bus->publish("a", "");
    state->armed.set_value();
    CHECK(gone.wait_for(30s) == std::future_status::ready); // the thread that closes it has let the handlers go
    CHECK(state->reports == 3);
}

// The destructor waits for a handler that is still running: it may use what is destroyed next.
void the_destructor_waits_for_handlers()
{
    std::promise<void> begun, told;
    std::atomic<bool> ended{false};
    ackbus::config config = memory();
    config.set("close_timeout_ms", 0).on_reports([&](const ackbus::report &) {
        begun.set_value();
        told.get_future().wait();
        std::this_thread::sleep_for(1500ms); // longer than the second that the C API waits
        ended = true;
    });
    {
        const auto bus = ackbus::publisher::connect(config);
        bus.publish("a", "");
        begun.get_future().wait();
        THROWS(ackbus::flow_error, status::callback_busy, bus.close());
        told.set_value();
        CHECK(!ended);
    }
    CHECK(ended);
}

void the_log_is_bridged()
{
    std::atomic<int> lines{0}, alive{0};
    std::promise<void> heard;
    ackbus::set_log(ackbus::log_level::trace, [&, token = counted(alive)](ackbus::log_level level, std::string_view target, std::string_view text) {
        CHECK(level >= ackbus::log_level::error && level <= ackbus::log_level::trace && target.substr(0, 6) == "ackbus" && !text.empty());
        if (lines++ == 0)
            heard.set_value();
        throw std::runtime_error("from the log"); // ignored
    });
    const auto bus = ackbus::publisher::connect(memory().set("log_level", "trace"));
    CHECK(heard.get_future().wait_for(30s) == std::future_status::ready);
    CHECK(alive == 1);
    ackbus::clear_log();
    const auto until = std::chrono::steady_clock::now() + 30s;
    while (alive != 0 && std::chrono::steady_clock::now() < until) // the log's own thread lets go of it
        std::this_thread::yield();
    CHECK(alive == 0);
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::set_log(ackbus::log_level::warn, nullptr));
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::set_log(static_cast<ackbus::log_level>(99), [](auto...) {}));
}

// Many threads, a small window, futures, waits, reports and failures all at once: everybody gets exactly his own.
void everybody_gets_his_own()
{
    constexpr int threads = 8, rounds = 500;
    std::atomic<int> reports{0}, errors{0}, futures{0}, broken{0}, waited{0};
    ackbus::config config = memory();
    config.set("max_pending", 16).on_reports([&](const ackbus::report &) { reports++; }).on_error([&](const ackbus::report &) { errors++; });
    const auto bus = ackbus::publisher::connect(config);
    std::vector<std::thread> workers;
    for (int t = 0; t < threads; t++) {
        workers.emplace_back([&] {
            for (int i = 0; i < rounds; i++) {
                auto future = bus.submit("a", "future");
                auto bad = bus.submit(failing("a"));
                bus.publish("a", "report");
                bus.publish(failing("a"));
                waited += bus.publish_wait("a", "wait").stream == "MEMORY";
                futures += future.get().stream == "MEMORY";
                try {
                    bad.get();
                } catch (const ackbus::jetstream_error &) {
                    broken++;
                }
            }
        });
    }
    for (auto &worker : workers)
        worker.join();
    bus.close();
    constexpr int each = threads * rounds;
    CHECK(reports == each && errors == each && futures == each && broken == each && waited == each);
    CHECK(bus.stats().accepted == 5 * each && bus.stats().published == 3 * each && bus.stats().pending == 0 && bus.stats().pending_max <= 16);
}

} // namespace

int main()
{
    each_outcome_goes_to_one_handler();
    handlers_may_publish();
    exceptions_reach_their_handler();
    futures_get_their_outcome();
    tags_are_the_callers();
    close_settles_futures();
    handlers_end_with_their_last_owner();
    a_handler_may_destroy_its_publisher();
    the_destructor_waits_for_handlers();
    the_log_is_bridged();
    everybody_gets_his_own();
    return 0;
}
