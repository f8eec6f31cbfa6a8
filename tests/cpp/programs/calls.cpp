// Every call doing what its comment says, on the in-memory backend. Handlers and futures have a file of their own.
#include "check.hpp"

#include <array>
#include <cstring>
#include <limits>
#include <poll.h>
#include <typeinfo>
#include <vector>
#if __cplusplus >= 202002L
#include <ranges>
#include <span>
#endif

namespace {

using ackbus::status;

void views_take_what_holds_bytes()
{
    const std::string text = "abc";
    const unsigned char array[] = {'a', 'b', 'c'};
    const std::array<std::byte, 3> bytes = {std::byte{'a'}, std::byte{'b'}, std::byte{'c'}};
    const auto is_abc = [](ackbus::bytes_view view) { return view.size() == 3 && !view.empty() && view.text() == "abc" && view.end() - view.begin() == 3; };
    CHECK(is_abc("abc") && is_abc(text) && is_abc(std::string_view("abc")) && is_abc(bytes) && is_abc({array, 3}));
    CHECK(is_abc(std::vector<char>{'a', 'b', 'c'}) && is_abc(std::vector<unsigned char>{'a', 'b', 'c'}) && is_abc(std::vector<signed char>{'a', 'b', 'c'}));
    CHECK(is_abc(std::string("abc")) && is_abc(std::vector<std::byte>(bytes.begin(), bytes.end())));
    CHECK(ackbus::bytes_view(text).data() == text.data()); // a view, not a copy
    CHECK(ackbus::bytes_view().empty() && ackbus::bytes_view("").empty() && ackbus::bytes_view(nullptr, 0).begin() == ackbus::bytes_view().end());
    CHECK(ackbus::bytes_view(std::string("a\0b", 3)).size() == 3);
#if __cplusplus >= 202002L
    CHECK(is_abc(std::span<const std::byte>(bytes)) && is_abc(std::span(array)));
    static_assert(std::ranges::input_range<ackbus::reports> && std::ranges::input_range<ackbus::events>);
#endif
    static_assert(!std::is_convertible_v<std::vector<int>, ackbus::bytes_view> && !std::is_convertible_v<std::vector<bool>, ackbus::bytes_view>);
    static_assert(!std::is_constructible_v<ackbus::bytes_view, std::nullptr_t> && !std::is_convertible_v<int, ackbus::bytes_view>);
}

void times_are_rounded_up()
{
    using ackbus::timeout;
    CHECK(timeout(2s).ms() == 2000 && timeout(1ms).ms() == 1 && timeout(1ns).ms() == 1 && timeout(1001us).ms() == 2);
    CHECK(timeout(0s).ms() == 0 && timeout(-1ms).ms() == 0 && timeout(-1000h).ms() == 0 && timeout(std::chrono::duration<double>(0.0015)).ms() == 2);
    CHECK(timeout(std::chrono::hours::max()).ms() == -1 && timeout(std::chrono::milliseconds::max()).ms() == -1 && ackbus::forever.ms() == -1);
    CHECK(timeout(std::chrono::hours::min()).ms() == 0);
    CHECK(timeout(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())).ms() == 0);
    CHECK(timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity())).ms() == -1);
}

void configs_hold_options()
{
    ackbus::config config;
    config.set("max_pending", 17).set("ack_wait_ms", 3s).set("retry_on_connect", true).set("name", std::string("test")).set("password", "secret");
    CHECK(config.get("max_pending") == "17" && config.get("ack_wait_ms") == "3000" && config.get("retry_on_connect") == "true");
    CHECK(config.get("name") == "test" && config.get("password") == "***" && config.get("token").empty());

    ackbus::config copy(config);
    copy.set("max_pending", 18u);
    CHECK(config.get("max_pending") == "17" && copy.get("max_pending") == "18");
    config = copy;
    CHECK(config.get("max_pending") == "18");
    const ackbus::config moved(std::move(copy));
    CHECK(moved.get("max_pending") == "18");
    THROWS(ackbus::call_error, status::invalid_argument, copy.get("name")); // NOLINT(bugprone-use-after-move)
    copy = moved;
    CHECK(copy.get("name") == "test");

    THROWS(ackbus::call_error, status::invalid_option, config.set("max_pending", "many"));
    THROWS(ackbus::call_error, status::invalid_option, config.set("max_pending", -1));
    THROWS(ackbus::call_error, status::invalid_option, config.set("no_such_option", "1"));
    THROWS(ackbus::call_error, status::invalid_option, config.get("no_such_option"));
    THROWS(ackbus::call_error, status::invalid_argument, config.set("name", std::string("a\0b", 3)));
    THROWS(ackbus::call_error, status::invalid_argument, config.set(std::string_view("name\0", 5), "a"));
    THROWS(ackbus::call_error, status::invalid_utf8, config.set("name", "\xff"));
    CHECK(config.get("max_pending") == "18" && config.get("name") == "test"); // as before

    config.topic("orders.>", {{"stream", "ORDERS"}, {"max_age_ms", 24h}, {"in_flight", 1}}).topic("metrics.>", "mode", "ephemeral");
    THROWS(ackbus::call_error, status::invalid_option, config.topic("orders.>", {{"no_such_key", "ORDERS"}}));
    THROWS(ackbus::call_error, status::invalid_topic, config.topic("orders..x", "mode", "ephemeral"));
    THROWS(ackbus::call_error, status::invalid_argument, config.topic(std::string_view("a\0", 2), "mode", "ephemeral"));
}

