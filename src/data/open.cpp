// How the kind of a folder or file is recognised, and what is done with every set after it is opened: range,
// cache, check.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <filesystem>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "base/resource_error.h"
#include "base/stop.h"
#include "data/array_files.h"
#include "data/cache.h"
#include "data/cifar.h"
#include "data/csv.h"
#include "data/dataset.h"
#include "data/fingerprint.h"
#include "data/folder.h"
#include "data/idx.h"
#include "data/image.h"
#include "data/image_folder.h"
#include "data/image_list.h"
#include "data/mask_folder.h"
#include "data/npy.h"
#include "data/safetensors.h"
#include "data/sized_arrays.h"
#include "data/spec.h"
#include "data/text_dataset.h"
#include "data/text_source.h"
#include "par/pool.h"
#include "par/start_threads.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

// One row a kind. `recognises` looks at the path alone; the first kind that does is taken.
struct Format {
  bool (*recognises)(const std::string& path, bool folder);
  std::unique_ptr<Dataset> (*open)(const Spec& spec, const OpenOptions& options);
  std::vector<std::string> (*splits)(const std::string& path);
  unsigned options;  // of its own: those below
};
constexpr unsigned kXKey = 1, kYKey = 2, kCsv = 4, kText = 8, kLabelColumn = 16;

std::vector<std::string> idx_splits_of(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? idx_splits(path) : std::vector<std::string>{};
}

std::vector<std::string> no_splits(const std::string&) {
  return {};
}

bool is_folder_of_images(const std::string& path, bool folder) {
  return folder && holds_image(path);
}

// Files by their contents; those whose contents say nothing (CIFAR, CSV) by their names. Folders of arrays
// before folders of images.
const Format kFormats[] = {
    {[](const std::string& path, bool folder) {
       return folder ? !idx_splits(path).empty() : is_idx_file(path);
     },
     open_idx, idx_splits_of, 0},
    {[](const std::string& path, bool folder) {
       return folder ? !cifar_splits(path).empty() : is_cifar_file(path);
     },
     open_cifar, cifar_splits, kYKey},
    {[](const std::string& path, bool folder) { return folder ? is_npy_folder(path) : is_npy_file(path); },
     open_npy, npy_splits, kXKey | kYKey},
    {[](const std::string& path, bool folder) { return !folder && is_npz_file(path); }, open_npz, npz_splits,
     kXKey | kYKey},
    {[](const std::string& path, bool folder) { return !folder && is_csv_file(path); }, open_csv, no_splits,
     kCsv | kText | kLabelColumn},
    {[](const std::string& path, bool folder) { return !folder && is_json_lines_file(path); }, open_text,
     no_splits, kText | kLabelColumn},
    {[](const std::string& path, bool folder) { return !folder && is_conll_file(path); }, open_text,
     no_splits, kText | kLabelColumn},
    {[](const std::string& path, bool folder) { return !folder && is_txt_file(path); }, open_text, no_splits,
     kText},
    {[](const std::string& path, bool folder) { return !folder && is_safetensors_file(path); },
     open_safetensors, safetensors_splits, kXKey | kYKey},
    {[](const std::string& path, bool folder) { return folder && is_mask_folder(path); }, open_mask_folder,
     mask_splits, 0},
    {is_folder_of_images, open_image_folder, folder_splits, 0},
    {[](const std::string& path, bool folder) { return folder && is_folder_of_arrays(path); },
     open_array_files, array_files_splits, kXKey | kYKey},
    {[](const std::string& path, bool folder) { return !folder && has_image_name(path); }, open_image_list,
     no_splits, 0},
    {[](const std::string& path, bool folder) { return folder && is_text_folder(path); }, open_text,
     text_splits, kText},
};
// Which are no files themselves: patterns, standard input.
const Format kImageList{nullptr, open_image_list, no_splits, 0};

