/// \namespace ackbus
/// ackbus for C++: header-only C++17 over the C API in ackbus.h, with no dependency but the library.
///
/// SPDX-License-Identifier: Apache-2.0
///
///     ackbus::config config;
///     config.set("servers", "nats://127.0.0.1:4222").on_error([](const ackbus::report &r) { std::cerr << r.topic() << ": " << r.text() << '\n'; });
///     auto bus = ackbus::publisher::connect(config);
///     bus.publish("orders.created", "{}"); // returns at once while there is room; the bus owes exactly one outcome
///     bus.flush(10s);
///
/// The rules of ackbus.h hold here too. What C++ adds:
///
/// Errors. What fails throws an ackbus::error, whose classes are in ackbus/error.hpp. After an error the call had no effect, unless its comment says otherwise.
///
/// Ownership. config, publisher, reports and events own what they hold. The last three are move-only. A publisher that was moved from is empty, and every call
/// on it throws a call_error; so is a default-constructed one. report, event, bytes_view and message are views: what they show must outlive them.
///
/// Threads. All const functions of publisher may be called from any thread at the same time. Everything else belongs to one thread at a time.
///
/// Time. Every time is a std::chrono duration. As a timeout, zero and less do not wait, and ackbus::forever waits without limit. Fractions of a millisecond are
/// rounded up.
///
/// Handlers. They run on a thread of the library's, one call at a time per publisher, and may publish; calls that wait throw a call_error with
/// status::wrong_thread. Waiting for a future in a handler never ends. An exception that leaves a handler ends that one call: it is counted
/// (publisher::handler_exceptions), handed to config::on_handler_exception, and costs no other report its handler and no future its outcome. A handler is
/// destroyed when the last config and publisher that have it are gone; close() of the last publisher is enough if no config has it any more.
#ifndef ACKBUS_HPP
#define ACKBUS_HPP

#include "ackbus/bytes.hpp"     // IWYU pragma: export
#include "ackbus/config.hpp"    // IWYU pragma: export
#include "ackbus/error.hpp"     // IWYU pragma: export
#include "ackbus/event.hpp"     // IWYU pragma: export
#include "ackbus/figures.hpp"   // IWYU pragma: export
#include "ackbus/log.hpp"       // IWYU pragma: export
#include "ackbus/message.hpp"   // IWYU pragma: export
#include "ackbus/publisher.hpp" // IWYU pragma: export
#include "ackbus/report.hpp"    // IWYU pragma: export
#include "ackbus/status.hpp"    // IWYU pragma: export
#include "ackbus/time.hpp"      // IWYU pragma: export

#endif
