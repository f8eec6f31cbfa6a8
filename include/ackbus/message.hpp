// A message with everything that can be said about it.
#ifndef ACKBUS_MESSAGE_HPP
#define ACKBUS_MESSAGE_HPP

#include "bytes.hpp"
#include "error.hpp"
#include "time.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ackbus {

/// The caller's number for a message; it comes back in the report. A type of its own: in `publish(topic, data, 5)` the 5 would look like a length.
struct tag {
    /// This number.
    explicit constexpr tag(std::uint64_t number) noexcept : value(number) {}
    std::uint64_t value; ///< The number.
};

/// A message: topic and payload, and what its other functions add.
///
/// A view: it shows the caller's texts and bytes, which must be there until the publishing call returns. The bus then has copied what it needs. Temporaries are
/// fine where message and call are one expression: `bus.publish(ackbus::message(topic, body()).msg_id(new_id()))`.
class message {
public:
    /// `topic`: tokens with dots between them, no wildcards, no blanks. `payload`: any bytes.
    message(std::string_view topic, bytes_view payload) noexcept
    {
        raw_.topic = detail::str(topic);
        raw_.payload = payload.data();
        raw_.payload_len = payload.size();
    }

    /// Adds a header. Neither part may contain CR or LF.
    message &header(std::string_view name, std::string_view value)
    {
        headers_.push_back({detail::str(name), detail::str(value)});
        return *this;
    }

    /// The Msg-Id by which the stream knows copies; empty or not given: by the option `msg_id`.
    message &msg_id(std::string_view id) noexcept { return set(raw_.msg_id, id); }

    /// Refused unless this stream stores it.
    message &expected_stream(std::string_view stream) noexcept { return set(raw_.expected_stream, stream); }

    /// Refused unless the stream's last message has this Msg-Id.
    message &expected_last_msg_id(std::string_view id) noexcept { return set(raw_.expected_last_msg_id, id); }

    /// Refused unless this is the stream's last sequence; 0: unless the stream is empty.
    message &expected_last_seq(std::uint64_t seq) noexcept
    {
        raw_.expected_last_seq = seq;
        return flag(ACKBUS_MSG_EXPECTED_LAST_SEQ);
    }

    /// Refused unless this is the topic's last sequence; 0: unless the topic has none.
    message &expected_last_subject_seq(std::uint64_t seq) noexcept
    {
        raw_.expected_last_subject_seq = seq;
        return flag(ACKBUS_MSG_EXPECTED_LAST_SUBJECT_SEQ);
    }

    /// The trace that the message belongs to, as the header `traceparent` of W3C Trace Context: `version-traceid-parentid-flags` in lower-case hex.
    message &traceparent(std::string_view parent) noexcept { return set(raw_.traceparent, parent); }

    /// What tracing systems add to it: the header `tracestate`, 1 to 512 bytes. Only with `traceparent`.
    message &tracestate(std::string_view state) noexcept { return set(raw_.tracestate, state); }

    /// How long the stream keeps the message, more than zero. Needs a stream that allows it. Throws call_error.
    message &ttl(timeout time)
    {
        raw_.ttl_ms = more_than_zero(time, "ttl");
        return *this;
    }

    /// The time until the outcome is decided, more than zero; not given: by the option `delivery_timeout_ms`. Throws call_error.
    message &delivery_timeout(timeout time)
    {
        raw_.delivery_timeout_ms = more_than_zero(time, "delivery_timeout");
        return *this;
    }

    /// How long the call waits for room; not given: by the options `on_full` and `stall_wait_ms`.
    message &stall_wait(timeout time) noexcept
    {
        raw_.stall_wait_ms = time.ms();
        return flag(ACKBUS_MSG_STALL_WAIT);
    }

    /// The caller's number for this message; it comes back in the report.
    message &tag(std::uint64_t number) noexcept
    {
        raw_.tag = number;
        return *this;
    }

    /// Reports this message's outcome whatever the option `report` says.
    message &report_always() noexcept { return flag(ACKBUS_MSG_REPORT_ALWAYS); }

    /// As the C API takes it. Valid until the message changes or ends.
    ackbus_message native() const noexcept
    {
        ackbus_message native = raw_;
        native.headers = headers_.data();
        native.header_count = headers_.size();
        return native;
    }

private:
    message &set(ackbus_str &field, std::string_view text) noexcept
    {
        field = detail::str(text);
        return *this;
    }

    message &flag(std::uint32_t flag) noexcept
    {
        raw_.flags |= flag;
        return *this;
    }

    static std::int64_t more_than_zero(timeout time, const char *what)
    {
        // In C 0 means that the time is not given; here that would be a silent surprise.
        if (time.ms() <= 0)
            detail::refuse(status::invalid_argument, std::string(what).append(time.ms() == 0 ? " is zero or less" : " is forever").append("; it must be a time"));
        return time.ms();
    }

    ackbus_message raw_ = ACKBUS_MESSAGE_INIT;
    std::vector<ackbus_header> headers_;
};

} // namespace ackbus

#endif
