#include "two_units.hpp"

ackbus::publisher connect()
{
    ackbus::set_log(ackbus::log_level::warn, [](ackbus::log_level, std::string_view, std::string_view) {});
    return ackbus::publisher::connect(ackbus::config().set("servers", "memory:").on_error([](const ackbus::report &) {}));
}
