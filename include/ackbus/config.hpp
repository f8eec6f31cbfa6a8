// What a publisher is made of.
#ifndef ACKBUS_CONFIG_HPP
#define ACKBUS_CONFIG_HPP

#include "error.hpp"
#include "handlers.hpp"

#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ackbus {

/// An option's value: text, a number, a switch, or a duration of whole milliseconds for the options whose keys end in `_ms`.
class option_value {
public:
    /// A C string. Must not be null.
    option_value(const char *text) : text_(text) {} // NOLINT(google-explicit-constructor)
    /// Text.
    option_value(std::string_view text) : text_(text) {} // NOLINT(google-explicit-constructor)
    /// Text.
    option_value(std::string text) noexcept : text_(std::move(text)) {} // NOLINT(google-explicit-constructor)

    /// A whole number, or a switch. Not for char: 'a' would become "97".
    template <typename T, typename = std::enable_if_t<std::is_arithmetic_v<T> && !std::is_same_v<T, char>>>
    option_value(T value) // NOLINT(google-explicit-constructor)
    {
        static_assert(std::is_integral_v<T>, "ackbus: options have whole numbers");
        if constexpr (std::is_same_v<T, bool>)
            text_ = value ? "true" : "false";
        else
            text_ = std::to_string(value);
    }

    /// A duration that is whole milliseconds.
    template <typename Rep, typename Period>
    option_value(std::chrono::duration<Rep, Period> time) // NOLINT(google-explicit-constructor)
    {
        static_assert(std::is_convertible_v<std::chrono::duration<Rep, Period>, std::chrono::milliseconds>, "ackbus: options have whole milliseconds");
        text_ = std::to_string(std::chrono::milliseconds(time).count());
    }

    /// As the C API takes it.
    const std::string &text() const noexcept { return text_; }

private:
    std::string text_;
};

/// Options, topic rules and handlers. A publisher copies it, so it may be changed, used again or destroyed after connect. A copy has the same handlers.
///
/// Every function that sets something returns the config, throws call_error for what is not allowed, and then has changed nothing.
class config {
public:
    /// The defaults, and no handlers.
    config() : native_(ackbus_config_new()) {}
    /// The same options, rules and handlers.
    config(const config &other) : native_(ackbus_config_clone(other.native())), handlers_(other.handlers_), report_is_set_(other.report_is_set_) {}
    /// The other one is then empty: what is set on it throws call_error.
    config(config &&other) noexcept = default;
    /// The same options, rules and handlers.
    config &operator=(config other) noexcept
    {
        native_.swap(other.native_);
        std::swap(handlers_, other.handlers_);
        report_is_set_ = other.report_is_set_;
        return *this;
    }
    ~config() = default;

    /// Sets an option; docs/CONFIGURATION.md lists them all.
    config &set(std::string_view key, const option_value &value)
    {
        detail::failure failure;
        failure.check(ackbus_config_set(native_.get(), c_text(key, "key").c_str(), c_text(value.text(), "value").c_str(), failure.out()));
        if (key == "report")
            report_is_set_ = true;
        return *this;
    }

    /// The option's value as text; secrets come back as "***". Throws call_error for an unknown key.
    std::string get(std::string_view key) const
    {
        const std::string name = c_text(key, "key");
        detail::failure failure;
        std::size_t size = 0;
        failure.check(ackbus_config_get(native_.get(), name.c_str(), nullptr, 0, &size, failure.out()));
        std::string value(size + 1, '\0');
        failure.check(ackbus_config_get(native_.get(), name.c_str(), value.data(), value.size(), nullptr, failure.out()));
        value.pop_back();
        return value;
    }

    /// Says how the topics that match `pattern` are handled: `*` stands for one token, `>` for all that follow, the most specific pattern wins.
    config &topic(std::string_view pattern, std::string_view key, const option_value &value)
    {
        detail::failure failure;
        failure.check(ackbus_config_set_topic(native_.get(), c_text(pattern, "pattern").c_str(), c_text(key, "key").c_str(),
                                              c_text(value.text(), "value").c_str(), failure.out()));
        return *this;
    }

    /// The same for several options: `topic("orders.>", {{"stream", "ORDERS"}, {"create", "if_missing"}})`. After an error those before the bad one are set.
    config &topic(std::string_view pattern, std::initializer_list<std::pair<std::string_view, option_value>> options)
    {
        for (const auto &[key, value] : options)
            topic(pattern, key, value);
        return *this;
    }

    /// Sets the handler for reports: for all of them, or for those that on_error does not take. Unless the option `report` is set, it is then `all`.
    ///
    /// Handlers are called as ackbus.hpp says. A publisher without this one and on_error is polled.
    config &on_reports(report_handler handler)
    {
        handlers_.on_reports = std::move(handler);
        return *this;
    }

    /// Sets the handler for failures: for each report that is not ok. Without on_reports nobody gets the others, not even those of report_always.
    config &on_error(report_handler handler)
    {
        handlers_.on_error = std::move(handler);
        return *this;
    }

    /// Sets the handler for events. Without it they wait for publisher::poll_events.
    config &on_event(event_handler handler)
    {
        handlers_.on_event = std::move(handler);
        return *this;
    }

    /// Sets the handler for exceptions that leave the other handlers; it runs where they ran. One that leaves this handler is counted and dropped.
    config &on_handler_exception(exception_handler handler)
    {
        handlers_.on_exception = std::move(handler);
        return *this;
    }

    /// As the C API has it, without the handlers; null after a move.
    const ackbus_config *native() const noexcept { return native_.get(); }

private:
    friend class publisher;

    struct deleter {
        void operator()(ackbus_config *config) const noexcept { ackbus_config_free(config); }
    };

    /// With its NUL byte. A NUL inside would cut the text in silence.
    static std::string c_text(std::string_view text, const char *what)
    {
        if (text.find('\0') != std::string_view::npos)
            detail::refuse(status::invalid_argument, std::string("the ").append(what).append(" has a NUL byte in it"));
        return std::string(text);
    }

    std::unique_ptr<ackbus_config, deleter> native_;
    detail::handlers handlers_;
    bool report_is_set_ = false;
};

} // namespace ackbus

#endif
