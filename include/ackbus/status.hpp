// What the C API has as numbers, as enum classes of the same values. What each means is said in ackbus.h, at the constant beside it.
#ifndef ACKBUS_STATUS_HPP
#define ACKBUS_STATUS_HPP

#include "../ackbus.h"

#include <cstdint>

namespace ackbus {

/// The result of a call, or the final word on a message. Later versions of the library may have more.
enum class status : std::int32_t {
    ok = ACKBUS_OK,
    invalid_argument = ACKBUS_ERR_INVALID_ARGUMENT,
    invalid_utf8 = ACKBUS_ERR_INVALID_UTF8,
    invalid_topic = ACKBUS_ERR_INVALID_TOPIC,
    invalid_header = ACKBUS_ERR_INVALID_HEADER,
    invalid_option = ACKBUS_ERR_INVALID_OPTION,
    invalid_state = ACKBUS_ERR_INVALID_STATE,
    wrong_thread = ACKBUS_ERR_WRONG_THREAD,
    too_large = ACKBUS_ERR_TOO_LARGE,
    abi_mismatch = ACKBUS_ERR_ABI_MISMATCH,
    forked = ACKBUS_ERR_FORKED,
    queue_full = ACKBUS_ERR_QUEUE_FULL,
    timed_out = ACKBUS_ERR_TIMED_OUT,
    purged = ACKBUS_ERR_PURGED,
    callback_busy = ACKBUS_ERR_CALLBACK_BUSY,
    closed = ACKBUS_ERR_CLOSED,
    interrupted = ACKBUS_ERR_INTERRUPTED,
    disconnected = ACKBUS_ERR_DISCONNECTED,
    connect_failed = ACKBUS_ERR_CONNECT_FAILED,
    auth_failed = ACKBUS_ERR_AUTH_FAILED,
    tls_failed = ACKBUS_ERR_TLS_FAILED,
    ack_timeout = ACKBUS_ERR_ACK_TIMEOUT,
    denied = ACKBUS_ERR_DENIED,
    protocol_error = ACKBUS_ERR_PROTOCOL_ERROR,
    failed = ACKBUS_ERR_FAILED,
    no_stream = ACKBUS_ERR_NO_STREAM,
    stream_full = ACKBUS_ERR_STREAM_FULL,
    overloaded = ACKBUS_ERR_OVERLOADED,
    wrong_expectation = ACKBUS_ERR_WRONG_EXPECTATION,
    quota_exceeded = ACKBUS_ERR_QUOTA_EXCEEDED,
    rejected = ACKBUS_ERR_REJECTED,
    unavailable = ACKBUS_ERR_UNAVAILABLE,
    create_failed = ACKBUS_ERR_CREATE_FAILED,
    internal = ACKBUS_ERR_INTERNAL,
};

/// What is known about a message's copy in the stream; tells whether the message may be published again.
enum class persistence : std::int32_t {
    not_persisted = ACKBUS_NOT_PERSISTED,           ///< Proven not to be in the stream. Publishing it again cannot make a second copy.
    possibly_persisted = ACKBUS_POSSIBLY_PERSISTED, ///< May be in the stream. Publishing it again may make a second copy.
    persisted = ACKBUS_PERSISTED,                   ///< In the stream: the server acknowledged it.
};

/// What happened to the connection or to a stream, and which fields of the event tell more. Later versions of the library may have more.
enum class event_kind : std::int32_t {
    connected = ACKBUS_EVENT_CONNECTED,
    disconnected = ACKBUS_EVENT_DISCONNECTED,
    reconnected = ACKBUS_EVENT_RECONNECTED,
    connect_failed = ACKBUS_EVENT_CONNECT_FAILED,
    lame_duck = ACKBUS_EVENT_LAME_DUCK,
    servers_discovered = ACKBUS_EVENT_SERVERS_DISCOVERED,
    stream_created = ACKBUS_EVENT_STREAM_CREATED,
    stream_differs = ACKBUS_EVENT_STREAM_DIFFERS,
    stream_risk = ACKBUS_EVENT_STREAM_RISK,
    window_unknown = ACKBUS_EVENT_WINDOW_UNKNOWN,
    gate_held = ACKBUS_EVENT_GATE_HELD,
    gate_opened = ACKBUS_EVENT_GATE_OPENED,
    denied = ACKBUS_EVENT_DENIED,
    pending_high = ACKBUS_EVENT_PENDING_HIGH,
    pending_normal = ACKBUS_EVENT_PENDING_NORMAL,
    auth_failed = ACKBUS_EVENT_AUTH_FAILED,
    quarantined = ACKBUS_EVENT_QUARANTINED,
    clock_jump = ACKBUS_EVENT_CLOCK_JUMP,
    ack_silence = ACKBUS_EVENT_ACK_SILENCE,
    failed = ACKBUS_EVENT_FAILED,
    closed = ACKBUS_EVENT_CLOSED,
};

/// How a publisher stands. Later versions of the library may have more.
enum class state : std::int32_t {
    connecting = ACKBUS_STATE_CONNECTING,
    connected = ACKBUS_STATE_CONNECTED,
    reconnecting = ACKBUS_STATE_RECONNECTING,
    closing = ACKBUS_STATE_CLOSING,
    closed = ACKBUS_STATE_CLOSED,
    failed = ACKBUS_STATE_FAILED,
};

/// How important a line of the log is.
enum class log_level : std::int32_t {
    off = ACKBUS_LOG_OFF,
    error = ACKBUS_LOG_ERROR,
    warn = ACKBUS_LOG_WARN,
    info = ACKBUS_LOG_INFO,
    debug = ACKBUS_LOG_DEBUG,
    trace = ACKBUS_LOG_TRACE,
};

/// The stable upper-case name, such as "QUEUE_FULL"; "UNKNOWN" for a number that the library does not know.
inline const char *name(status of) noexcept { return ackbus_status_name(static_cast<ackbus_status>(of)); }

/// The stable upper-case name, such as "STREAM_CREATED"; "UNKNOWN" for a number that the library does not know.
inline const char *name(event_kind of) noexcept { return ackbus_event_kind_name(static_cast<std::int32_t>(of)); }

/// The stable upper-case name, such as "NOT_PERSISTED".
inline const char *name(persistence of) noexcept
{
    return of == persistence::persisted ? "PERSISTED" : of == persistence::not_persisted ? "NOT_PERSISTED" : "POSSIBLY_PERSISTED";
}

/// One sentence for people.
inline const char *text(status of) noexcept { return ackbus_status_text(static_cast<ackbus_status>(of)); }

} // namespace ackbus

#endif