void reports_are_polled()
{
    ackbus::reports batch;
    CHECK(batch.empty() && batch.native() == nullptr && batch.begin() == batch.end() && !batch.has_room());
    {
        const auto bus = ackbus::publisher::connect(memory().set("report", "all"));
        const std::uint64_t id = bus.publish(ackbus::message("orders.created", "{\"id\":1}").header("Color", "red").header("Empty", "").msg_id("order-1").tag(7));
        CHECK(id == 1 && bus.publish("orders.created", "", ackbus::tag(8)) == 2);
        bus.flush();
        CHECK(bus.pending() == 0 && bus.pending_bytes() > 0);
        struct pollfd wake = {bus.wake_fd(), POLLIN, 0};
        CHECK(poll(&wake, 1, 0) == 1);
        batch = bus.poll(10, 0s);
        CHECK(bus.poll(10, 0s).empty());
        bus.close();
        THROWS(ackbus::closed, status::closed, bus.poll(10));
    }
    CHECK(batch.size() == 2 && batch[1].tag() == 8 && batch[1].payload().empty()); // it outlives the publisher
    std::size_t count = 0;
    for (const ackbus::report &report : batch)
        CHECK(report.id() == ++count && report.ok());
    CHECK(count == 2);
    const ackbus::report report = *batch.begin();
    CHECK(report.status() == status::ok && report.persistence() == ackbus::persistence::persisted && report.text().empty() && report.server_code() == 0);
    CHECK(report.tag() == 7 && report.id() == 1 && report.topic() == "orders.created" && report.payload().text() == "{\"id\":1}" && report.msg_id() == "order-1");
    CHECK(report.stream() == "MEMORY" && report.domain().empty() && report.stream_seq() == 1 && !report.duplicate() && !report.ephemeral() && report.attempts() == 1);
    CHECK(report.latency() > 0ns && report.native().tag == 7);

    ackbus::reports other(std::move(batch));
    CHECK(other.size() == 2 && batch.empty()); // NOLINT(bugprone-use-after-move)
    batch = std::move(other);
    CHECK(batch.size() == 2 && other.empty()); // NOLINT(bugprone-use-after-move)
}

void events_are_polled()
{
    const auto bus = ackbus::publisher::connect(memory());
    const ackbus::events events = bus.poll_events(10, 5s);
    CHECK(!events.empty());
    const ackbus::event event = events[0];
    CHECK(event.kind() == ackbus::event_kind::connected && std::string(ackbus::name(event.kind())) == "CONNECTED" && event.status() == status::ok);
    CHECK(event.topic().empty() && event.value() == event.native().value && event.native().kind == ACKBUS_EVENT_CONNECTED);
    CHECK(event.server() == std::string(event.native().server.data) && event.text() == std::string(event.native().text.data));
    const auto age = std::chrono::system_clock::now() - event.time();
    CHECK(age > -1h && age < 1h);
}

