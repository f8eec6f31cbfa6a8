// The publisher.
#ifndef ACKBUS_PUBLISHER_HPP
#define ACKBUS_PUBLISHER_HPP

#include "bytes.hpp"
#include "config.hpp"
#include "error.hpp"
#include "event.hpp"
#include "figures.hpp"
#include "handlers.hpp"
#include "message.hpp"
#include "report.hpp"
#include "time.hpp"

#include <cstddef>
#include <cstdint>
#include <future>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace ackbus {

/// What purge gives up.
enum class purge_what : std::uint32_t {
    unsent = ACKBUS_PURGE_UNSENT,                         ///< The messages that were never sent.
    in_flight = ACKBUS_PURGE_IN_FLIGHT,                   ///< The messages that were sent and are not acknowledged; they may be persisted all the same.
    all = ACKBUS_PURGE_UNSENT | ACKBUS_PURGE_IN_FLIGHT, ///< Both.
};

/// A connection to the bus: accepts messages, sends them, and tells the outcome of each.
///
/// Move-only. Its const functions may be called from any thread at the same time. Calls that wait throw call_error with status::wrong_thread in a handler.
/// Every call may throw call_error, with status::forked in a forked child; what else it throws is said at the call.
class publisher {
public:
    /// No publisher: every call throws call_error, until one is moved in. Lets a handler name the publisher that it belongs to before there is one.
    publisher() noexcept = default;
    /// The other one is then empty, as if default-constructed.
    publisher(publisher &&) noexcept = default;
    /// Closes what this one held before, as its end would.
    publisher &operator=(publisher &&other) noexcept
    {
        publisher(std::move(other)).swap(*this);
        return *this;
    }

    /// Closes it first if it is open, with the option `close_timeout_ms`, and then waits for a handler that is still running, because that may use what ends
    /// next. In one of its own handlers it cannot wait: then a thread made for it does.
    ~publisher() = default;

    /// Makes a publisher and connects it. Waits up to `connect_timeout_ms`; with `retry_on_connect` it returns at once and goes on trying.
    ///
    /// Throws transport_error, whose text names the server and the cause; call_error for options that do not fit together, in a handler, and if this header
    /// does not fit the library.
    [[nodiscard]] static publisher connect(const config &config)
    {
        if (const ackbus_status status = ackbus_check_abi(); status != ACKBUS_OK)
            detail::refuse(static_cast<ackbus::status>(status), std::string("library ") + ackbus_version_string() + ", header " + header_version());
        ackbus::config own(config);
        auto exceptions = std::make_shared<detail::exception_count>(0);
        if (own.handlers_.on_reports && !own.report_is_set_)
            own.set("report", "all");
        detail::desk::attach(own.native_.get(), own.handlers_, exceptions);
        ackbus_publisher *handle = nullptr;
        detail::failure failure;
        failure.check(ackbus_publisher_connect(own.native(), &handle, failure.out()));
        return publisher(handle, std::move(exceptions), own.handlers_.takes_reports());
    }

    /// Waits until the publisher is connected: with `retry_on_connect`, or after a connection was lost. Throws timed_out, closed, transport_error.
    void wait_connected(timeout time = forever) const
    {
        detail::failure failure;
        check(failure, ackbus_publisher_wait_connected(native(), time.ms(), failure.out()));
    }

    /// Changes a topic rule for messages that are published after the call. Never waits. Throws call_error.
    void set_topic(std::string_view pattern, std::string_view key, const option_value &value) const
    {
        detail::failure failure;
        check(failure, ackbus_publisher_set_topic(native(), config::c_text(pattern, "pattern").c_str(), config::c_text(key, "key").c_str(),
                                                  config::c_text(value.text(), "value").c_str(), failure.out()));
    }

