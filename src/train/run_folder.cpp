#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "base/descriptor.h"
#include "base/file.h"
#include "base/listing.h"
#include "base/resource_error.h"
#include "halftone/printable.h"
#include "train/run_marker.h"
#include "train/staged_result.h"

namespace halftone::train {
namespace {

namespace fs = std::filesystem;
using namespace run_marker;

// Of what lies in `folder`, below `prefix`, the first that no run wrote; empty: there is none.
std::string foreign_file(const std::string& folder, const std::string& prefix, const Marker& marker) {
  for (const std::string& entry : names_in_if_there(folder + "/" + prefix)) {
    const std::string name = prefix + entry;
    const std::string path = folder + "/" + name;
    std::error_code ignored;
    const fs::file_status status = fs::symlink_status(path, ignored);
    if (fs::is_directory(status)) {
      if (prefix.empty() && entry == kStagingName) continue;
      std::string inside;
      if (has_marker(path)) {  // a run of a comparison
        inside = foreign_file(path, "", marker_in(path));
        if (!inside.empty()) inside = name + "/" + inside;
      } else if (std::any_of(marker.results.begin(), marker.results.end(),
                             [&](const Result& r) { return r.name.starts_with(printable(name) + "/"); })) {
        inside = foreign_file(folder, name + "/", marker);
      } else if (!names_in_if_there(path).empty()) {  // of a run that was killed when it began
        inside = name;
      }
      if (!inside.empty()) return inside;
    } else if (!fs::is_regular_file(status)) {
      return name;
    } else if (!(prefix.empty() && is_of_a_run(name)) && !is_unfinished(name, marker) &&
               !is_unchanged(folder, name, marker)) {
      return name;
    }
  }
  return "";
}

bool is_inside(const std::string& path, const std::string& folder) {
  std::error_code error;
  const fs::path base = fs::weakly_canonical(folder, error);
  const fs::path full = error ? fs::path() : fs::weakly_canonical(path, error);
  if (error || path.empty()) return false;
  const auto [rest, ignored] = std::mismatch(base.begin(), base.end(), full.begin(), full.end());
  return rest == base.end() || (rest->empty() && std::next(rest) == base.end());
}

// Error unless a new run may take this folder, which is there.
void check_free(const std::string& folder, const NewRun& run) {
  const std::vector<std::string> names = names_in_if_there(folder);
  // What a run leaves that was killed before it had a configuration, so that nobody can go on with it.
  if (std::all_of(names.begin(), names.end(),
                  [](const std::string& name) { return name == kMarkerName || name == "config.yaml.tmp"; }))
    return;
  if (!has_marker(folder))
    throw usage_error(
        "--out {}: the folder holds files that Halftone did not write, or an earlier version wrote ({}{}); "
        "give another --out",
        folder, names.front(), names.size() > 1 ? ", ..." : "");
  if (!run.overwrite) {
    if (run.kind == "train" && !has_ended(folder))
      throw usage_error(
          "--out {}: the folder holds a run that has not ended. Go on with it ({}), give another --out, or "
          "replace it with --overwrite",
          folder, resume_command(folder));
    throw usage_error("--out {}: the folder holds a run; give another --out, or replace it with --overwrite",
                      folder);
  }
  const std::string foreign = foreign_file(folder, "", marker_in(folder));
  if (!foreign.empty())
    throw usage_error(
        "--out {} --overwrite: '{}' in it was not written by a run, or was changed since; move it away, or "
        "give another --out",
        folder, foreign);
  for (const std::string& path : run.reads)
    if (is_inside(path, folder))
      throw usage_error(
          "--out {} --overwrite: this run reads {}, which is in that folder; give another --out", folder,
          path);
}

// The lock's descriptor, or -1 with the process that has it (0: unknown).
int try_lock(const std::string& folder, int64_t& holder, const std::string& kind = {}) {
  const std::string path = marker_of(folder);
  for (;;) {
    const int fd =
        ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0644);
    if (fd < 0) throw file_error(errno, "cannot write into the folder " + folder);
    struct stat info {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
      ::close(fd);
      throw input_error("{} is not a regular file", path);
    }
    if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      const int error = errno;
      // Its owner writes its number right after it has the lock.
      for (int i = 0; i < 20 && error == EWOULDBLOCK; ++i) {
        holder = read_marker(fd, folder).process;
        if (holder > 0 && ::getpgid(static_cast<pid_t>(holder)) >= 0) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
      ::close(fd);
      if (error == EWOULDBLOCK) return -1;
      throw file_error(error, "cannot lock " + path);
    }
    // Its last owner may have removed the file, and another made a new one, before we had the lock.
    struct stat there {};
    if (::stat(path.c_str(), &there) == 0 && there.st_ino == info.st_ino && there.st_dev == info.st_dev) {
      try {
        Marker marker = read_marker(fd, folder);
        marker.process = ::getpid();
        if (!kind.empty() && marker.kind.empty()) marker.kind = kind;
        write_marker(fd, folder, marker);
      } catch (...) {
        ::close(fd);
        throw;
      }
      return fd;
    }
    ::close(fd);
  }
}

[[noreturn]] void refuse_locked(const std::string& folder, int64_t holder) {
  throw usage_error("{} is in use: {} writes into it. Wait for it to end, or give another folder", folder,
                    holder > 0 ? fmt::format("process {}", holder) : std::string("another process"));
}

// A folder made for this run alone, or empty when somebody else was faster.
int lock_numbered(const std::string& kind, std::string& folder) {
  make_folder("runs");
  int64_t number = 1;
  for (const std::string& name : names_in_if_there("runs")) {
    const std::string prefix = kind + "-";
    if (!name.starts_with(prefix)) continue;
    const std::string digits = name.substr(prefix.size());
    if (digits.empty() || digits.size() > 15 || digits.find_first_not_of("0123456789") != std::string::npos)
      continue;
    number = std::max<int64_t>(number, std::stoll(digits) + 1);
  }
  for (;; ++number) {
    folder = fmt::format("runs/{}-{}", kind, number);
    if (::mkdir(folder.c_str(), 0777) != 0) {
      if (errno == EEXIST) continue;
      throw file_error(errno, "cannot create the folder " + folder);
    }
    sync_folder_of(folder);
    int64_t holder = 0;
    const int fd = try_lock(folder, holder, kind);
    if (fd >= 0) return fd;
  }
}

}  // namespace

