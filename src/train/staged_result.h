// A run's result, complete and tested before it takes the place of an earlier one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::train {

// The folder in a run's folder in which the result is written first.
inline constexpr std::string_view kStagingName = ".halftone-result";

class StagedResult {
 public:
  // Makes `run_folder`/.halftone-result, without what a process that was killed left there.
  explicit StagedResult(const std::string& run_folder);
  StagedResult(const StagedResult&) = delete;
  StagedResult& operator=(const StagedResult&) = delete;
  // What was not published goes.
  ~StagedResult();

  const std::string& path() const { return path_; }
  // Moves the files `names`, relative to path(), into the run's folder, in this order: a network after its
  // data.
  void publish(const std::vector<std::string>& names);

 private:
  std::string run_folder_;
  std::string path_;
};

// Removes what a process that was killed left of a result.
void remove_staged(const std::string& run_folder);

}  // namespace halftone::train