    /// Publishes a message and returns its id at once while there is room; on a full window it waits or throws as `on_full` and `stall_wait_ms` say. In a
    /// handler it never waits. When it returns, the bus owns a copy and owes exactly one outcome; when it throws, nothing was accepted.
    ///
    /// Throws queue_full, closed, transport_error (with `on_disconnect=fail`, or when the publisher has failed), call_error.
    std::uint64_t publish(std::string_view topic, bytes_view payload, tag tag = ackbus::tag(0)) const
    {
        detail::failure failure;
        std::uint64_t id = 0;
        check(failure, ackbus_publisher_publish(native(), topic.data(), topic.size(), payload.data(), payload.size(), tag.value, &id, failure.out()));
        return id;
    }

    /// The same with headers, ids, expectations or times of its own.
    std::uint64_t publish(const message &message) const { return publish_native(message.native()); }

    /// Publishes messages in their order until all are accepted or one is not, and returns their ids. `messages`: a std::vector, std::array, std::span …
    ///
    /// Throws what publish throws for the first message that is not accepted. Those before it are: error::accepted() tells how many.
    template <typename Messages> std::vector<std::uint64_t> publish_batch(const Messages &messages) const
    {
        return publish_batch(std::data(messages), std::size(messages));
    }

    /// The same for a list: `publish_batch({{"orders.created", "1"}, {"orders.paid", "2"}})`.
    std::vector<std::uint64_t> publish_batch(std::initializer_list<message> messages) const { return publish_batch(messages.begin(), messages.size()); }

    /// The same for `count` messages from `first` on.
    std::vector<std::uint64_t> publish_batch(const message *first, std::size_t count) const
    {
        std::vector<ackbus_message> natives;
        natives.reserve(count);
        for (std::size_t i = 0; i < count; i++)
            natives.push_back(first[i].native());
        std::vector<std::uint64_t> ids(count);
        std::size_t accepted = 0;
        detail::failure failure;
        const ackbus_status status = ackbus_publisher_publish_batch(native(), natives.data(), count, ids.data(), &accepted, failure.out());
        if (status != ACKBUS_OK)
            failed(failure, status, persistence::not_persisted, accepted);
        return ids;
    }

    /// Publishes a message and waits for its outcome, which goes to this caller alone.
    ///
    /// `time`: how long to wait, including for room.
    ///
    /// Throws timed_out: the message stays pending and its outcome goes the usual way (persistence() is then possibly_persisted). Throws the outcome if it is
    /// not OK, and what publish throws; then persistence() is not_persisted if nothing was accepted.
    ack publish_wait(const message &message, timeout time = forever) const
    {
        const ackbus_message native_message = message.native();
        ackbus_reports *out = nullptr;
        detail::failure failure;
        const ackbus_status status = ackbus_publisher_publish_wait(native(), &native_message, time.ms(), &out, failure.out());
        const reports outcome(out);
        if (status == ACKBUS_OK)
            return detail::ack_of(outcome[0]);
        if (!outcome.empty())
            failed(failure, status, outcome[0].persistence(), 0);
        failed(failure, status, status == ACKBUS_ERR_TIMED_OUT ? persistence::possibly_persisted : persistence::not_persisted, 0);
    }

    /// The same for a topic and a payload.
    ack publish_wait(std::string_view topic, bytes_view payload, timeout time = forever) const { return publish_wait(message(topic, payload), time); }

    /// Publishes a message and returns the future of its ack. The outcome goes to the future alone, not to on_reports or on_error; a message that is not
    /// persisted gives the future its error. The future is ready at the latest when close returns. There is no thread per future, and a future may be dropped.
    ///
    /// Needs a publisher with on_reports or on_error: its thread settles the futures. Throws what publish throws; call_error with status::invalid_state if
    /// reports are polled, when nobody would.
    [[nodiscard]] std::future<ack> submit(const message &message) const
    {
        if (handle_ && !takes_reports_)
            detail::refuse(status::invalid_state, "reports are polled, so nothing would settle the future: set on_error or on_reports, or use publish_wait");
        auto pending = std::make_unique<detail::pending_ack>();
        std::future<ack> future = pending->future();
        ackbus_message native_message = message.native();
        native_message.tag = pending->tag();
        native_message.flags |= ACKBUS_MSG_MARK | ACKBUS_MSG_REPORT_ALWAYS;
        publish_native(native_message);
        pending.release(); // the report's, which may have taken it by now
        return future;
    }

