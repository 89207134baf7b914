// Arrays of several files as one.
#include <algorithm>
#include <utility>

#include "base/error.h"
#include "data/array.h"

namespace halftone::data {
namespace {

// Where each part begins, and where the last one ends.
template <class Parts, class SizeOf>
std::vector<int64_t> starts_of(const Parts& parts, const SizeOf& size_of) {
  std::vector<int64_t> starts{0};
  for (const auto& part : parts)
    if (__builtin_add_overflow(starts.back(), size_of(part), &starts.emplace_back()))
      throw input_error("the arrays of the files are too large together");
  return starts;
}

// Which part has element `at`, which is inside.
size_t part_at(const std::vector<int64_t>& starts, int64_t at) {
  return static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), at) - starts.begin()) - 1;
}

class JoinedBytes final : public Bytes {
 public:
  JoinedBytes(std::vector<std::shared_ptr<const Bytes>> parts, std::string name)
      : Bytes(std::move(name)),
        parts_(std::move(parts)),
        starts_(starts_of(parts_, [](const auto& p) { return p->size(); })) {}
  int64_t size() const override { return starts_.back(); }
  void read(int64_t offset, int64_t count, void* out) const override {
    HT_ASSERT(offset >= 0 && count >= 0 && offset <= size() - count, "bytes {} + {} of {} in {}", offset,
              count, size(), name());
    auto* to = static_cast<std::byte*>(out);
    while (count > 0) {
      const size_t part = part_at(starts_, offset);
      const int64_t bytes = std::min(count, starts_[part + 1] - offset);
      parts_[part]->read(offset - starts_[part], bytes, to);
      offset += bytes;
      count -= bytes;
      to += bytes;
    }
  }

 private:
  std::vector<std::shared_ptr<const Bytes>> parts_;
  std::vector<int64_t> starts_;
};

}  // namespace

Array joined(std::vector<Array> arrays) {
  HT_ASSERT(!arrays.empty() && !arrays[0].shape.empty());
  if (arrays.size() == 1) return std::move(arrays[0]);
  const Array& first = arrays[0];
  std::vector<std::shared_ptr<const Bytes>> parts;
  for (const Array& array : arrays) {
    const auto sample = [](const Array& a) { return Shape(a.shape.begin() + 1, a.shape.end()); };
    HT_ASSERT(array.type == first.type && sample(array) == sample(first) && array.text == nullptr,
              "{} and {}", array.name, first.name);
    if (array.big_endian != first.big_endian)
      throw input_error("{}: its numbers have another byte order than those of {}; save both alike",
                        array.name, first.name);
    parts.push_back(array.bytes);
  }
  const std::vector<int64_t> starts = starts_of(arrays, [](const Array& a) { return a.shape[0]; });
  Array all = first;
  all.name = fmt::format("{} and {} more", first.name, arrays.size() - 1);
  all.shape[0] = starts.back();
  all.bytes = std::make_shared<JoinedBytes>(std::move(parts), all.name);
  all.place = [starts, arrays](int64_t sample) {
    const size_t part = part_at(starts, sample);
    return place_of(arrays[part], sample - starts[part]);
  };
  return all;
}

}  // namespace halftone::data
