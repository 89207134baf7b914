// Samples and labels that are an array each.
#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "data/array.h"
#include "data/array_labels.h"
#include "data/geometry.h"

namespace halftone::data {
namespace {

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

}  // namespace

std::unique_ptr<Dataset> make_array_dataset(const std::string& kind, const std::string& source, Array x,
                                            std::optional<Array> y, const OpenOptions& options) {
  return std::make_unique<ArrayDataset>(kind, source, std::move(x), std::move(y), options);
}

}  // namespace halftone::data
