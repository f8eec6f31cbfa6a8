// From the C API's callbacks to handlers and futures. Nothing here is for users but the handlers' types.
#ifndef ACKBUS_HANDLERS_HPP
#define ACKBUS_HANDLERS_HPP

#include "batch.hpp"
#include "error.hpp"
#include "event.hpp"
#include "report.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <future>
#include <memory>

namespace ackbus {

/// Gets one report.
using report_handler = std::function<void(const report &)>;
/// Gets one event.
using event_handler = std::function<void(const event &)>;
/// Gets what a handler threw.
using exception_handler = std::function<void(std::exception_ptr)>;

namespace detail {

struct handlers {
    report_handler on_reports, on_error;
    event_handler on_event;
    exception_handler on_exception;

    bool takes_reports() const noexcept { return on_reports || on_error; }
};

/// How many exceptions left a publisher's handlers. Shared by the publisher and its desk, so that the desk, with the handlers, can end at close.
using exception_count = std::atomic<std::uint64_t>;

/// A future's other end. Its message carries the address as its tag, and a mark, so no table of futures is needed. It is the report's alone: P1 says that there
/// is exactly one.
class pending_ack {
public:
    std::future<ack> future() { return promise_.get_future(); }

    /// Where the message's tag goes.
    std::uint64_t tag() const noexcept { return reinterpret_cast<std::uintptr_t>(this); }
    static std::unique_ptr<pending_ack> of_tag(std::uint64_t tag) noexcept
    {
        return std::unique_ptr<pending_ack>(reinterpret_cast<pending_ack *>(static_cast<std::uintptr_t>(tag)));
    }

    void settle(const report &report) noexcept
    {
        try {
            if (report.ok())
                promise_.set_value(ack_of(report));
            else
                promise_.set_exception(with_error(facts_of(report), report.text(), [](const auto &error) { return std::make_exception_ptr(error); }));
        } catch (...) {
            // Out of memory. The promise ends unkept, and the future says so: std::future_errc::broken_promise.
        }
    }

private:
    static error::facts facts_of(const report &report) noexcept
    {
        error::facts facts;
        facts.status = report.status();
        facts.persistence = report.persistence();
        facts.server_code = report.server_code();
        facts.retriable = ackbus_status_is_retriable(report.native().status);
        return facts;
    }

    std::promise<ack> promise_;
};

/// What the C API's user_data points to: the handlers of one publisher.
class desk {
public:
    desk(const handlers &handlers, std::shared_ptr<exception_count> exceptions) : handlers_(handlers), exceptions_(std::move(exceptions)) {}

    /// Sets the callbacks that this publisher needs. The library then owns the desk, as often as it has callbacks.
    static void attach(ackbus_config *config, const handlers &handlers, const std::shared_ptr<exception_count> &exceptions)
    {
        const auto shared = std::make_shared<desk>(handlers, exceptions);
        if (handlers.takes_reports())
            attach(config, ackbus_config_on_reports, on_reports, shared);
        if (handlers.on_event)
            attach(config, ackbus_config_on_event, on_event, shared);
    }

private:
    using owner = std::shared_ptr<desk>;

    template <typename Set, typename Callback> static void attach(ackbus_config *config, Set set, Callback callback, const owner &shared)
    {
        auto user_data = std::make_unique<owner>(shared);
        failure failure;
        failure.check(set(config, callback, user_data.get(), finalize, failure.out()));
        user_data.release(); // the library's, from now on to finalize
    }

    static desk &of(void *user_data) noexcept { return **static_cast<owner *>(user_data); }
    static void finalize(void *user_data) noexcept { delete static_cast<owner *>(user_data); }

    // T13: noexcept, so that no exception gets into the library, whatever is changed below.
    static void on_reports(void *user_data, const ackbus_report *reports, std::size_t count, std::size_t stride) noexcept
    {
        desk &self = of(user_data);
        for (std::size_t i = 0; i < count; i++)
            self.take(report(element(reports, stride, i)));
    }

    static void on_event(void *user_data, const ackbus_event *native) noexcept
    {
        desk &self = of(user_data);
        self.call(self.handlers_.on_event, event(*native));
    }

    void take(const report &report) noexcept
    {
        if ((report.native().flags & ACKBUS_REPORT_MARK) != 0)
            pending_ack::of_tag(report.tag())->settle(report);
        else if (!report.ok() && handlers_.on_error)
            call(handlers_.on_error, report);
        else if (handlers_.on_reports)
            call(handlers_.on_reports, report);
    }

    template <typename Handler, typename Argument> void call(const Handler &handler, const Argument &argument) noexcept
    {
        try {
            handler(argument);
        } catch (...) {
            exceptions_->fetch_add(1, std::memory_order_relaxed);
            tell(std::current_exception());
        }
    }

    void tell(const std::exception_ptr &exception) const noexcept
    {
        try {
            if (handlers_.on_exception)
                handlers_.on_exception(exception);
        } catch (...) {
            exceptions_->fetch_add(1, std::memory_order_relaxed);
        }
    }

    const handlers handlers_;
    const std::shared_ptr<exception_count> exceptions_;
};

} // namespace detail
} // namespace ackbus

#endif
