// Outcomes.
#ifndef ACKBUS_REPORT_HPP
#define ACKBUS_REPORT_HPP

#include "batch.hpp"
#include "bytes.hpp"
#include "status.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace ackbus {

/// The outcome of one message, and the message itself, so that a handler can log, count, re-route or dead-letter it.
///
/// A view: in a handler it ends with the call, from a batch with the batch.
class report {
public:
    /// A view of one report of the C API.
    explicit report(const ackbus_report &native) noexcept : raw_(&native) {}

    /// Whether the message is persisted (or, ephemeral, written).
    bool ok() const noexcept { return raw_->status == ACKBUS_OK; }
    /// `ok`, or why the message is not known to be persisted.
    ackbus::status status() const noexcept { return static_cast<ackbus::status>(raw_->status); }
    /// What is known about the stored copy; tells whether the message may be published again.
    ackbus::persistence persistence() const noexcept { return static_cast<ackbus::persistence>(raw_->persistence); }
    /// What happened, in words; empty if all went well.
    std::string_view text() const noexcept { return detail::view(raw_->text); }
    /// JetStream's err_code, or the status of a reply without a body (such as 503); 0 if there was none.
    std::uint32_t server_code() const noexcept { return raw_->server_code; }

    /// The number that the caller gave with the message.
    std::uint64_t tag() const noexcept { return raw_->tag; }
    /// The message's id, which publish returned.
    std::uint64_t id() const noexcept { return raw_->id; }
    /// The topic.
    std::string_view topic() const noexcept { return detail::view(raw_->topic); }
    /// The payload as it was published.
    bytes_view payload() const noexcept { return {raw_->payload, raw_->payload_len}; }
    /// The Msg-Id, the caller's or the automatic one; empty if it has none.
    std::string_view msg_id() const noexcept { return detail::view(raw_->msg_id); }

    /// The stream that stored the message; empty unless persisted.
    std::string_view stream() const noexcept { return detail::view(raw_->stream); }
    /// The JetStream domain of that stream, as the server named it; empty if it named none, and unless persisted.
    std::string_view domain() const noexcept { return detail::view(raw_->domain); }
    /// The message's sequence in its stream; 0 unless persisted.
    std::uint64_t stream_seq() const noexcept { return raw_->stream_seq; }
    /// The stream had a message with this Msg-Id already, and it cannot be an earlier attempt of this one.
    bool duplicate() const noexcept { return (raw_->flags & ACKBUS_REPORT_DUPLICATE) != 0; }
    /// The topic is ephemeral: the message was written and is never acknowledged.
    bool ephemeral() const noexcept { return (raw_->flags & ACKBUS_REPORT_EPHEMERAL) != 0; }
    /// How many times the message was sent; 0: it never left the process.
    std::uint32_t attempts() const noexcept { return raw_->attempts; }
    /// From acceptance to the outcome.
    std::chrono::nanoseconds latency() const noexcept { return std::chrono::nanoseconds(raw_->latency_ns); }

    /// As the C API has it.
    const ackbus_report &native() const noexcept { return *raw_; }

private:
    const ackbus_report *raw_;
};

/// Where a message is stored: the outcome of one that went well.
struct ack {
    std::uint64_t id = 0;              ///< The message's id.
    std::string stream;                ///< The stream; empty for an ephemeral message, which was written and is never acknowledged.
    std::uint64_t stream_seq = 0;      ///< Its sequence in the stream; 0 for an ephemeral message.
    bool duplicate = false;            ///< As report::duplicate.
    std::uint32_t attempts = 0;        ///< How many times the message was sent.
    std::chrono::nanoseconds latency{}; ///< From acceptance to the outcome.
    std::string domain;                ///< The JetStream domain of the stream; empty if the server named none.
};

namespace detail {

inline ack ack_of(const report &of)
{
    return {of.id(), std::string(of.stream()), of.stream_seq(), of.duplicate(), of.attempts(), of.latency(), std::string(of.domain())};
}

struct report_batch {
    using handle = ackbus_reports;
    using native = ackbus_report;
    using view = report;
    static constexpr auto data = ackbus_reports_data;
    static constexpr auto free = ackbus_reports_free;
};

} // namespace detail

/// A batch of reports, from publisher::poll. Its messages keep their places in the window until it ends; it may outlive the publisher.
class reports : public detail::batch<detail::report_batch> {
public:
    using batch::batch;

    /// Whether the poll also found room again after a queue_full.
    bool has_room() const noexcept { return ackbus_reports_has_room(native()); }
};

} // namespace ackbus

#endif