void the_outcome_can_be_waited_for()
{
    const auto bus = ackbus::publisher::connect(memory().topic("metrics.>", "mode", "ephemeral"));
    ackbus::ack ack = bus.publish_wait("orders.created", "{}", 10s);
    CHECK(ack.id == 1 && ack.stream == "MEMORY" && ack.domain.empty() && ack.stream_seq == 1 && !ack.duplicate && ack.attempts == 1 && ack.latency > 0ns);
    ack = bus.publish_wait(ackbus::message("orders.created", "{}").expected_last_seq(1).expected_last_subject_seq(1).expected_stream("MEMORY").msg_id("two"));
    CHECK(ack.stream_seq == 2);
    ack = bus.publish_wait(ackbus::message("orders.created", "{}").expected_last_msg_id("two"));
    CHECK(ack.stream_seq == 3);
    ack = bus.publish_wait("metrics.cpu", "1");
    CHECK(ack.id == 4 && ack.stream.empty() && ack.stream_seq == 0);

    // Its outcome is an error that says what is known of the message.
    try {
        bus.publish_wait(ackbus::message("orders.created", "{}").expected_last_seq(0));
        CHECK(!"must throw");
    } catch (const ackbus::jetstream_error &error) {
        CHECK(error.status() == status::wrong_expectation && error.persistence() == ackbus::persistence::not_persisted && error.server_code() == 10071);
        CHECK(!error.retriable() && !error.fatal() && error.accepted() == 0);
    }
    THROWS(ackbus::jetstream_error, status::wrong_expectation, bus.publish_wait(ackbus::message("a", "").expected_stream("OTHER")));
    THROWS(ackbus::jetstream_error, status::wrong_expectation, bus.publish_wait(ackbus::message("a", "").expected_last_msg_id("other")));
    THROWS(ackbus::jetstream_error, status::wrong_expectation, bus.publish_wait(ackbus::message("a", "").expected_last_subject_seq(9)));
    CHECK(bus.poll(10, 0s).empty()); // nothing of it goes the usual way
}

void batches()
{
    const auto bus = ackbus::publisher::connect(memory());
    CHECK((bus.publish_batch({{"a", "1"}, {"b", "2"}}) == std::vector<std::uint64_t>{1, 2}));
    std::vector<ackbus::message> messages;
    CHECK(bus.publish_batch(messages).empty());
    for (int i = 0; i < 5; i++) {
        messages.emplace_back("orders.created", "{}");
        messages.back().header("N", "1").header("M", "2");
    }
    CHECK((bus.publish_batch(messages) == std::vector<std::uint64_t>{3, 4, 5, 6, 7}));
    CHECK((bus.publish_batch(messages.data(), 1) == std::vector<std::uint64_t>{8}));
    messages[3].header("bad", "\n");
    try {
        bus.publish_batch(messages);
        CHECK(!"must throw");
    } catch (const ackbus::call_error &error) {
        CHECK(error.status() == status::invalid_header && error.accepted() == 3 && error.persistence() == ackbus::persistence::not_persisted);
    }
    bus.flush(10s);
    CHECK(bus.stats().published == 11);
}

void bad_messages_are_refused()
{
    const auto bus = ackbus::publisher::connect(memory().set("max_pending_bytes", 4096));
    THROWS(ackbus::call_error, status::invalid_topic, bus.publish("a b", ""));
    THROWS(ackbus::call_error, status::invalid_topic, bus.publish("", ""));
    THROWS(ackbus::call_error, status::invalid_utf8, bus.publish("\xff", ""));
    THROWS(ackbus::call_error, status::too_large, bus.publish("a", std::string(5000, 'x')));
    THROWS(ackbus::call_error, status::invalid_header, bus.publish(ackbus::message("a", "").header("a\r\n", "")));
    THROWS(ackbus::call_error, status::invalid_argument, bus.publish(ackbus::message("a", "").msg_id("a\n")));
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::message("a", "").ttl(0s));
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::message("a", "").ttl(ackbus::forever));
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::message("a", "").delivery_timeout(-1s));
    THROWS(ackbus::call_error, status::invalid_argument, bus.publish(ackbus::message("a", "").ttl(1ms))); // the library's own check
    THROWS(ackbus::call_error, status::invalid_argument, bus.poll(0));
    THROWS(ackbus::call_error, status::invalid_argument, bus.poll_events(0));
    THROWS(ackbus::call_error, status::invalid_option, bus.set_topic("a.>", "mode", "loud"));
    THROWS(ackbus::call_error, status::invalid_argument, bus.set_topic(std::string_view("a\0", 2), "mode", "ephemeral"));
    THROWS(ackbus::call_error, status::invalid_argument, bus.purge(ackbus::purge_what{}));
    CHECK(bus.stats().accepted == 0);
}