    /// The same for a topic and a payload.
    [[nodiscard]] std::future<ack> submit(std::string_view topic, bytes_view payload) const { return submit(message(topic, payload)); }

    /// Fetches reports, if neither on_reports nor on_error is set: at most `max`, at least 1, as soon as there is one. The batch is empty if none came in time.
    ///
    /// Throws closed after close when none is left; call_error with status::invalid_state if reports go to handlers.
    [[nodiscard]] reports poll(std::size_t max, timeout time = forever) const
    {
        ackbus_reports *out = nullptr;
        detail::failure failure;
        check(failure, ackbus_publisher_poll(native(), max, time.ms(), &out, failure.out()));
        return reports(out);
    }

    /// The same for events, if on_event is not set.
    [[nodiscard]] events poll_events(std::size_t max, timeout time = forever) const
    {
        ackbus_events *out = nullptr;
        detail::failure failure;
        check(failure, ackbus_publisher_poll_events(native(), max, time.ms(), &out, failure.out()));
        return events(out);
    }

    /// A file descriptor for poll, epoll or an event loop: readable while reports or events wait, or when there is room again after a queue_full. Only poll and
    /// poll_events clear it. It is the publisher's: do not read, write or close it. -1 if reports go to handlers.
    int wake_fd() const noexcept { return ackbus_publisher_wake_fd(native()); }

    /// Waits for all messages that were accepted before the call: until their handlers have returned, or, polled, until they are settled.
    ///
    /// Throws timed_out. A message that failed is no error here: its report tells.
    void flush(timeout time = forever) const
    {
        detail::failure failure;
        check(failure, ackbus_publisher_flush(native(), time.ms(), failure.out()));
    }

    /// Gives up pending messages and returns how many: they are settled now, with status::purged, and reported like any other. Throws closed.
    std::uint64_t purge(purge_what what) const
    {
        std::uint64_t count = 0;
        detail::failure failure;
        check(failure, ackbus_publisher_purge(native(), static_cast<std::uint32_t>(what), &count, failure.out()));
        return count;
    }

    /// Closes the publisher: publishes, also waiting ones, throw closed; the call waits for acks, settles what is left when the time is up (with
    /// status::closed), delivers all reports and ends the threads. After it no handler runs. Unpolled reports can still be polled. A second close does nothing.
    ///
    /// The time is the option `close_timeout_ms`. Time in handlers comes on top.
    ///
    /// Throws flow_error with status::callback_busy if a handler has not returned one second after the end of the time: call close again.
    void close() const { close_native(-1); }

    /// The same within this time.
    void close(timeout time) const
    {
        constexpr std::int64_t years = INT64_C(100) * 366 * 24 * 3600 * 1000; // in C, a negative time is the option's
        close_native(time.ms() < 0 ? years : time.ms());
    }

    /// How many messages are accepted and not yet settled, or settled and not yet delivered.
    std::uint64_t pending() const noexcept { return ackbus_publisher_pending(native()); }
    /// Their bytes, as `max_pending_bytes` counts them.
    std::uint64_t pending_bytes() const noexcept { return ackbus_publisher_pending_bytes(native()); }

    /// The figures. They stay readable after close.
    ackbus::stats stats() const
    {
        ackbus::stats figures;
        detail::failure failure;
        check(failure, ackbus_publisher_stats(native(), &figures));
        return figures;
    }

    /// The figures as OpenMetrics 1.0 text, with the label publisher="...", which is the option `name`: those of stats(), failures by status, latencies as a
    /// histogram, limits, state and server. `docs/STATISTICS.md` lists them. To serve it is the program's part, as ACKBUS_METRICS_CONTENT_TYPE; never waits. It
    /// stays readable after close. For several publishers there is ackbus::metrics.
    std::string metrics() const
    {
        std::string text(ACKBUS_METRICS_MAX, '\0'); // figures grow: a length that was asked for first may be too small
        std::size_t length = 0;
        detail::failure failure;
        check(failure, ackbus_publisher_metrics(native(), text.data(), text.size(), &length, failure.out()));
        text.resize(length);
        text.shrink_to_fit();
        return text;
    }

