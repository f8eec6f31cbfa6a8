// The log of all publishers of the process.
#ifndef ACKBUS_LOG_HPP
#define ACKBUS_LOG_HPP

#include "bytes.hpp"
#include "error.hpp"
#include "status.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

namespace ackbus {

/// Gets one line, without a newline. `target`: the part of the library that speaks.
using log_handler = std::function<void(log_level level, std::string_view target, std::string_view text)>;

namespace detail {

inline void on_log(void *user_data, std::int32_t level, ackbus_str target, ackbus_str text) noexcept
{
    try {
        (*static_cast<log_handler *>(user_data))(static_cast<log_level>(level), view(target), view(text));
    } catch (...) {
        // There is no place to report a log that fails: the line is lost, and the next one comes.
    }
}

inline void drop_log(void *user_data) noexcept { delete static_cast<log_handler *>(user_data); }

} // namespace detail

/// Says where the log of all publishers of this process goes, and down to which level; replaces what was set before. Without it nothing is logged. A
/// publisher says no more than its option `log_level` lets it, which is `warn`.
///
/// `handler`: runs on the library's log thread, one call at a time. Calls that wait throw in it. It is destroyed after its last line. A handler that falls
/// behind loses lines, and is told how many. What it throws is ignored.
///
/// Threads: any, also handlers; never waits. Throws call_error, queue_full when many changes wait for a handler that does not return.
inline void set_log(log_level max_level, log_handler handler)
{
    auto user_data = std::make_unique<log_handler>(std::move(handler));
    if (!*user_data)
        detail::refuse(status::invalid_argument, "the log handler is empty; clear_log ends the log");
    detail::failure failure;
    failure.check(ackbus_log_set(static_cast<std::int32_t>(max_level), detail::on_log, user_data.get(), detail::drop_log, failure.out()));
    user_data.release(); // the library's, from now on to drop_log
}

/// Ends the log.
inline void clear_log()
{
    detail::failure failure;
    failure.check(ackbus_log_set(ACKBUS_LOG_OFF, nullptr, nullptr, nullptr, failure.out()));
}

} // namespace ackbus

#endif