void a_full_window()
{
    const auto bus = ackbus::publisher::connect(memory().set("report", "all").set("max_pending", 4));
    for (int i = 0; i < 4; i++)
        bus.publish("a", "");
    try {
        bus.publish(ackbus::message("a", "").stall_wait(0s));
        CHECK(!"must throw");
    } catch (const ackbus::queue_full &error) {
        CHECK(error.retriable() && !error.fatal() && error.persistence() == ackbus::persistence::not_persisted);
    }
    THROWS(ackbus::queue_full, status::queue_full, bus.publish("a", "")); // poll first
    THROWS(ackbus::queue_full, status::queue_full, bus.publish(ackbus::message("a", "").stall_wait(ackbus::forever)));
    const ackbus::reports room = bus.poll(4, 10s);
    CHECK(room.size() == 4);
}

void figures_and_state()
{
    const auto bus = ackbus::publisher::connect(memory().topic("metrics.>", "stream", "METRICS"));
    bus.wait_connected(10s);
    bus.set_topic("noise.>", "mode", "ephemeral");
    bus.publish("noise.a", "");
    bus.publish_wait("orders", "{}");
    CHECK(bus.purge(ackbus::purge_what::all) == 0);
    CHECK(bus.info().state() == ackbus::state::connected && bus.info().last_error() == status::ok && bus.info().last_error_text().empty());
    CHECK(bus.info().last_error_server_code() == 0);
    bus.close(10s);
    bus.close();
    bus.close(ackbus::forever);
    const ackbus::stats stats = bus.stats();
    CHECK(stats.accepted == 1 && stats.published == 1 && stats.ephemeral == 1 && stats.latency_max() > 0ns);
    CHECK(stats.latency_p50() > 0ns && stats.latency_p50() <= stats.latency_p99() && stats.latency_max().count() == static_cast<std::int64_t>(stats.latency_max_ns));
    const std::string text = bus.metrics(); // readable after close
    const std::string end = "# EOF\n";
    CHECK(text.find("\nackbus_published_messages_total{publisher=\"ackbus\"} 1\n") != std::string::npos);
    CHECK(text.size() > end.size() && text.substr(text.size() - end.size()) == end && text.find('\0') == std::string::npos);
    const auto other = ackbus::publisher::connect(memory().set("name", "other"));
    const std::string both = ackbus::metrics({&bus, &other});
    CHECK(both.find("\nackbus_connected{publisher=\"ackbus\"} 0\nackbus_connected{publisher=\"other\"} 1\n") != std::string::npos);
    CHECK(ackbus::metrics({}) == end);
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::metrics({&bus, nullptr}));
    const ackbus::info info = bus.info();
    CHECK(info.state() == ackbus::state::closed && info.server() == "memory:");
    THROWS(ackbus::closed, status::closed, bus.publish("orders", "{}"));
    THROWS(ackbus::closed, status::closed, bus.publish_batch({{"orders", "{}"}}));
    THROWS(ackbus::closed, status::closed, bus.publish_wait("orders", "{}"));
    THROWS(ackbus::closed, status::closed, bus.purge(ackbus::purge_what::unsent));
    THROWS(ackbus::closed, status::closed, bus.wait_connected());
}

// What is not there says so, at every call.
void nothing_is_there(const ackbus::publisher &none)
{
    CHECK(!none && none.native() == nullptr && none.pending() == 0 && none.pending_bytes() == 0 && none.wake_fd() == -1 && none.handler_exceptions() == 0);
    THROWS(ackbus::call_error, status::invalid_argument, none.publish("a", ""));
    THROWS(ackbus::call_error, status::invalid_argument, none.publish(ackbus::message("a", "")));
    THROWS(ackbus::call_error, status::invalid_argument, none.publish_batch({{"a", ""}}));
    THROWS(ackbus::call_error, status::invalid_argument, none.publish_wait("a", ""));
    THROWS(ackbus::call_error, status::invalid_argument, none.submit("a", ""));
    THROWS(ackbus::call_error, status::invalid_argument, none.poll(1));
    THROWS(ackbus::call_error, status::invalid_argument, none.poll_events(1));
    THROWS(ackbus::call_error, status::invalid_argument, none.set_topic("a", "mode", "ephemeral"));
    THROWS(ackbus::call_error, status::invalid_argument, none.wait_connected());
    THROWS(ackbus::call_error, status::invalid_argument, none.flush());
    THROWS(ackbus::call_error, status::invalid_argument, none.purge(ackbus::purge_what::all));
    THROWS(ackbus::call_error, status::invalid_argument, none.close());
    THROWS(ackbus::call_error, status::invalid_argument, none.stats());
    THROWS(ackbus::call_error, status::invalid_argument, none.info());
    THROWS(ackbus::call_error, status::invalid_argument, none.metrics());
    THROWS(ackbus::call_error, status::invalid_argument, ackbus::metrics({&none}));
}

