// The files of a run's folder: read, written and removed. run_folder.h has the contracts.
#include <algorithm>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/listing.h"
#include "base/shell_word.h"
#include "train/run_folder.h"
#include "train/run_marker.h"
#include "train/staged_result.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;
using namespace run_marker;

// Of a comparison: the runs in it, whole.
void remove_whole(const std::string& folder) {
  remove_run(folder);
  for (const Result& r : marker_in(folder).results) remove(folder + "/" + r.name);
  remove(folder + "/" + std::string(kModel));
  remove(marker_of(folder));
  std::error_code ignored;  // what else lies there stays, with the folder
  fs::remove(folder, ignored);
}

}  // namespace

data::ClassMap classes_of_run(const std::string& folder) {
  const std::string path = folder + "/classes.txt";
  return fs::exists(path) ? data::read_class_file(path) : data::ClassMap();
}

void write_classes(const std::string& folder, const std::vector<std::string>& names) {
  if (!names.empty()) write_file_atomically(folder + "/classes.txt", data::class_file_text(names));
}

data::ColumnPlan columns_of_run(const std::string& folder) {
  constexpr int64_t kMostBytes = int64_t{1} << 28;
  const std::string path = folder + "/columns.json";
  return fs::exists(path) ? data::plan_from_json(read_file(path, kMostBytes), path) : data::ColumnPlan();
}

void write_columns(const std::string& folder, const data::ColumnPlan& plan) {
  if (!plan.empty()) write_file_atomically(folder + "/columns.json", data::to_json(plan) + "\n");
}

void remove_run(const std::string& folder) {
  if (has_marker(folder))
    for (const Result& r : marker_in(folder).results)
      if (r.bytes == kBeingWritten) remove(folder + "/" + r.name + ".tmp");
  remove(folder + "/" + std::string(kModel) + ".tmp");
  remove_staged(folder);
  // The summary last: until then it is a run that has ended. No checkpoint is ever there without its
  // configuration.
  for (const std::string& name : names_in_if_there(folder)) {
    const std::string path = folder + "/" + name;
    std::error_code ignored;
    if (fs::is_directory(fs::symlink_status(path, ignored))) {
      if (has_marker(path)) remove_whole(path);
    } else if (name != "summary.json" && name != "config.yaml" && name != kMarkerName && is_of_a_run(name)) {
      remove(path);
    }
  }
  if (names_in_if_there(folder).empty()) return;
  // Before what follows takes their place: a power failure must not bring back the one without the other.
  sync_folder_of(folder + "/config.yaml");
  remove(folder + "/config.yaml");
  remove(folder + "/summary.json");
  sync_folder_of(folder + "/config.yaml");
}

void mark_running(const std::string& folder, const std::string& config) {
  if (!config.empty()) write_file_atomically(folder + "/config.yaml", config);
  remove(folder + "/summary.json");
}

bool has_ended(const std::string& folder) {
  std::error_code ignored;
  return fs::exists(folder + "/summary.json", ignored);
}

bool has_checkpoint(const std::string& folder) {
  const std::vector<std::string> names = names_in_if_there(folder);
  return std::any_of(names.begin(), names.end(), is_checkpoint);
}

bool is_name_of_a_run(std::string_view name) {
  return is_of_a_run(name) || name == kModel || name == "model.onnx.tmp" || name == kStagingName ||
         name.starts_with("events.out.tfevents.");
}

bool is_in_comparison(const std::string& folder) {
  std::error_code ignored;
  const fs::path own = fs::absolute(folder, ignored).lexically_normal();
  const fs::path parent = (own.has_filename() ? own : own.parent_path()).parent_path();
  if (!has_marker(parent.string())) return false;
  const std::string kind = marker_in(parent.string()).kind;
  // An earlier version did not record it; a comparison has no configuration of its own.
  return kind.empty() ? !fs::exists(parent / "config.yaml", ignored) : kind == "compare";
}

std::string resume_command(const std::string& folder) {
  return "halftone train --resume " + shell_word(folder);
}

}  // namespace halftone::train
