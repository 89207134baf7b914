#include "base/listing.h"

#include <dirent.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <string_view>
#include <system_error>

#include "base/resource_error.h"

namespace halftone {
namespace {

struct Close {
  void operator()(DIR* folder) const { ::closedir(folder); }
};

std::vector<std::string> list(const std::string& folder, bool must_be_there) {
  std::vector<std::string> names;
  const auto failed = [&](int error) { return file_error(error, "cannot list the folder " + folder); };
  const std::unique_ptr<DIR, Close> open(::opendir(folder.c_str()));
  if (!open) {
    const int error = errno;
    if (!must_be_there && error == ENOENT) return names;
    throw failed(error);
  }
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(open.get());
    if (entry == nullptr) break;
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) throw failed(errno);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::vector<std::string> names_in(const std::string& folder) {
  return list(folder, true);
}

std::vector<std::string> names_in_if_there(const std::string& folder) {
  return list(folder, false);
}

void remove_tree(const std::string& path) {
  std::error_code error;
  if (std::filesystem::is_directory(std::filesystem::symlink_status(path, error)))
    for (const std::string& name : names_in_if_there(path)) remove_tree(path + "/" + name);
  std::filesystem::remove(path, error);
  if (error) throw file_error(error.value(), "cannot remove " + path);
}

}  // namespace halftone
