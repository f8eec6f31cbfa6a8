// What batches of reports and of events have in common.
#ifndef ACKBUS_BATCH_HPP
#define ACKBUS_BATCH_HPP

#include "../ackbus.h"

#include <cstddef>
#include <iterator>
#include <memory>

namespace ackbus::detail {

/// Element `i` of an array whose elements are `stride` bytes apart: a later library may have larger ones.
template <typename Native> const Native &element(const Native *first, std::size_t stride, std::size_t i) noexcept
{
    return *reinterpret_cast<const Native *>(reinterpret_cast<const char *>(first) + i * stride);
}

/// An owned array of the C API's, as a range of views.
template <typename Kind> class batch {
    using native_type = typename Kind::native;
    using view_type = typename Kind::view;

public:
    /// A report or an event, as a view.
    using value_type = view_type;

    /// An input iterator whose values are views.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = view_type;
        using difference_type = std::ptrdiff_t;
        using pointer = void;
        using reference = view_type;

        iterator() noexcept = default;
        view_type operator*() const noexcept { return (*of_)[at_]; }
        iterator &operator++() noexcept
        {
            ++at_;
            return *this;
        }
        iterator operator++(int) noexcept
        {
            iterator before = *this;
            ++at_;
            return before;
        }
        bool operator==(const iterator &other) const noexcept { return at_ == other.at_; }
        bool operator!=(const iterator &other) const noexcept { return at_ != other.at_; }

    private:
        friend class batch;
        iterator(const batch *of, std::size_t at) noexcept : of_(of), at_(at) {}
        const batch *of_ = nullptr;
        std::size_t at_ = 0;
    };

    /// An empty batch.
    batch() noexcept = default;
    /// Takes over what the C API handed out.
    explicit batch(typename Kind::handle *handle) noexcept : handle_(handle), first_(Kind::data(handle, &size_, &stride_)) {}

    /// The other one is then empty.
    batch(batch &&other) noexcept { swap(other); }
    /// Frees what this one held before.
    batch &operator=(batch &&other) noexcept
    {
        batch(std::move(other)).swap(*this);
        return *this;
    }

    /// How many there are.
    std::size_t size() const noexcept { return size_; }
    /// Whether there are none.
    [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
    /// Number `i`, which must be less than size().
    view_type operator[](std::size_t i) const noexcept { return view_type(element<native_type>(first_, stride_, i)); }
    /// The first.
    iterator begin() const noexcept { return {this, 0}; }
    /// Behind the last.
    iterator end() const noexcept { return {this, size_}; }

    /// As the C API has it; null if there is none.
    const typename Kind::handle *native() const noexcept { return handle_.get(); }

private:
    struct deleter {
        void operator()(typename Kind::handle *handle) const noexcept { Kind::free(handle); }
    };

    void swap(batch &other) noexcept
    {
        std::swap(handle_, other.handle_);
        std::swap(first_, other.first_);
        std::swap(size_, other.size_);
        std::swap(stride_, other.stride_);
    }

    std::unique_ptr<typename Kind::handle, deleter> handle_;
    std::size_t size_ = 0, stride_ = 0; // before first_, whose initialiser fills them in
    const native_type *first_ = nullptr;
};

} // namespace ackbus::detail

#endif
