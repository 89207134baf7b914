#include "data/array.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "data/array_labels.h"
#include "data/geometry.h"
#include "num/half.h"

namespace halftone::data {
namespace {

static_assert(std::endian::native == std::endian::little);

// Elements a chunk: large enough that a read costs nothing, small enough for any stack of threads.
constexpr int64_t kChunk = 4096;

template <class T>
T load(const char* p, bool big_endian) {
  char raw[sizeof(T)];
  for (size_t i = 0; i < sizeof(T); ++i) raw[i] = p[big_endian ? sizeof(T) - 1 - i : i];
  T value;
  std::memcpy(&value, raw, sizeof(T));
  return value;
}

// Calls use(i, value) for each element, value being a float, double, int64_t or uint64_t.
template <class Use>
void for_each(const Array& array, int64_t first, int64_t count, const Use& use) {
  const int64_t width = size_bytes(array.type);
  std::vector<char> raw(static_cast<size_t>(std::min(count, kChunk) * width));
  for (int64_t done = 0; done < count; done += kChunk) {
    const int64_t n = std::min(kChunk, count - done);
    array.bytes->read((first + done) * width, n * width, raw.data());
    for (int64_t i = 0; i < n; ++i) {
      const char* p = raw.data() + i * width;
      const int64_t at = done + i;
      const bool big = array.big_endian;
      switch (array.type) {
        case Element::kBool:
          use(at, static_cast<int64_t>(*p != 0));
          break;
        case Element::kU8:
          use(at, static_cast<int64_t>(static_cast<uint8_t>(*p)));
          break;
        case Element::kI8:
          use(at, static_cast<int64_t>(static_cast<int8_t>(*p)));
          break;
        case Element::kU16:
          use(at, static_cast<int64_t>(load<uint16_t>(p, big)));
          break;
        case Element::kI16:
          use(at, static_cast<int64_t>(load<int16_t>(p, big)));
          break;
        case Element::kU32:
          use(at, static_cast<int64_t>(load<uint32_t>(p, big)));
          break;
        case Element::kI32:
          use(at, static_cast<int64_t>(load<int32_t>(p, big)));
          break;
        case Element::kU64:
          use(at, load<uint64_t>(p, big));
          break;
        case Element::kI64:
          use(at, load<int64_t>(p, big));
          break;
        case Element::kF16:
          use(at, num::widen(num::Fp16{load<uint16_t>(p, big)}));
          break;
        case Element::kBf16:
          use(at, num::widen(num::Bf16{load<uint16_t>(p, big)}));
          break;
        case Element::kF32:
          use(at, load<float>(p, big));
          break;
        case Element::kF64:
          use(at, load<double>(p, big));
          break;
      }
    }
  }
}

bool matches(const Shape& wanted, const Shape& have) {
  for (size_t i = 0; i < 3; ++i)
    if (wanted[i] > 0 && wanted[i] != have[i]) return false;
  return true;
}

// Whether the three dimensions of a sample are height, width, channels.
bool channels_last(const Shape& dims, bool image, const OpenOptions& options, const std::string& name) {
  const Shape last = {dims[2], dims[0], dims[1]};
  const bool network_last = options.network_layout == Layout::kChannelsLast;
  Shape wanted = options.sample_shape;
  if (wanted.size() == 3) {
    if (network_last) wanted = {wanted[2], wanted[0], wanted[1]};
    // Where both fit, the data is as the network takes it.
    if (matches(wanted, network_last ? last : dims)) return network_last;
    if (matches(wanted, network_last ? dims : last)) return !network_last;
  }
  if (!image) return network_last;
  const auto is_channels = [](int64_t d) { return d == 1 || d == 3 || d == 4; };
  if (is_channels(dims[0]) != is_channels(dims[2])) return is_channels(dims[2]);
  throw input_error("{}: images of {} may have their channels first or last; say which (layout)", name,
                    to_string(dims));
}

class ArrayDataset final : public Dataset {
 public:
  ArrayDataset(const std::string& kind, const std::string& source, Array x, std::optional<Array> y,
               const OpenOptions& options)
      : x_(std::move(x)) {
    info_.kind = kind;
    info_.source = source;
    if (x_.shape.empty()) throw input_error("{}: a single number is not a set of samples", x_.name);
    size_ = x_.shape[0];
    if (size_ == 0) throw input_error("{}: it holds no samples", x_.name);
    HT_ASSERT(x_.bytes->size() == array_bytes(x_.type, x_.shape, x_.name), "{}", x_.name);
    Shape native(x_.shape.begin() + 1, x_.shape.end());
    if (elements(native) == 0)
      throw input_error("{}: samples of shape {} are empty", x_.name, to_string(native));
    sample_elements_ = elements(native);
    const bool image = x_.type == Element::kU8 && native.size() <= 3;
    set_shape(std::move(native), image, options);
    if (y) labels_.open(std::move(*y), size_, x_.name, options, info_);
  }

