// Several fields, an array each.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <span>
#include <utility>

#include "base/error.h"
#include "data/array.h"
#include "data/array_labels.h"

namespace halftone::data {
namespace {

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
