// The folder of a run: whose it is, what lies there that a run wrote, and when that may go.
//
// A run folder holds a file kMarkerName, which two things hang on. It is locked (flock) by the process that
// writes into the folder, for as long as it does. And it says that Halftone made the folder, and which
// results lie there, with their sizes and CRCs, so that nothing is ever replaced that somebody else put
// there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "data/class_map.h"
#include "data/columns.h"

namespace halftone::train {

// The names of a run's classes, in classes.txt; none when it has no such file.
data::ClassMap classes_of_run(const std::string& folder);
void write_classes(const std::string& folder, const std::vector<std::string>& names);

// What was decided on the columns of a run's table, in columns.json; empty when it has no such file, and then
// none is written.
data::ColumnPlan columns_of_run(const std::string& folder);
void write_columns(const std::string& folder, const data::ColumnPlan& plan);

inline constexpr std::string_view kMarkerName = ".halftone-run";

struct NewRun {
  std::string folder;  // empty: runs/KIND-1, -2, ..., the first that is free
  std::string kind;    // "train", "compare"
  bool overwrite = false;
  std::vector<std::string>
      reads;  // files and folders that the run reads: none may lie in a folder that it overwrites
};

// A run folder that is ours to write into while this object lives.
class RunFolder {
 public:
  // For a new run: a folder that is not there yet, or empty; with `overwrite` also one that holds nothing but
  // what runs wrote (which stays until begin()). Errors (usage): anything else; another process writes there,
  // which is named.
  static RunFolder create(const NewRun& run);
  // The errors that create() would have, but that another process writes there; nothing is made.
  static void check(const NewRun& run);
  // For a run that is continued. Errors: no such folder; another process writes there.
  static RunFolder resume(const std::string& folder);

  RunFolder(RunFolder&& other) noexcept;
  RunFolder& operator=(RunFolder&&) = delete;
  // Gives the lock back. A folder that create() made and in which nothing but a configuration lies goes
  // again.
  ~RunFolder();

  const std::string& path() const { return path_; }

  // config.yaml, unless there is one, so that a run that is killed before its first checkpoint can be started
  // again by --resume.
  void write_config(const std::string& text) const;
  // The results are about to be written: what lies there under these names, relative to the folder, is the
  // run's.
  void announce_results(const std::vector<std::string>& names) const;
  // The results were written: `names`, relative to the folder. Those of an overwritten run that are not among
  // them go.
  void record_results(const std::vector<std::string>& names);

 private:
  RunFolder(std::string path, int fd, bool made) : path_(std::move(path)), fd_(fd), made_(made) {}

  std::string path_;
  int fd_ = -1;
  bool made_ = false;
};

// Removes what a run left in `folder`, ended or not, but for its results (model.onnx), which stay until
// others take their place. In folders of comparisons the runs in it go whole. A missing folder is fine.
void remove_run(const std::string& folder);

// A run begins, or goes on: config.yaml says how (nothing is written when `config` is empty), and
// summary.json, which says that it has ended, is gone.
void mark_running(const std::string& folder, const std::string& config);

bool has_ended(const std::string& folder);  // it has a summary.json
bool has_checkpoint(const std::string& folder);

// Whether a run writes a file of this name (relative to its folder) besides its results' data.
bool is_name_of_a_run(std::string_view name);

// Whether the folder lies in that of a comparison, as those that compare makes do.
bool is_in_comparison(const std::string& folder);

// "halftone train --resume DIR", quoted for a shell.
std::string resume_command(const std::string& folder);

}  // namespace halftone::train
