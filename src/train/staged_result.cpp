#include "train/staged_result.h"

#include <exception>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "base/listing.h"
#include "base/resource_error.h"

namespace halftone::train {
namespace fs = std::filesystem;

void remove_staged(const std::string& run_folder) {
  remove_tree(run_folder + "/" + std::string(kStagingName));
}

StagedResult::StagedResult(const std::string& run_folder)
    : run_folder_(run_folder), path_(run_folder + "/" + std::string(kStagingName)) {
  remove_staged(run_folder);
  make_folder(path_);
}

StagedResult::~StagedResult() {
  try {
    remove_tree(path_);
  } catch (const std::exception&) {
    // The next run in this folder removes it.
  }
}

void StagedResult::publish(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    const std::string to = run_folder_ + "/" + name;
    const fs::path parent = fs::path(to).parent_path();
    if (!parent.empty()) make_folder(parent.string());
    std::error_code error;
    fs::rename(path_ + "/" + name, to, error);
    if (error) throw file_error(error.value(), "cannot write " + to);
    sync_folder_of(to);
  }
  remove_staged(run_folder_);
}

}  // namespace halftone::train