  int64_t size() const override { return size_; }
  std::string name(int64_t index) const override { return place_of(x_, index); }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size_, "sample {} of {}", index, size_);
    labels_.get(index, sample);
    if (info_.image) {
      read_pixels(index, sample);
    } else {
      read_values(index, sample);
    }
  }

 private:
  void set_shape(Shape native, bool image, const OpenOptions& options) {
    if (native.size() == 3) last_ = channels_last(native, image, options, x_.name);
    if (last_) native = {native[2], native[0], native[1]};
    if (!image) {
      native_ = native;
      const bool network_last = options.network_layout == Layout::kChannelsLast && native.size() == 3;
      if (network_last) native = {native[1], native[2], native[0]};
      resolve_value_shape(native, options, info_.source, info_);
      permuted_ = native.size() == 3 && last_ != network_last;
      return;
    }
    if (native.size() <= 1) {
      info_.notes.emplace_back(
          "bytes are pixels, scaled from 0..255 to 0..1 (numbers that are none: save them as another type)");
      // A flattened image: the network's own shape, if it has as many pixels, says how to read it.
      const Shape& wanted = options.sample_shape;
      const bool known = !wanted.empty() && *std::min_element(wanted.begin(), wanted.end()) > 0;
      if (known && wanted.size() == 3 && elements(wanted) == sample_elements_) {
        // In the order in which the network takes it.
        native = wanted;
        last_ = options.network_layout == Layout::kChannelsLast;
        if (last_) native = {wanted[2], wanted[0], wanted[1]};
      } else if (known && wanted.size() == 2 && elements(wanted) == sample_elements_) {
        native = {1, wanted[0], wanted[1]};
      } else if (wanted.size() <= 1) {
        native = {1, 1, sample_elements_};
      } else {
        throw input_error("{}: the network wants samples of shape {}, but these have {} numbers",
                          info_.source, to_string(wanted), sample_elements_);
      }
    } else if (native.size() == 2) {
      native.insert(native.begin(), 1);
    }
    native_ = native;
    resolve_image_shape(native, options, info_.source, info_);
  }

  void read_pixels(int64_t index, Sample& sample) const {
    const uint8_t* data = x_.bytes->memory();
    if (data != nullptr) {
      data += index * sample_elements_;
    } else {
      sample.buffer.resize(static_cast<size_t>(sample_elements_));
      x_.bytes->read(index * sample_elements_, sample_elements_, sample.buffer.data());
      data = sample.buffer.data();
    }
    const int64_t c = native_[0];
    const int64_t h = native_[1];
    const int64_t w = native_[2];
    sample.pixels =
        last_ ? Sample::Pixels{data, c, h, w, 1, w * c, c} : Sample::Pixels{data, c, h, w, h * w, w, 1};
    convert_channels(info_.geometry[0], sample.pixels, sample.buffer);
  }

  void read_values(int64_t index, Sample& sample) const {
    sample.values.resize(static_cast<size_t>(sample_elements_));
    if (!permuted_) {
      read_floats(x_, index * sample_elements_, sample.values);
    } else {
      std::vector<float> raw(static_cast<size_t>(sample_elements_));
      read_floats(x_, index * sample_elements_, raw);
      const auto channels = static_cast<size_t>(native_[0]);
      const auto plane = static_cast<size_t>(native_[1] * native_[2]);
      for (size_t c = 0; c < channels; ++c)
        for (size_t p = 0; p < plane; ++p) {
          const size_t first = c * plane + p;
          const size_t last = p * channels + c;
          sample.values[last_ ? first : last] = raw[last_ ? last : first];
        }
    }
    for (const float v : sample.values)
      if (!std::isfinite(v))
        throw input_error("{}: it holds a value that is not a finite number in fp32", name(index));
  }

  Array x_;
  int64_t size_ = 0;
  int64_t sample_elements_ = 0;
  Shape native_;           // of a sample, channels first
  bool last_ = false;      // channels last in the file
  bool permuted_ = false;  // values: the channels are at the other end for the network
  ArrayLabels labels_;
};