    /// How the publisher is doing. It stays readable after close.
    ackbus::info info() const
    {
        ackbus::info info;
        detail::failure failure;
        check(failure, ackbus_publisher_info(native(), info.native()));
        return info;
    }

    /// How many exceptions have left this publisher's handlers.
    std::uint64_t handler_exceptions() const noexcept { return exceptions_ ? exceptions_->load(std::memory_order_relaxed) : 0; }

    /// Whether there is a publisher: not default-constructed, not moved from.
    explicit operator bool() const noexcept { return handle_ != nullptr; }
    /// As the C API has it; null if there is none. Its reports are the handlers': submit uses ACKBUS_MSG_MARK, so do not set it yourself.
    const ackbus_publisher *native() const noexcept { return handle_.get(); }

private:
    /// P6: memory that a running handler uses must not go, so this waits for it; a handler that destroys its own publisher cannot.
    struct closer {
        void operator()(ackbus_publisher *handle) const noexcept
        {
            ackbus_status status = ackbus_publisher_free(handle);
            if (status == ACKBUS_ERR_WRONG_THREAD) {
                try {
                    std::thread([handle] { closer()(handle); }).detach();
                } catch (const std::system_error &) {
                    // No thread to be had: the publisher stays, and goes on to deliver.
                }
                return;
            }
            while (status == ACKBUS_ERR_CALLBACK_BUSY)
                status = ackbus_publisher_free(handle); // waits a second and more
        }
    };

    publisher(ackbus_publisher *handle, std::shared_ptr<detail::exception_count> exceptions, bool takes_reports) noexcept
        : handle_(handle), exceptions_(std::move(exceptions)), takes_reports_(takes_reports)
    {
    }

    static std::string header_version()
    {
        return std::to_string(ACKBUS_VERSION_MAJOR) + '.' + std::to_string(ACKBUS_VERSION_MINOR) + '.' + std::to_string(ACKBUS_VERSION_PATCH);
    }

    void swap(publisher &other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(exceptions_, other.exceptions_);
        std::swap(takes_reports_, other.takes_reports_);
    }

    void check(const detail::failure &failure, ackbus_status status) const
    {
        if (status != ACKBUS_OK)
            failed(failure, status, persistence::not_persisted, 0);
    }

    [[noreturn]] void failed(const detail::failure &failure, ackbus_status status, persistence persistence, std::size_t accepted) const
    {
        if (!handle_)
            detail::refuse(ackbus::status::invalid_argument, "there is no publisher here: default-constructed, or moved from");
        failure.raise_as(status, persistence, accepted);
    }

    std::uint64_t publish_native(const ackbus_message &message) const
    {
        detail::failure failure;
        std::uint64_t id = 0;
        check(failure, ackbus_publisher_publish_msg(native(), &message, &id, failure.out()));
        return id;
    }

    void close_native(std::int64_t ms) const
    {
        detail::failure failure;
        check(failure, ackbus_publisher_close(native(), ms, failure.out()));
    }

    std::unique_ptr<ackbus_publisher, closer> handle_;
    std::shared_ptr<detail::exception_count> exceptions_;
    bool takes_reports_ = false;
};

/// The figures of several publishers as one OpenMetrics text, which describes each metric once. Publishers of the same name are told apart by their place in the
/// list: the second is called "name#2". Throws call_error if a pointer is null or leads to no publisher.
inline std::string metrics(const std::vector<const publisher *> &publishers)
{
    std::vector<const ackbus_publisher *> natives;
    natives.reserve(publishers.size());
    for (const publisher *bus : publishers)
        natives.push_back(bus != nullptr ? bus->native() : nullptr);
    std::string text(ACKBUS_METRICS_MAX * (natives.size() + 1), '\0');
    std::size_t length = 0;
    detail::failure failure;
    failure.check(ackbus_metrics(natives.data(), natives.size(), text.data(), text.size(), &length, failure.out()));
    text.resize(length);
    text.shrink_to_fit();
    return text;
}

} // namespace ackbus

#endif
