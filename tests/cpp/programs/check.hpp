// What the C++ tests share: a check that says where it failed, and configs for the in-memory backend.
#ifndef CHECK_HPP
#define CHECK_HPP

#include <ackbus.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

using namespace std::chrono_literals;

#define CHECK(condition)                                                                                                                             \
    do {                                                                                                                                             \
        if (!(condition)) {                                                                                                                          \
            std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);                                                           \
            std::abort();                                                                                                                            \
        }                                                                                                                                            \
    } while (0)

// The expression must throw exactly this class, with this status; `caught` holds what it was.
#define THROWS(type, expected, expression)                                                                                                           \
    do {                                                                                                                                             \
        bool threw = false;                                                                                                                          \
        try {                                                                                                                                        \
            static_cast<void>(expression);                                                                                                           \
        } catch (const ackbus::error &caught) {                                                                                                      \
            threw = true;                                                                                                                            \
            check_error(__FILE__, __LINE__, typeid(caught) == typeid(type), caught, expected);                                                       \
        }                                                                                                                                            \
        if (!threw) {                                                                                                                                \
            std::fprintf(stderr, "%s:%d: does not throw: %s\n", __FILE__, __LINE__, #expression);                                                    \
            std::abort();                                                                                                                            \
        }                                                                                                                                            \
    } while (0)

inline void check_error(const char *file, int line, bool right_class, const ackbus::error &caught, ackbus::status expected)
{
    const std::string what = caught.what();
    const std::string start = std::string(ackbus::name(expected)) + ": ";
    if (!right_class || caught.status() != expected || what.compare(0, start.size(), start) != 0 || what.size() <= start.size()) {
        std::fprintf(stderr, "%s:%d: threw %s\n", file, line, caught.what());
        std::abort();
    }
}

inline ackbus::config memory()
{
    ackbus::config config;
    config.set("servers", "memory:");
    return config;
}

#endif
