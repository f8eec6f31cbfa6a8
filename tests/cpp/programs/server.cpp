// server URL: what only a real server shows: headers, duplicates, its domain (hub), streams that are not there.
#include "check.hpp"

#include <typeinfo>

int main(int, char **argv)
{
    using ackbus::message;
    using ackbus::status;
    ackbus::config config;
    config.set("servers", argv[1]).topic("orders.>", {{"stream", "ORDERS"}, {"create", "if_missing"}}).on_error([](const ackbus::report &) {});
    const auto bus = ackbus::publisher::connect(config);

    const std::string trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const auto one = message("orders.created", "one").header("Color", "red").header("Empty", "").msg_id("id-1").traceparent(trace).tracestate("rojo=1");
    CHECK(bus.publish_wait(one).stream_seq == 1);
    THROWS(ackbus::call_error, status::invalid_argument, bus.publish(message("orders.created", "").traceparent("no trace")));
    const ackbus::ack copy = bus.publish_wait(message("orders.created", "one").msg_id("id-1"));
    CHECK(copy.duplicate && copy.stream == "ORDERS" && copy.domain == "hub" && copy.stream_seq == 1);
    auto future = bus.submit(message("orders.created", "two").expected_last_seq(1).expected_last_msg_id("id-1").expected_stream("ORDERS"));
    const ackbus::ack second = future.get();
    CHECK(second.stream_seq == 2 && second.domain == "hub");

    auto nowhere = bus.submit("no.stream", "");
    try {
        nowhere.get();
        CHECK(!"must throw");
    } catch (const ackbus::jetstream_error &error) {
        CHECK(error.status() == status::no_stream && error.persistence() == ackbus::persistence::not_persisted && error.server_code() == 503);
    }
    THROWS(ackbus::jetstream_error, status::no_stream, bus.publish_wait("no.stream", "", 30s));
    const ackbus::info info = bus.info();
    CHECK(info.state() == ackbus::state::connected && !info.server().empty() && !info.server_version().empty() && info.max_payload() > 0);
    THROWS(ackbus::call_error, status::too_large, bus.publish("orders.created", std::string(info.max_payload() + 1, 'x')));
    bus.close();
    CHECK(bus.info().state() == ackbus::state::closed && bus.stats().published == 3 && bus.stats().duplicates == 1);
    return 0;
}
