// The exceptions.
//
//     error                    everything that ackbus throws
//     ├─ call_error            the call was wrong: status::invalid_argument to status::forked
//     ├─ flow_error            a limit or an end: status::purged, status::callback_busy
//     │  ├─ queue_full
//     │  ├─ timed_out
//     │  └─ closed
//     ├─ transport_error       the connection: status::disconnected to status::failed
//     ├─ jetstream_error       JetStream said no: status::no_stream to status::create_failed
//     └─ internal_error        a fault inside ackbus; also a status that this header does not know
#ifndef ACKBUS_ERROR_HPP
#define ACKBUS_ERROR_HPP

#include "bytes.hpp"
#include "status.hpp"

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ackbus {

/// Why a call failed, or why a future has no ack. what() is the status' name and a text: what was wrong, which value, what is allowed.
class error : public std::runtime_error {
public:
    /// What an error knows besides its text.
    struct facts {
        ackbus::status status = ackbus::status::internal;                     ///< As error::status.
        ackbus::persistence persistence = ackbus::persistence::not_persisted; ///< As error::persistence.
        std::uint32_t server_code = 0;                                        ///< As error::server_code.
        bool retriable = false;                                               ///< As error::retriable.
        bool fatal = false;                                                   ///< As error::fatal.
        std::size_t accepted = 0;                                             ///< As error::accepted.
        std::uint64_t held_by = 0;                                            ///< As error::held_by.
    };

    /// An error that knows this. The library makes them; a test of a handler may, too.
    error(const facts &known, std::string_view text) : std::runtime_error(std::string(name(known.status)).append(": ").append(text)), facts_(known) {}

    /// The status.
    ackbus::status status() const noexcept { return facts_.status; }
    /// What is known about a copy of the message in its stream. `not_persisted` if the call did not accept a message.
    ackbus::persistence persistence() const noexcept { return facts_.persistence; }
    /// JetStream's err_code, or the status of a reply without a body (such as 503); 0 if the server had no part in it.
    std::uint32_t server_code() const noexcept { return facts_.server_code; }
    /// Whether the same call may succeed later. Whether the message may be published again is told by persistence().
    bool retriable() const noexcept { return facts_.retriable; }
    /// Whether the publisher is beyond repair: no later call on it can succeed, except close.
    bool fatal() const noexcept { return facts_.fatal; }
    /// After publish_batch: how many messages were accepted before the one that was not. Else 0.
    std::size_t accepted() const noexcept { return facts_.accepted; }
    /// Of queue_full: what the publish waits for. 0: room in the window; another number: the share of a stream that is held, the same for all that wait for it.
    std::uint64_t held_by() const noexcept { return facts_.held_by; }

private:
    facts facts_;
};

/// The call was wrong.
class call_error : public error {
    using error::error;
};
/// A limit was reached, or an end.
class flow_error : public error {
    using error::error;
};
/// The window of pending messages is full.
class queue_full : public flow_error {
    using flow_error::flow_error;
};
/// The time that the caller gave ran out.
class timed_out : public flow_error {
    using flow_error::flow_error;
};
/// The publisher is closed, or was closed before the message's outcome was known.
class closed : public flow_error {
    using flow_error::flow_error;
};
/// The connection is not there, cannot be had or does not allow it; or no ack came.
class transport_error : public error {
    using error::error;
};
/// JetStream refused the message or the stream.
class jetstream_error : public error {
    using error::error;
};
/// A fault inside ackbus. Please report it.
class internal_error : public error {
    using error::error;
};

namespace detail {

/// Hands the exception of the right class to `use`, which throws or stores it. Numbers are grouped by hundreds, also those that are yet to come.
template <typename Use> auto with_error(const error::facts &facts, std::string_view text, Use use)
{
    switch (facts.status) {
    case status::queue_full: return use(queue_full(facts, text));
    case status::timed_out: return use(timed_out(facts, text));
    case status::closed: return use(closed(facts, text));
    default: break;
    }
    switch (static_cast<ackbus_status>(facts.status) / 100) {
    case 1: return use(call_error(facts, text));
    case 2: return use(flow_error(facts, text));
    case 3: return use(transport_error(facts, text));
    case 4: return use(jetstream_error(facts, text));
    default: return use(internal_error(facts, text));
    }
}

[[noreturn]] inline void raise(const error::facts &facts, std::string_view text)
{
    with_error(facts, text, [](const auto &error) { throw error; });
    throw internal_error(facts, text); // never reached: compilers do not see that the line above does not return
}

/// Throws what this header finds wrong before the library is asked.
[[noreturn]] inline void refuse(status why, std::string_view text)
{
    error::facts facts;
    facts.status = why;
    raise(facts, text);
}

/// The err_out of one call, and what to do about it.
class failure {
public:
    failure() noexcept = default;
    failure(const failure &) = delete;
    failure &operator=(const failure &) = delete;
    ~failure()
    {
        if (raw_ != nullptr) // a publish that succeeds should not pay for a call
            ackbus_error_free(raw_);
    }

    /// For the call.
    ackbus_error **out() noexcept { return &raw_; }

    /// Throws unless the call succeeded.
    void check(ackbus_status got) const
    {
        if (got != ACKBUS_OK)
            raise_as(got, persistence::not_persisted, 0);
    }

    /// Throws, with what the call says about a message or a batch.
    [[noreturn]] void raise_as(ackbus_status got, persistence persistence, std::size_t accepted) const
    {
        error::facts facts;
        facts.status = static_cast<status>(got);
        facts.persistence = persistence;
        facts.server_code = ackbus_error_server_code(raw_);
        facts.retriable = ackbus_error_is_retriable(raw_);
        facts.fatal = ackbus_error_is_fatal(raw_);
        facts.accepted = accepted;
        facts.held_by = ackbus_error_held_by(raw_);
        raise(facts, raw_ != nullptr ? view(ackbus_error_message(raw_)) : std::string_view(text(facts.status)));
    }

private:
    ackbus_error *raw_ = nullptr;
};

} // namespace detail
} // namespace ackbus

#endif