RunFolder RunFolder::create(const NewRun& run) {
  if (run.folder.empty()) {
    std::string folder;
    const int fd = lock_numbered(run.kind, folder);
    return {folder, fd, true};
  }
  std::error_code error;
  const fs::file_status status = fs::status(run.folder, error);
  if (status.type() == fs::file_type::none) throw file_error(error.value(), "--out " + run.folder);
  const bool there = fs::exists(status);
  if (there && !fs::is_directory(status)) throw usage_error("--out {}: a file is in the way", run.folder);
  int64_t holder = 0;
  if (there) {
    // Before anything is written into a folder that is not ours.
    if (!has_marker(run.folder)) check_free(run.folder, run);
  } else {
    make_folder(run.folder);
  }
  RunFolder claimed(run.folder, try_lock(run.folder, holder, run.kind), !there);
  if (claimed.fd_ < 0) refuse_locked(run.folder, holder);
  // Again, as nobody else can change it now.
  check_free(run.folder, run);
  if (Marker marker = read_marker(claimed.fd_, run.folder); marker.kind != run.kind) {
    marker.kind = run.kind;  // another kind of run is replaced
    write_marker(claimed.fd_, run.folder, marker);
  }
  return claimed;
}

void RunFolder::check(const NewRun& run) {
  if (run.folder.empty()) return;
  std::error_code error;
  const fs::file_status status = fs::status(run.folder, error);
  if (status.type() == fs::file_type::none) throw file_error(error.value(), "--out " + run.folder);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) throw usage_error("--out {}: a file is in the way", run.folder);
  check_free(run.folder, run);
}

RunFolder RunFolder::resume(const std::string& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (status.type() == fs::file_type::none) throw file_error(error.value(), "--resume " + folder);
  if (!fs::is_directory(status)) throw input_error("--resume {}: there is no such folder", folder);
  int64_t holder = 0;
  const int fd = try_lock(folder, holder);
  if (fd < 0) refuse_locked(folder, holder);
  RunFolder claimed(folder, fd, false);
  const std::string model(kModel);
  Marker marker = read_marker(fd, folder);
  if (!fs::exists(folder + "/" + model, error) ||
      std::any_of(marker.results.begin(), marker.results.end(),
                  [&](const Result& r) { return r.name == model; }))
    return claimed;
  // An earlier version kept no record. Of a run that has ended the result is known to be its own.
  if (!has_ended(folder))
    throw usage_error(
        "--resume {}: the folder holds a model.onnx that this run did not write, and its result would "
        "replace it; move "
        "it away",
        folder);
  marker.results.push_back(result_of(folder, model));
  write_marker(fd, folder, marker);
  return claimed;
}

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)), made_(other.made_) {}

RunFolder::~RunFolder() {
  if (fd_ < 0) return;
  if (made_) {
    try {
      const std::vector<std::string> names = names_in_if_there(path_);
      if (std::all_of(names.begin(), names.end(),
                      [](const std::string& name) { return name == kMarkerName || name == "config.yaml"; })) {
        remove(path_ + "/config.yaml");
        remove(marker_of(path_));
        std::error_code ignored;
        fs::remove(path_, ignored);
      }
    } catch (const std::exception&) {
      // An empty folder is left, which does no harm.
    }
  }
  ::close(fd_);
}

void RunFolder::write_config(const std::string& text) const {
  std::error_code ignored;
  if (fs::exists(path_ + "/config.yaml", ignored)) return;  // of the run that is replaced, until it is
  write_file_atomically(path_ + "/config.yaml", text);
}

void RunFolder::announce_results(const std::vector<std::string>& names) const {
  Marker marker = read_marker(fd_, path_);
  for (const std::string& name : names) {
    const std::string shown = printable(name);
    std::erase_if(marker.results, [&](const Result& r) { return r.name == shown; });
    marker.results.push_back({shown, kBeingWritten, 0});
  }
  write_marker_durably(fd_, path_, marker);
}

void RunFolder::record_results(const std::vector<std::string>& names) {
  Marker marker = read_marker(fd_, path_);
  std::vector<Result> results;
  for (const std::string& name : names) results.push_back(result_of(path_, name));
  for (const Result& old : marker.results)
    if (std::none_of(results.begin(), results.end(), [&](const Result& r) { return r.name == old.name; }))
      remove(path_ + "/" + old.name);
  marker.results = std::move(results);
  write_marker_durably(fd_, path_, marker);
}

}  // namespace halftone::train
