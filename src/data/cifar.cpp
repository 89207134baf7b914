#include "data/cifar.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/listing.h"
#include "data/bytes.h"
#include "data/geometry.h"
#include "data/labels.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPixels = 3 * 32 * 32;

// Bytes of labels before the pixels: 1 for CIFAR-10, 2 for CIFAR-100, 0 if the size fits neither.
int64_t label_bytes(const std::string& path, int64_t size) {
  const bool ten = size > 0 && size % (kPixels + 1) == 0;
  const bool hundred = size > 0 && size % (kPixels + 2) == 0;
  // Sizes that fit both (multiples of 3073 x 3074) are told apart by the name: CIFAR-10's files are all
  // called batch.
  if (ten && hundred) return fs::path(path).filename().string().find("batch") != std::string::npos ? 1 : 2;
  return ten ? 1 : hundred ? 2 : 0;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

void check_one_set(const fs::path& root, const std::string& found, const std::string& name) {
  if (!found.empty() && is_file(root / name))
    throw input_error("{} has two sets, {} and {}; name the file", root.string(), found,
                      (root / name).string());
}

// The files of a split, in order.
std::vector<std::string> files_of(const std::string& folder, const std::string& split) {
  const fs::path root(folder);
  std::vector<std::string> files;
  if (split == "train") {
    for (const std::string& name : names_in(folder))
      if (name.starts_with("data_batch_") && name.ends_with(".bin")) files.push_back((root / name).string());
    check_one_set(root, files.empty() ? "" : files.front(), "train.bin");
    if (files.empty() && is_file(root / "train.bin")) files.push_back((root / "train.bin").string());
  } else if (split == "test") {
    for (const char* name : {"test_batch.bin", "test.bin"}) {
      check_one_set(root, files.empty() ? "" : files.front(), name);
      if (files.empty() && is_file(root / name)) files.push_back((root / name).string());
    }
  }
  return files;
}

std::vector<std::string> lines_of(const fs::path& path) {
  std::vector<std::string> lines;
  if (!is_file(path)) return lines;
  std::string line;
  for (const char c : read_file(path.string(), 1 << 20)) {
    if (c == '\n') {
      if (!line.empty()) lines.push_back(line);
      line.clear();
    } else if (c != '\r') {
      line += c;
    }
  }
  if (!line.empty()) lines.push_back(line);
  return lines;
}

class Cifar final : public Dataset {
 public:
  Cifar(const std::vector<std::string>& files, const std::string& source, const OpenOptions& options) {
    info_.source = source;
    for (const std::string& file : files) {
      Part part{file_bytes(file), size_};
      const int64_t bytes = part.bytes->size();
      const int64_t labels = label_bytes(file, bytes);
      if (labels == 0)
        throw input_error(
            "{}: its {} bytes are no whole number of CIFAR records (3073 bytes each, CIFAR-100: 3074)", file,
            bytes);
      if (label_bytes_ != 0 && labels != label_bytes_)
        throw input_error("{}: it is CIFAR-{}, unlike {}", file, labels == 1 ? "10" : "100", files[0]);
      label_bytes_ = labels;
      size_ += bytes / (kPixels + labels);
      parts_.push_back(std::move(part));
    }
    info_.kind = label_bytes_ == 1 ? "CIFAR-10" : "CIFAR-100";
    resolve_image_shape({3, 32, 32}, options, source, info_);
    if (options.labels) set_labels(options, fs::path(files[0]).parent_path());
  }

  int64_t size() const override { return size_; }
  std::optional<int32_t> class_of(int64_t index) const override { return labels_.class_of(index); }
  std::string name(int64_t index) const override {
    const Part& part = part_of_sample(index);
    return fmt::format("{}, record {}", part.bytes->name(), index - part.first);
  }

  void read(int64_t index, Sample& sample) const override {
    HT_ASSERT(index >= 0 && index < size_, "sample {} of {}", index, size_);
    labels_.get(index, sample);
    const Part& part = part_of_sample(index);
    sample.buffer.resize(kPixels);
    part.bytes->read((index - part.first) * (kPixels + label_bytes_) + label_bytes_, kPixels,
                     sample.buffer.data());
    sample.pixels = {sample.buffer.data(), 3, 32, 32, 32 * 32, 32, 1};
    convert_channels(info_.geometry[0], sample.pixels, sample.buffer);
  }

 private:
  struct Part {
    std::shared_ptr<const Bytes> bytes;
    int64_t first;  // its first sample's index
  };

  const Part& part_of_sample(int64_t index) const {
    size_t i = parts_.size() - 1;
    while (parts_[i].first > index) --i;
    return parts_[i];
  }

  void set_labels(const OpenOptions& options, const fs::path& folder) {
    const bool coarse = options.y_key == "coarse";
    if (coarse && label_bytes_ == 1)
      throw usage_error("{}: CIFAR-10 has no coarse labels; CIFAR-100 has", info_.source);
    if (!coarse && !options.y_key.empty() && options.y_key != "fine")
      throw usage_error("{}: there are no labels called {} in CIFAR; there are fine and coarse", info_.source,
                        options.y_key);
    const int64_t count = label_bytes_ == 1 ? 10 : coarse ? 20 : 100;
    RawLabels raw;
    raw.kind = LabelForm::Kind::kIntegers;
    raw.where = info_.source;
    raw.classes = count;
    raw.integers.resize(static_cast<size_t>(size_));
    for (int64_t i = 0; i < size_; ++i) {
      const Part& part = part_of_sample(i);
      uint8_t bytes[2];
      part.bytes->read((i - part.first) * (kPixels + label_bytes_), label_bytes_, bytes);
      raw.integers[static_cast<size_t>(i)] = label_bytes_ == 1 || coarse ? bytes[0] : bytes[1];
    }
    const char* names = label_bytes_ == 1 ? "batches.meta.txt"
                        : coarse          ? "coarse_label_names.txt"
                                          : "fine_label_names.txt";
    name_classes(raw, lines_of(folder / names), options);
    const std::function<std::string(int64_t)> sample_name = [this](int64_t i) { return name(i); };
    labels_ = resolve_labels(std::move(raw), options, sample_name, info_);
  }

  // The format's own numbers count; names make it possible to number them as a class map does.
  void name_classes(RawLabels& raw, std::vector<std::string> names, const OpenOptions& options) {
    if (static_cast<int64_t>(names.size()) != raw.classes) return;
    raw.kind = LabelForm::Kind::kNames;
    raw.numbered = true;
    for (int64_t i = 0; i < size_; ++i) {
      const int64_t label = raw.integers[static_cast<size_t>(i)];
      raw.name_of.push_back(label < raw.classes ? static_cast<int32_t>(label) : -1);
      if (label < raw.classes) continue;
      const std::string why = fmt::format("{}: the label {} is out of range; {} has {} classes, 0 to {}",
                                          name(i), label, info_.kind, raw.classes, raw.classes - 1);
      if (!options.skip_bad) throw Error(ErrorKind::kInput, why);
      raw.bad.emplace(i, why);
    }
    raw.names = std::move(names);
  }

  std::vector<Part> parts_;
  int64_t size_ = 0;
  int64_t label_bytes_ = 0;
  Labels labels_;
};

}  // namespace

bool is_cifar_file(const std::string& path) {
  return path.ends_with(".bin") && label_bytes(path, file_bytes(path)->size()) != 0;
}

std::vector<std::string> cifar_splits(const std::string& folder) {
  std::vector<std::string> splits;
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return splits;  // one file has none
  for (const char* split : {"train", "test"})
    if (!files_of(folder, split).empty()) splits.emplace_back(split);
  return splits;
}

std::unique_ptr<Dataset> open_cifar(const Spec& spec, const OpenOptions& options) {
  std::error_code ignored;
  if (!fs::is_directory(spec.path, ignored)) {
    if (!spec.split.empty())
      throw input_error("{} is one file, so there is no [{}] in it", spec.path, spec.split);
    return std::make_unique<Cifar>(std::vector<std::string>{spec.path}, spec.path, options);
  }
  const std::string split = choose_split(spec, options.splits, cifar_splits(spec.path));
  return std::make_unique<Cifar>(files_of(spec.path, split), fmt::format("{}[{}]", spec.path, split),
                                 options);
}

}  // namespace halftone::data