int64_t samples_of(const Array& array) {
  if (array.shape.empty()) throw input_error("{}: a single number is not a set of samples", array.name);
  return array.shape[0];
}

// Several fields: samples and labels as above, and others as they are.
class FieldsDataset final : public Dataset {
 public:
  FieldsDataset(const std::string& kind, const std::string& path, const ArrayChoice& choice,
                const std::function<Array(const std::string&)>& read, const OpenOptions& options)
      : path_(path) {
    std::optional<Array> y;
    if (!choice.y.empty()) y = read(choice.y);
    if (!choice.x.empty()) {
      samples_ = make_array_dataset(kind, path, read(choice.x), std::move(y), options);
      info_ = samples_->info();
      size_ = samples_->size();
      first_ = choice.x_name;
    } else {
      info_.kind = kind;
      info_.source = path;
      info_.has_samples = false;
    }
    info_.samples_name = choice.x_name;
    info_.labels_name = choice.y_name;
    for (const ArrayChoice::More& more : choice.more) add(read(more.stored), more.field, options);
    if (samples_ != nullptr) return;
    HT_ASSERT(!info_.more.empty(), "{}", path);
    info_.shape = info_.more.front().shape;
    if (y) labels_.open(std::move(*y), size_, first_, options, info_);
  }

  int64_t size() const override { return size_; }
  std::string name(int64_t index) const override {
    return samples_ != nullptr ? samples_->name(index) : fmt::format("{}, sample {}", path_, index);
  }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size_, "sample {} of {}", index, size_);
    if (samples_ != nullptr) {
      samples_->read(index, sample);
    } else {
      labels_.get(index, sample);
    }
    sample.more.resize(more_.size());
    for (size_t i = 0; i < more_.size(); ++i) {
      const MoreField& field = info_.more[i];
      sample.more[i].resize(static_cast<size_t>(elements(field.shape) * size_bytes(field.dtype)));
      if (more_[i].labels) {
        more_[i].labels->get_bytes(index, sample.more[i]);
      } else {
        read_numbers(more_[i].array, field, index, sample.more[i]);
      }
    }
  }

 private:
  struct More {
    Array array;  // of numbers
    std::unique_ptr<ArrayLabels> labels;
  };

  void add(Array array, const Field& wanted, const OpenOptions& options) {
    const int64_t samples = samples_of(array);
    if (size_ < 0) {
      size_ = samples;
      first_ = wanted.name;
      if (size_ == 0) throw input_error("{}: it holds no samples", array.name);
    }
    if (samples != size_)
      throw input_error("{}: {} has {} samples, but {} has {}", path_, wanted.name, samples, first_, size_);
    More more;
    MoreField field;
    static_cast<Field&>(field) = wanted;
    if (wanted.role == FieldRole::kLabel) {  // targets are numbers as they are
      more.labels = std::make_unique<ArrayLabels>();
      field = more.labels->open_field(std::move(array), size_, first_, wanted, options, info_.notes);
    } else {
      more.array = std::move(array);
    }
    info_.more.push_back(std::move(field));
    more_.push_back(std::move(more));
  }

  void read_numbers(const Array& array, const MoreField& field, int64_t index,
                    std::vector<std::byte>& to) const {
    const auto count = static_cast<size_t>(elements(field.shape));
    const int64_t first = index * static_cast<int64_t>(count);
    const auto fail = [&](const auto& value, const char* why) {
      throw input_error("{}: {} {}", place_of(array, index), value, why);
    };
    if (is_float(array.type)) {
      HT_ASSERT(field.dtype == DType::kF32, "{}", field.name);
      const std::span<float> out(reinterpret_cast<float*>(to.data()), count);
      read_floats(array, first, out);
      for (const float v : out) {
        if (!std::isfinite(v)) fail(v, "is not a finite number in fp32");
        if (field.role == FieldRole::kWeight && v < 0) fail(v, "is no weight; expected 0 or more");
      }
      return;
    }
    std::vector<int64_t> numbers(count);
    read_integers(array, first, numbers);
    for (size_t i = 0; i < count; ++i) {
      const int64_t v = numbers[i];
      switch (field.dtype) {
        case DType::kF32: {
          const auto x = static_cast<float>(v);
          if (static_cast<double>(x) != static_cast<double>(v) || std::abs(v) > int64_t{1} << 53)
            fail(v, "is not the same number in fp32, which the network takes");
          if (field.role == FieldRole::kWeight && v < 0) fail(v, "is no weight; expected 0 or more");
          reinterpret_cast<float*>(to.data())[i] = x;
          break;
        }
        case DType::kI64:
          reinterpret_cast<int64_t*>(to.data())[i] = v;
          break;
        case DType::kI32:
          if (v < std::numeric_limits<int32_t>::min() || v > std::numeric_limits<int32_t>::max())
            fail(v, "is beyond the range of int32, which the network takes");
          reinterpret_cast<int32_t*>(to.data())[i] = static_cast<int32_t>(v);
          break;
        case DType::kU8:
          if (field.truth && v != 0 && v != 1) fail(v, "is neither 0 nor 1, and the network takes bool");
          if (v < 0 || v > 255) fail(v, "is beyond the range of uint8, which the network takes");
          reinterpret_cast<uint8_t*>(to.data())[i] = static_cast<uint8_t>(v);
          break;
        default:
          HT_ASSERT(false, "{}", field.name);
      }
    }
  }

  std::string path_;
  std::string first_;  // whose samples are counted
  int64_t size_ = -1;
  std::unique_ptr<Dataset> samples_;  // with the labels; null: there are none
  ArrayLabels labels_;                // then
  std::vector<More> more_;            // as info_.more
};

}  // namespace

