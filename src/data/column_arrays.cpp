#include "data/column_arrays.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "data/text_labels.h"

namespace halftone::data {
namespace {

using As = ColumnGroup::As;

class ColumnArrays {
 public:
  explicit ColumnArrays(const ReadTable& from) : from_(from) {}

  Array read(const ColumnGroup& group) const {
    Array array;
    std::vector<std::string> names;
    for (const size_t c : group.columns) names.push_back(from_.name(c));
    array.name = fmt::format("{}, {}", from_.path, fmt::join(names, ", "));
    array.shape = group.shape;
    array.shape.insert(array.shape.begin(), from_.samples);
    const bool one = group.columns.size() == 1;
    const size_t first = group.columns.front();
    array.place = [places = from_.places, one, first](int64_t i) {
      return one ? places->cell(i, first) : places->line(i);
    };
    array.bad = std::make_shared<const std::map<int64_t, std::string>>(from_.bad);
    if (group.as == As::kLabels && from_.cells[first].texts_wanted && one) {
      TextLabels labels{
          .where = fmt::format("{}, {}", from_.path, column_of(from_.table, static_cast<int64_t>(first))),
          .path = from_.path,
          .cells = from_.cells[first].texts,
          .decimal = from_.table.decimal,
          .place = array.place,
          .of_first_sample = of_first_line(from_.table, 0),
          .bad = from_.bad};
      array.text = std::make_shared<const TextLabels>(std::move(labels));
      return array;
    }
    const bool whole =
        group.as == As::kIntegers || group.as == As::kTruths || (group.as == As::kLabels && all_whole(group));
    if (whole) {
      fill<int64_t>(group, array);
      array.type = Element::kI64;
      if (group.as == As::kTruths) array = as_bytes(std::move(array));
    } else {
      fill<float>(group, array);
      array.type = Element::kF32;
    }
    return array;
  }

 private:
  bool all_whole(const ColumnGroup& group) const {
    for (const size_t c : group.columns) {
      if (!from_.cells[c].codes.empty()) continue;
      for (const double x : from_.cells[c].numbers)
        if (x != std::floor(x) || std::fabs(x) >= kMostWhole) return false;
    }
    return true;
  }

  template <class T>
  void fill(const ColumnGroup& group, Array& array) const {
    int64_t width = 0;
    for (const size_t c : group.columns) width += from_.seen.columns[c].width;
    HT_ASSERT(width == elements(group.shape), "{} numbers for {}", width, group.wanted_by);
    std::vector<T> values(static_cast<size_t>(width * from_.samples), T{0});
    size_t to = 0;
    for (int64_t row = 0; row < from_.samples; ++row) {
      const auto i = static_cast<size_t>(row);
      for (const size_t c : group.columns) {
        const Cells& cells = from_.cells[c];
        if (cells.codes.empty()) {
          values[to++] = number<T>(cells.numbers[i], c, row);
        } else if (cells.prepared->kind == Preparation::kCodes) {
          values[to++] = static_cast<T>(std::max(cells.codes[i], 0));
        } else {
          if (cells.codes[i] >= 0) values[to + static_cast<size_t>(cells.codes[i])] = T{1};
          to += static_cast<size_t>(from_.seen.columns[c].width);
        }
      }
    }
    const auto bytes = values.size() * sizeof(T);
    std::string raw(bytes, '\0');
    std::memcpy(raw.data(), values.data(), bytes);
    array.bytes = memory_bytes(std::move(raw), array.name);
  }

  template <class T>
  T number(double x, size_t c, int64_t row) const {
    if constexpr (std::is_floating_point_v<T>) {
      return static_cast<T>(x);
    } else {
      if (x == std::floor(x) && std::fabs(x) < kMostWhole) return static_cast<T>(x);
      if (from_.bad.contains(row)) return 0;
      throw input_error(
          "{}: {} is no whole number, which {} takes; --codes {} numbers the column's values as categories",
          from_.places->cell(row, c), x, from_.cells[c].wanted_by, from_.name(c));
    }
  }

  static Array as_bytes(Array array) {
    const auto* numbers = reinterpret_cast<const int64_t*>(array.bytes->memory());
    const size_t count = static_cast<size_t>(array.bytes->size()) / sizeof(int64_t);
    std::string raw(count, '\0');
    for (size_t i = 0; i < count; ++i) {
      if (numbers[i] != 0 && numbers[i] != 1)
        throw input_error(
            "{}: {} is neither 0 nor 1, and the network takes bool",
            place_of(array, static_cast<int64_t>(i) / (static_cast<int64_t>(count) / array.shape[0])),
            numbers[i]);
      raw[i] = static_cast<char>(numbers[i]);
    }
    array.type = Element::kU8;
    array.bytes = memory_bytes(std::move(raw), array.name);
    return array;
  }

  const ReadTable& from_;
};

}  // namespace

Array column_array(const ColumnGroup& group, const ReadTable& table) {
  return ColumnArrays(table).read(group);
}

}  // namespace halftone::data
