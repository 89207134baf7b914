#include "train/run_folder.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "train/sample_scores.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;

bool is_checkpoint(std::string_view name) {
  return name.starts_with("checkpoint-") && name.ends_with(".htck");
}

bool is_of_a_run(std::string_view name) {
  if (name == "events.jsonl" || name == "summary.json" || name == "config.yaml" ||
      name == kSampleScoresFile)
    return true;
  if (name.starts_with("events.out.tfevents.") && name.find(".halftone.") != std::string_view::npos)
    return true;
  for (const std::string_view suffix : {".damaged", ".tmp"})
    if (name.ends_with(suffix)) name.remove_suffix(suffix.size());
  return name == "best.htck" || is_checkpoint(name);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  if (!fs::exists(folder, error)) return names;
  fs::directory_iterator it(folder, error);
  for (const fs::directory_iterator end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error) throw input_error("cannot list the folder {}: {}", folder, error.message());
  return names;
}

void remove(const std::string& path) {
  std::error_code error;
  fs::remove(path, error);
  if (error) throw input_error("cannot remove {}: {}", path, error.message());
}

// Whether there is a run that has ended.
bool refuse_unfinished(const std::string& folder) {
  std::string newest;
  bool ended = false;
  for (const std::string& name : names_in(folder)) {
    ended = ended || name == "summary.json";
    if (is_checkpoint(name)) newest = std::max(newest, name);
  }
  if (!newest.empty() && !ended)
    throw usage_error(
        "{} holds a run that has not ended (its newest checkpoint is {}): go on with it by --resume {}, give "
        "another "
        "--out, or remove it",
        folder, newest, folder);
  return ended;
}

}  // namespace

void remove_run(const std::string& folder) {
  // The summary last: until then it is a run that has ended. No checkpoint is ever there without its configuration.
  for (const std::string& name : names_in(folder))
    if (name != "summary.json" && name != "config.yaml" && is_of_a_run(name)) remove(folder + "/" + name);
  remove(folder + "/config.yaml");
  remove(folder + "/summary.json");
}

void announce_new_run(const std::string& folder, const std::string& config) {
  refuse_unfinished(folder);
  if (config.empty() || fs::exists(folder + "/config.yaml")) return;
  make_folder(folder);
  write_file_atomically(folder + "/config.yaml", config);
}

bool clear_for_new_run(const std::string& folder) {
  const bool ended = refuse_unfinished(folder);
  remove_run(folder);
  return ended;
}

void mark_running(const std::string& folder, const std::string& config) {
  if (!config.empty()) write_file_atomically(folder + "/config.yaml", config);
  remove(folder + "/summary.json");
}

}  // namespace halftone::train