int64_t size_bytes(Element type) {
  switch (type) {
    case Element::kBool:
    case Element::kU8:
    case Element::kI8:
      return 1;
    case Element::kU16:
    case Element::kI16:
    case Element::kF16:
    case Element::kBf16:
      return 2;
    case Element::kU32:
    case Element::kI32:
    case Element::kF32:
      return 4;
    case Element::kU64:
    case Element::kI64:
    case Element::kF64:
      return 8;
  }
  return 0;
}

int64_t array_bytes(Element type, const Shape& shape, const std::string& name) {
  int64_t n = size_bytes(type);
  bool empty = false;
  for (const int64_t d : shape) {
    if (d < 0 || (d > 0 && __builtin_mul_overflow(n, d, &n)))
      throw input_error("{}: the shape {} has no valid size", name, to_string(shape));
    empty = empty || d == 0;
  }
  return empty ? 0 : n;
}

void read_floats(const Array& array, int64_t first, std::span<float> out) {
  const auto count = static_cast<int64_t>(out.size());
  if (array.type == Element::kF32 && !array.big_endian) {
    array.bytes->read(first * 4, count * 4, out.data());
    return;
  }
  for_each(array, first, count,
           [&](int64_t i, auto value) { out[static_cast<size_t>(i)] = static_cast<float>(value); });
}

void read_integers(const Array& array, int64_t first, std::span<int64_t> out) {
  for_each(array, first, static_cast<int64_t>(out.size()), [&](int64_t i, auto value) {
    int64_t& to = out[static_cast<size_t>(i)];
    if constexpr (std::is_floating_point_v<decltype(value)>) {
      // 2^53: beyond it a double no longer counts in ones. Also refuses what is not finite.
      if (!(std::fabs(value) <= 0x1p53) ||
          static_cast<double>(static_cast<int64_t>(value)) != static_cast<double>(value))
        throw input_error("{}: element {} is {}, which is no whole number", array.name, first + i, value);
      to = static_cast<int64_t>(value);
    } else {
      if (value > static_cast<decltype(value)>(std::numeric_limits<int64_t>::max()))
        throw input_error("{}: element {} is {}, which is too large", array.name, first + i, value);
      to = static_cast<int64_t>(value);
    }
  });
}

std::string place_of(const Array& array, int64_t sample) {
  return array.place ? array.place(sample) : fmt::format("{}, sample {}", array.name, sample);
}

std::unique_ptr<Dataset> make_array_dataset(const std::string& kind, const std::string& source, Array x,
                                            std::optional<Array> y, const OpenOptions& options) {
  return std::make_unique<ArrayDataset>(kind, source, std::move(x), std::move(y), options);
}

std::unique_ptr<Dataset> make_fields_dataset(const std::string& kind, const std::string& path,
                                             const std::vector<ArrayHeader>& arrays,
                                             const std::function<Array(const std::string& stored)>& read,
                                             const OpenOptions& options) {
  return make_fields_dataset(kind, path, options.choose_arrays(arrays, path), read, options);
}

std::unique_ptr<Dataset> make_fields_dataset(const std::string& kind, const std::string& path,
                                             const ArrayChoice& choice,
                                             const std::function<Array(const std::string& stored)>& read,
                                             const OpenOptions& options) {
  return std::make_unique<FieldsDataset>(kind, path, choice, read, options);
}

}  // namespace halftone::data