// What is given and means nothing for this kind of data.
void note_unused_options(const Format& format, const Spec& spec, const OpenOptions& o, DataInfo& info) {
  std::error_code ignored;
  // A single array beside its labels.
  const bool keys = format.open != open_npy || fs::is_directory(spec.path, ignored);
  const unsigned taken = keys ? format.options : 0;
  const auto note = [&](bool given, unsigned belongs_to, const char* option) {
    if (given && (taken & belongs_to) == 0)
      info.notes.push_back(
          fmt::format("warning: {} has no effect on {}, which is {}", option, spec.path, info.kind));
  };
  note(!o.x_key.empty(), kXKey, "--x-key");
  note(!o.y_key.empty(), kYKey, "--y-key");
  note(!o.label_column.empty(), kLabelColumn, "--label-column");
  note(!o.label_separator.empty(), kCsv, "--label-separator");
  note(o.csv_header != "auto", kCsv, "--csv-header");
  note(o.csv_delimiter != "auto", kCsv, "--csv-delimiter");
  note(o.csv_decimal != "auto", kCsv, "--csv-decimal");
  note(!o.columns.exclude.empty(), kCsv, "--exclude-columns");
  note(!o.columns.standardize.empty(), kCsv, "--standardize");
  note(!o.columns.one_hot.empty(), kCsv, "--one-hot");
  note(!o.columns.codes.empty(), kCsv, "--codes");
  note(o.columns.unknown_is_zero, kCsv, "--unknown-category");
  note(!o.text.columns.empty(), kText, "--text");
  note(o.text.unit != "auto", kText, "--text-sample");
  note(o.text.task != TextTask::kAuto, kText, "--task");
}

// A folder of .npy is one set; other arrays in it are none of its own.
void note_unread_arrays(const Format& format, const Spec& spec, DataInfo& info) {
  std::error_code ignored;
  if (format.open != open_npy || !fs::is_directory(spec.path, ignored)) return;
  const std::vector<std::string> beside = arrays_beside_npy(spec.path);
  if (!beside.empty())
    info.notes.push_back(fmt::format("warning: {} is read for its .npy files alone, and not for {}",
                                     spec.path, some_of(beside, 5)));
}

// Folders beside those for training and validation are no classes, and are said.
void note_unread_folders(const Format& format, const Spec& spec, DataInfo& info) {
  std::error_code ignored;
  if ((format.open != open_image_folder && format.open != open_text) || !fs::is_directory(spec.path, ignored))
    return;
  if (format.splits(spec.path).empty()) return;
  const std::vector<std::string> beside = folders_beside_splits(spec.path);
  if (!beside.empty())
    info.notes.push_back(fmt::format("beside the folders for training and validation in {}, not read: {}",
                                     spec.path, some_of(beside, 5)));
}

const Format& format_of(const std::string& path) {
  if (is_image_list(path)) return kImageList;
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error && status.type() == fs::file_type::none) throw file_error(error.value(), path);
  if (!fs::exists(status)) throw input_error("{}: no such file or folder", path);
  const bool folder = fs::is_directory(status);
  // Before any reader opens it: a FIFO would keep it waiting.
  if (!folder && !fs::is_regular_file(status))
    throw input_error("{}: it is neither a file nor a folder (a device, a FIFO or a socket)", path);
  for (const Format& format : kFormats)
    if (format.recognises(path, folder)) return format;
  throw input_error(
      "{}: no data of a known kind; expected class folders of images, IDX, CIFAR binary, .npy, "
      ".npz, .safetensors (one file, or a folder of them), .csv, text (.jsonl, .txt or folders of .txt), or "
      "(without "
      "labels) an image ({})",
      path, image_kinds());
}

// False: the sample is bad. Errors that are not its file's fault are passed on.
bool can_read(const Dataset& set, int64_t index, Sample& sample, std::string* why = nullptr) {
  try {
    set.read(index, sample);
    return true;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    if (why != nullptr) *why = error.what();
    return false;
  }
}

