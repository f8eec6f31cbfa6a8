// What happens to the connection and to streams.
#ifndef ACKBUS_EVENT_HPP
#define ACKBUS_EVENT_HPP

#include "batch.hpp"
#include "bytes.hpp"
#include "status.hpp"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace ackbus {

/// Something that happened to the connection or to a stream. What a kind does not use is empty or 0; ackbus.h says at each kind what it uses.
///
/// A view: in a handler it ends with the call, from a batch with the batch.
class event {
public:
    /// A view of one event of the C API.
    explicit event(const ackbus_event &native) noexcept : raw_(&native) {}

    /// What happened.
    event_kind kind() const noexcept { return static_cast<event_kind>(raw_->kind); }
    /// The cause, or `ok`.
    ackbus::status status() const noexcept { return static_cast<ackbus::status>(raw_->status); }
    /// When, by the wall clock.
    std::chrono::system_clock::time_point time() const noexcept
    {
        using clock = std::chrono::system_clock;
        return clock::time_point(std::chrono::duration_cast<clock::duration>(std::chrono::nanoseconds(raw_->time_unix_ns)));
    }
    /// A number whose meaning the kind says.
    std::uint64_t value() const noexcept { return raw_->value; }
    /// The server as host:port, never with credentials.
    std::string_view server() const noexcept { return detail::view(raw_->server); }
    /// The topic, or the pattern of the topic rule.
    std::string_view topic() const noexcept { return detail::view(raw_->topic); }
    /// Words for people.
    std::string_view text() const noexcept { return detail::view(raw_->text); }

    /// As the C API has it.
    const ackbus_event &native() const noexcept { return *raw_; }

private:
    const ackbus_event *raw_;
};

namespace detail {

struct event_batch {
    using handle = ackbus_events;
    using native = ackbus_event;
    using view = event;
    static constexpr auto data = ackbus_events_data;
    static constexpr auto free = ackbus_events_free;
};

} // namespace detail

/// A batch of events, from publisher::poll_events. It may outlive the publisher.
class events : public detail::batch<detail::event_batch> {
public:
    using batch::batch;
};

} // namespace ackbus

#endif
