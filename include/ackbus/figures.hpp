// What operators ask a publisher.
#ifndef ACKBUS_FIGURES_HPP
#define ACKBUS_FIGURES_HPP

#include "status.hpp"

#include <chrono>
#include <cstdint>
#include <string_view>

namespace ackbus {

/// A publisher's figures: the fields are those of the C API's ackbus_stats, and these functions.
struct stats : ackbus_stats {
    stats() noexcept : ackbus_stats(ACKBUS_STATS_INIT) {}

    /// Half of the acknowledged messages took no longer, from publish to the ack.
    std::chrono::nanoseconds latency_p50() const noexcept { return std::chrono::nanoseconds(latency_p50_ns); }
    /// 99 % of the acknowledged messages took no longer.
    std::chrono::nanoseconds latency_p99() const noexcept { return std::chrono::nanoseconds(latency_p99_ns); }
    /// The slowest acknowledgement.
    std::chrono::nanoseconds latency_max() const noexcept { return std::chrono::nanoseconds(latency_max_ns); }
};

/// How a publisher is doing.
class info {
public:
    info() noexcept : raw_(ACKBUS_INFO_INIT) {}

    /// How it stands.
    ackbus::state state() const noexcept { return static_cast<ackbus::state>(raw_.state); }
    /// The server of the present or last connection, without credentials; empty before the first.
    std::string_view server() const noexcept { return raw_.server; }
    /// Its version, such as "2.12.1".
    std::string_view server_version() const noexcept { return raw_.server_version; }
    /// The largest payload that the server takes, in bytes; 0 if not yet known.
    std::uint64_t max_payload() const noexcept { return raw_.max_payload; }
    /// The last error's status; `ok` if there was none.
    status last_error() const noexcept { return static_cast<status>(raw_.last_error); }
    /// The last error's server code; 0 if there is none.
    std::uint32_t last_error_server_code() const noexcept { return raw_.last_error_server_code; }
    /// The last error's text.
    std::string_view last_error_text() const noexcept { return raw_.last_error_text; }

    /// For the C API.
    ackbus_info *native() noexcept { return &raw_; }

private:
    ackbus_info raw_;
};

} // namespace ackbus

#endif
