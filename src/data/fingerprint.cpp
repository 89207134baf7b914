#include "data/fingerprint.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/file.h"
#include "base/resource_error.h"
#include "base/stamp.h"
#include "base/stop.h"

namespace halftone::data {
namespace {

constexpr int64_t kMostFileBytes = int64_t{64} << 20;
constexpr int64_t kMostSampleBytes = int64_t{256} << 20;
constexpr int64_t kPickedSamples = 4096;

template <class T>
uint32_t add(const T* values, size_t count, uint32_t crc) {
  return crc32c(values, static_cast<int64_t>(count * sizeof(T)), crc);
}

// The path below the set's folder, so that a set may move.
std::string below(const std::string& path, const DataInfo& info) {
  std::string root = info.source;
  if (root.ends_with("%]")) root.resize(root.rfind('['));  // of a share
  if (!path.starts_with(root)) root.resize(std::min(root.size(), root.rfind('[')));
  return path.starts_with(root) ? path.substr(root.size()) : path;
}

std::string of_files(const Dataset& set) {
  uint32_t crc = 0;
  int64_t bytes = 0;
  for (int64_t i = 0; i < set.size(); ++i) {
    if (i % 256 == 0) check_stop();
    const std::string path = set.name(i);
    const std::string name = below(path, set.info());
    const int64_t size = stamp_of(path).bytes;
    crc = add(name.c_str(), name.size() + 1, crc);  // with its end, so that two names are not one
    crc = add(&size, 1, crc);
    bytes += std::max<int64_t>(size, 0);
  }
  for (int64_t i = 0; i < set.size() && bytes <= kMostFileBytes; ++i) {
    try {
      const std::string content = read_file(set.name(i));
      crc = add(content.data(), content.size(), crc);
    } catch (const Error& e) {
      rethrow_if_resource(e);
      crc = add("?", 1, crc);  // reported when its sample is due
    }
  }
  return fmt::format("{} files, {} bytes, crc32c {:08x}", set.size(), bytes, crc);
}

// Adds a sample; returns its bytes.
int64_t add_sample(const Dataset& set, int64_t index, Sample& sample, uint32_t& crc) {
  try {
    set.read(index, sample);
  } catch (const Error& e) {
    rethrow_if_resource(e);
    crc = add("?", 1, crc);
    return 1;
  }
  int64_t bytes = 0;
  if (set.info().image) {
    const Sample::Pixels& p = sample.pixels;
    const int64_t shape[] = {p.channels, p.height, p.width};
    crc = add(shape, 3, crc);
    // In the order of channels, rows and columns, however they lie.
    std::vector<uint8_t> row(static_cast<size_t>(p.width));
    for (int64_t c = 0; c < p.channels; ++c)
      for (int64_t y = 0; y < p.height; ++y) {
        const uint8_t* from = p.data + c * p.channel_stride + y * p.row_stride;
        if (p.column_stride == 1) {
          crc = add(from, row.size(), crc);
          continue;
        }
        for (size_t x = 0; x < row.size(); ++x) row[x] = from[static_cast<int64_t>(x) * p.column_stride];
        crc = add(row.data(), row.size(), crc);
      }
    bytes = p.channels * p.height * p.width;
  } else if (set.info().has_samples) {
    crc = add(sample.values.data(), sample.values.size(), crc);
    bytes = static_cast<int64_t>(sample.values.size() * sizeof(float));
  }
  crc = add(&sample.label, 1, crc);
  crc = add(sample.target.data(), sample.target.size(), crc);
  bytes += static_cast<int64_t>(sizeof(sample.label) + sample.target.size() * sizeof(float));
  if (set.info().labels == LabelKind::kPositions) {
    crc = add(sample.labels.data(), sample.labels.size(), crc);
    bytes += static_cast<int64_t>(sample.labels.size() * sizeof(int32_t));
  }
  for (size_t i = 0; i < set.info().more.size(); ++i) {
    crc = add(sample.more[i].data(), sample.more[i].size(), crc);
    bytes += static_cast<int64_t>(sample.more[i].size());
  }
  return bytes;
}

std::string of_samples(const Dataset& set) {
  uint32_t crc = 0;
  Sample sample;
  uint32_t ignored = 0;
  const int64_t size = set.size();
  const int64_t bytes = size > 0 ? add_sample(set, 0, sample, ignored) * size : 0;
  const int64_t picked = bytes <= kMostSampleBytes ? size : std::min(size, kPickedSamples);
  int64_t next_check = 0;
  for (int64_t i = 0; i < picked; ++i) {
    if (i >= next_check) {
      check_stop();
      next_check = i + 64;
    }
    // Evenly spread, the first and the last among them.
    const int64_t index =
        picked == size ? i : static_cast<int64_t>(static_cast<__int128>(i) * (size - 1) / (picked - 1));
    add_sample(set, index, sample, crc);
  }
  return fmt::format("{} samples, {} bytes, crc32c {:08x}{}", size, bytes, crc,
                     picked == size ? "" : fmt::format(" of {} of them", picked));
}

class Watched final : public Dataset {
 public:
  explicit Watched(std::unique_ptr<Dataset> base) : base_(std::move(base)) {
    info_ = base_->info();
    stamps_.reserve(static_cast<size_t>(base_->size()));
    for (int64_t i = 0; i < base_->size(); ++i) {
      if (i % 256 == 0) check_stop();
      stamps_.push_back(stamp_of(base_->name(i)));
    }
  }
  int64_t size() const override { return base_->size(); }
  std::string name(int64_t index) const override { return base_->name(index); }
  int64_t position(int64_t index) const override { return base_->position(index); }
  size_t size_class(int64_t index) const override { return base_->size_class(index); }
  std::optional<int32_t> class_of(int64_t index) const override { return base_->class_of(index); }
  void read(int64_t index, Sample& sample) const override {
    check(index);
    base_->read(index, sample);
  }
  void read_drawn(int64_t index, const Draws& draws, Sample& sample) const override {
    check(index);
    base_->read_drawn(index, draws, sample);
  }

 private:
  void check(int64_t index) const {
    const Stamp& before = stamps_.at(static_cast<size_t>(index));
    const std::string path = base_->name(index);
    // One that was not there is the reader's to name.
    if (before.bytes >= 0) check_stamp(path, stamp_of(path), before);
  }

  std::unique_ptr<Dataset> base_;
  std::vector<Stamp> stamps_;
};

}  // namespace

std::string fingerprint(const Dataset& set) {
  return set.info().files ? of_files(set) : of_samples(set);
}

std::unique_ptr<Dataset> watched(std::unique_ptr<Dataset> base) {
  if (!base->info().files) return base;
  return std::make_unique<Watched>(std::move(base));
}

}  // namespace halftone::data