void publishers_move()
{
    static_assert(!std::is_copy_constructible_v<ackbus::publisher> && !std::is_copy_assignable_v<ackbus::publisher>);
    static_assert(!std::is_copy_constructible_v<ackbus::reports> && !std::is_copy_constructible_v<ackbus::events>);
    static_assert(std::is_nothrow_move_constructible_v<ackbus::publisher> && std::is_nothrow_move_assignable_v<ackbus::publisher>);
    static_assert(std::is_nothrow_move_assignable_v<ackbus::reports> && std::is_nothrow_move_constructible_v<ackbus::config>);
    nothing_is_there(ackbus::publisher());
    auto first = ackbus::publisher::connect(memory());
    const ackbus_publisher *native = first.native();
    auto second = std::move(first);
    nothing_is_there(first); // NOLINT(bugprone-use-after-move)
    CHECK(second && second.native() == native && second.publish("a", "") == 1);
    first = std::move(second);
    nothing_is_there(second); // NOLINT(bugprone-use-after-move)
    CHECK(first.publish("a", "") == 2);
    first = ackbus::publisher::connect(memory()); // closes the one before
    CHECK(first.publish("a", "") == 1);
}

void connecting_can_fail()
{
    ackbus::config nowhere;
    nowhere.set("servers", "nats://127.0.0.1:1").set("connect_timeout_ms", 2s);
    try {
        static_cast<void>(ackbus::publisher::connect(nowhere));
        CHECK(!"must throw");
    } catch (const ackbus::transport_error &error) {
        CHECK(error.status() == status::connect_failed && std::strstr(error.what(), "127.0.0.1:1") != nullptr);
    }
    nowhere.set("retry_on_connect", true);
    const auto bus = ackbus::publisher::connect(nowhere);
    THROWS(ackbus::timed_out, status::timed_out, bus.wait_connected(1ms));
    bus.publish("a", "");
    THROWS(ackbus::timed_out, status::timed_out, bus.flush(1ms));
    try {
        bus.publish_wait("a", "", 1ms);
        CHECK(!"must throw");
    } catch (const ackbus::timed_out &error) {
        CHECK(error.persistence() == ackbus::persistence::possibly_persisted && error.retriable());
    }
    CHECK(bus.pending() == 2 && bus.purge(ackbus::purge_what::unsent) == 2);
    const ackbus::reports purged = bus.poll(10, 10s);
    CHECK(purged.size() == 2 && purged[0].status() == status::purged && purged[1].persistence() == ackbus::persistence::not_persisted);
    CHECK(!ackbus_status_is_retriable(ACKBUS_ERR_PURGED) && std::string(ackbus::name(purged[0].persistence())) == "NOT_PERSISTED");
}

// Numbers of later versions fall into the class of their hundred.
void classes_of_errors()
{
    const auto class_of = [](int number) {
        ackbus::error::facts facts;
        facts.status = static_cast<status>(number);
        return ackbus::detail::with_error(facts, "text", [](const auto &error) { return std::string(typeid(error).name()); });
    };
    CHECK(class_of(199) == typeid(ackbus::call_error).name() && class_of(299) == typeid(ackbus::flow_error).name());
    CHECK(class_of(399) == typeid(ackbus::transport_error).name() && class_of(499) == typeid(ackbus::jetstream_error).name());
    CHECK(class_of(500) == typeid(ackbus::internal_error).name() && class_of(9999) == typeid(ackbus::internal_error).name());
    CHECK(class_of(201) == typeid(ackbus::timed_out).name() && class_of(-1) == typeid(ackbus::internal_error).name());
    CHECK(std::string(ackbus::text(status::queue_full)).size() > 10);
}

} // namespace

int main()
{
    views_take_what_holds_bytes();
    times_are_rounded_up();
    configs_hold_options();
    reports_are_polled();
    events_are_polled();
    the_outcome_can_be_waited_for();
    batches();
    bad_messages_are_refused();
    a_full_window();
    figures_and_state();
    publishers_move();
    connecting_can_fail();
    classes_of_errors();
    return 0;
}