// Reads every sample once and leaves out those that fail. The result is in order, whatever the threads do.
std::unique_ptr<Dataset> without_bad(std::unique_ptr<Dataset> set, const OpenOptions& options,
                                     DataInfo& info) {
  constexpr int64_t kAtATime = 64;
  constexpr size_t kReasons = 10;
  const int64_t size = set->size();
  // A byte each, so that threads may write side by side.
  std::vector<uint8_t> bad(static_cast<size_t>(size), 0);
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;  // that is no sample's fault
  const auto check = [&] {
    Sample sample;
    try {
      for (int64_t first = next.fetch_add(kAtATime); first < size; first = next.fetch_add(kAtATime)) {
        check_stop();
        for (int64_t i = first; i < std::min(size, first + kAtATime); ++i)
          if (!can_read(*set, i, sample)) bad[static_cast<size_t>(i)] = 1;
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
      next = size;
    }
  };
  {
    const int count = options.threads > 0 ? options.threads : par::available_threads();
    std::vector<std::thread> threads;
    par::start_threads(
        threads, count - 1, [&](int) { check(); }, [&] { next = size; }, "threads that read data",
        "--loader-threads", 1);
    check();
    for (std::thread& thread : threads) thread.join();
  }
  if (failure) std::rethrow_exception(failure);
  std::vector<int64_t> good;
  for (int64_t i = 0; i < size; ++i) {
    if (bad[static_cast<size_t>(i)] == 0) {
      good.push_back(i);
      continue;
    }
    ++info.skipped;
    if (info.skipped_why.size() == kReasons) continue;
    // Keeping every reason could take more memory than the data.
    Sample sample;
    std::string why;
    if (!can_read(*set, i, sample, &why)) info.skipped_why.push_back(std::move(why));
  }
  if (good.empty())
    throw input_error("{}: all of its {} samples are bad; the first: {}", info.source, size,
                      info.skipped_why.at(0));
  if (info.skipped == 0) return set;
  return subset(std::move(set), std::move(good));
}

// The set under the information that the steps of opening have gathered.
class Opened final : public Dataset, public KeepsImages {
 public:
  // `cache`: of the sets behind it.
  Opened(std::unique_ptr<Dataset> base, DataInfo info, ImageCache* cache)
      : base_(std::move(base)), cache_(cache) {
    info_ = std::move(info);
  }
  int64_t size() const override { return base_->size(); }
  void read(int64_t index, Sample& sample) const override { base_->read(index, sample); }
  void read_drawn(int64_t index, const Draws& draws, Sample& sample) const override {
    base_->read_drawn(index, draws, sample);
  }
  std::string name(int64_t index) const override { return base_->name(index); }
  int64_t position(int64_t index) const override { return base_->position(index); }
  size_t size_class(int64_t index) const override { return base_->size_class(index); }
  std::optional<int32_t> class_of(int64_t index) const override { return base_->class_of(index); }
  ImageCache* image_cache() const override { return cache_; }

 private:
  std::unique_ptr<Dataset> base_;
  ImageCache* cache_;
};

}  // namespace

std::unique_ptr<Dataset> open_dataset(const std::string& text, const OpenOptions& options) {
  const Spec spec = parse_spec(text);
  const Format& format = format_of(spec.path);
  std::unique_ptr<Dataset> set = watched(format.open(spec, options));
  DataInfo info = set->info();
  note_unused_options(format, spec, options, info);
  note_unread_arrays(format, spec, info);
  note_unread_folders(format, spec, info);
  if (spec.range && !is_text(*set)) {  // which has taken it
    const auto [begin, end] = resolve_range(*spec.range, set->size(), info.source);
    const std::vector<int64_t> mixed = mixed_classes(*set);
    std::vector<int64_t> indices(mixed.begin() + begin, mixed.begin() + end);
    std::sort(indices.begin(), indices.end());
    set = subset(std::move(set), std::move(indices));
    info.source += fmt::format("[{}:{}]", begin, end);
  }
  if (spec.share) {
    std::vector<int64_t> indices = share_of(*set, *spec.share);
    set = subset(std::move(set), std::move(indices));
    info.source += text_of(*spec.share);
  }
  const bool decodes = info.kind.find("images") != std::string::npos;
  ImageCache* cache = nullptr;
  if (decodes && options.cache_bytes > 0) {
    set = cached(std::move(set), options.cache_bytes, !options.random_crops, options.resize);
    cache = image_cache(*set);
  }
  if (options.skip_bad) set = without_bad(std::move(set), options, info);
  return std::make_unique<Opened>(std::move(set), std::move(info), cache);
}

std::vector<std::string> splits_of(const std::string& text) {
  const Spec spec = parse_spec(text);
  return format_of(spec.path).splits(spec.path);
}

FileOptions file_options_of(const std::string& text) {
  std::error_code ignored;
  const Spec spec = parse_spec(text);
  if (!is_image_list(spec.path) && !fs::exists(spec.path, ignored)) return {};
  const Format& format = format_of(spec.path);
  FileOptions o;
  o.keys = (format.options & (kXKey | kYKey)) == (kXKey | kYKey);
  o.csv = (format.options & kCsv) != 0;
  const bool conll = !fs::is_directory(spec.path, ignored) && is_conll_file(spec.path);
  o.columns = (format.options & kLabelColumn) != 0 && !conll;
  o.text_sample = (format.options & kText) != 0 && (format.options & kLabelColumn) == 0;
  return o;
}

}  // namespace halftone::data
