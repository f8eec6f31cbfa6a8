// Durations on their way to the C API.
#ifndef ACKBUS_TIME_HPP
#define ACKBUS_TIME_HPP

#include <chrono>
#include <cstdint>

namespace ackbus {

/// How long a call may wait: any duration, or `forever`. Zero and less do not wait; a fraction of a millisecond is a whole one.
///
/// Not simply the C API's number, in which a negative one waits without limit: `deadline - now` would then wait for ever when it is too late.
class timeout {
public:
    /// That long. Implicit, so that calls read `flush(10s)`.
    template <typename Rep, typename Period>
    constexpr timeout(std::chrono::duration<Rep, Period> time) : ms_(whole(time)) {} // NOLINT(google-explicit-constructor)

    /// Without limit.
    static constexpr timeout no_limit() noexcept { return timeout(); }

    /// In the C API's milliseconds; -1: without limit.
    constexpr std::int64_t ms() const noexcept { return ms_; }

private:
    constexpr timeout() noexcept : ms_(-1) {}

    template <typename Rep, typename Period> static constexpr std::int64_t whole(std::chrono::duration<Rep, Period> time)
    {
        // Compared as floating point: hours::max() in milliseconds does not fit into 64 bits, and NaN is no time at all.
        const double ms = std::chrono::duration<double, std::milli>(time).count();
        if (!(ms > 0))
            return 0;
        return ms < 1e15 ? std::chrono::ceil<std::chrono::duration<std::int64_t, std::milli>>(time).count() : -1;
    }

    std::int64_t ms_;
};

/// Waits without limit.
inline constexpr timeout forever = timeout::no_limit();

} // namespace ackbus

#endif
