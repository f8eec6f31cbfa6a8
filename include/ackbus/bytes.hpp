// Bytes and texts that belong to somebody else.
#ifndef ACKBUS_BYTES_HPP
#define ACKBUS_BYTES_HPP

#include "../ackbus.h"

#include <cstddef>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ackbus {

namespace detail {

template <typename T>
inline constexpr bool is_byte = std::is_same_v<std::remove_cv_t<T>, char> || std::is_same_v<std::remove_cv_t<T>, signed char> ||
                                std::is_same_v<std::remove_cv_t<T>, unsigned char> || std::is_same_v<std::remove_cv_t<T>, std::byte>;

/// The type of the elements that std::data() gives, if it gives any.
template <typename Range> using element_of = std::remove_pointer_t<decltype(std::data(std::declval<const Range &>()))>;

inline std::string_view view(ackbus_str text) noexcept { return {text.data, text.len}; }
inline ackbus_str str(std::string_view text) noexcept { return {text.data(), text.size()}; }

} // namespace detail

/// Bytes that belong to somebody else: a payload. Made of a C string (without its NUL byte), a std::string, a std::string_view, any array-like container of
/// char, signed char, unsigned char or std::byte (std::vector, std::array, std::span), or a pointer and a length.
class bytes_view {
public:
    /// No bytes.
    constexpr bytes_view() noexcept = default;

    /// `size` bytes from `data` on. `data` may be null if `size` is 0.
    constexpr bytes_view(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}

    /// A C string, without its NUL byte. Must not be null.
    constexpr bytes_view(const char *text) noexcept : bytes_view(std::string_view(text)) {} // NOLINT(google-explicit-constructor)
    /// Not of a null pointer: it would be taken for a C string.
    bytes_view(std::nullptr_t) = delete;

    /// The elements of a container. Built-in arrays are left out: as a text they would have their NUL byte in them.
    template <typename Range, typename = std::enable_if_t<!std::is_array_v<Range> && detail::is_byte<detail::element_of<Range>>>>
    constexpr bytes_view(const Range &range) noexcept : data_(std::data(range)), size_(std::size(range)) // NOLINT(google-explicit-constructor)
    {
    }

    /// The first byte; may be null if there is none.
    constexpr const void *data() const noexcept { return data_; }
    /// How many bytes.
    constexpr std::size_t size() const noexcept { return size_; }
    /// Whether there are none.
    constexpr bool empty() const noexcept { return size_ == 0; }

    /// The same bytes as text.
    std::string_view text() const noexcept { return {static_cast<const char *>(data_), size_}; }
    /// The first byte, as std::byte.
    const std::byte *begin() const noexcept { return static_cast<const std::byte *>(data_); }
    /// The end, as std::byte.
    const std::byte *end() const noexcept { return begin() + size_; } // NOLINT: null + 0 is defined in C++

private:
    const void *data_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace ackbus

#endif
