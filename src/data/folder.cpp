#include "data/folder.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/listing.h"
#include "base/words.h"
#include "data/image.h"
#include "data/text.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSeen = "links to folders that are read elsewhere";

std::string ending_of(const std::string& name) {
  const size_t dot = name.rfind('.');
  return dot == std::string::npos || dot == 0 ? "" : lower_case(name.substr(dot));
}

// What systems and file managers leave in folders.
bool is_debris(const std::string& name) {
  return is_one_of(lower_case(name),
                   {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "__macosx",
                    "$recycle.bin", "system volume information", "@eadir", "lost+found"});
}

bool is_hidden(const std::string& name) {
  return name.starts_with('.');
}

bool is_other_image(const std::string& ending) {
  return is_one_of(ending, {".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".pgm", ".pnm", ".tga", ".svg",
                            ".jfif", ".jpe"});
}

using Id = std::pair<dev_t, ino_t>;

bool folder_id(const std::string& path, Id& id) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) return false;
  id = {info.st_dev, info.st_ino};
  return true;
}

// The folder itself and all that it lies in.
std::set<Id> above(const std::string& folder) {
  std::set<Id> ids;
  Id id;
  if (folder_id(folder, id)) ids.insert(id);
  std::error_code error;
  for (fs::path path = fs::canonical(folder, error); !error && !path.empty(); path = path.parent_path()) {
    if (folder_id(path.string(), id)) ids.insert(id);
    if (path == path.root_path()) break;
  }
  return ids;
}

bool find_image(const std::string& folder, std::set<Id>& seen) {
  std::vector<std::string> folders;
  for (const std::string& name : names_in(folder)) {
    if (is_hidden(name) || is_debris(name)) continue;
    const std::string path = (fs::path(folder) / name).string();
    Id id;
    if (folder_id(path, id)) {
      if (seen.insert(id).second) folders.push_back(path);
    } else if (has_image_name(name)) {
      return true;
    }
  }
  return std::any_of(folders.begin(), folders.end(),
                     [&](const std::string& path) { return find_image(path, seen); });
}

std::string listed(const std::map<std::string, int64_t>& kinds) {
  std::string text;
  for (const auto& [kind, count] : kinds)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, kind);
  return text;
}

const char* special_kind(mode_t mode) {
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

}  // namespace

bool has_image_name(const std::string& path) {
  const std::vector<std::string>& endings = image_endings();
  return std::find(endings.begin(), endings.end(), ending_of(path)) != endings.end();
}

std::vector<std::string> folders_in(const std::string& folder) {
  const std::set<Id> loops = above(folder);
  std::vector<std::string> names;
  for (const std::string& name : names_in(folder)) {
    Id id;
    if (!is_hidden(name) && !is_debris(name) && folder_id((fs::path(folder) / name).string(), id) &&
        loops.count(id) == 0)
      names.push_back(name);
  }
  return names;
}

bool holds_image(const std::string& folder) {
  std::set<Id> seen = above(folder);
  return find_image(folder, seen);
}

ImageWalk::ImageWalk(std::string root, bool skip_bad)
    : root_(std::move(root)), skip_bad_(skip_bad), above_(above(root_)), seen_(above_) {
  for (const std::string& name : names_in(root_)) {
    const std::string path = (fs::path(root_) / name).string();
    const Entry entry = classify(path, name, others_);
    Id id;
    if (entry == Entry::kImage) top_images_.push_back(name);
    if (entry == Entry::kLink && folder_id(path, id) && above_.count(id) > 0) ++others_[kSeen];
  }
}

// What an entry of a folder is; counts what is left out.
ImageWalk::Entry ImageWalk::classify(const std::string& path, const std::string& name,
                                     std::map<std::string, int64_t>& others) {
  if (is_hidden(name)) return ++others["hidden"], Entry::kLeftOut;
  if (is_debris(name)) return ++others[shown(name)], Entry::kLeftOut;
  struct stat info {};
  const bool image = has_image_name(name);
  if (::stat(path.c_str(), &info) != 0) {
    const int error = errno;
    if (!image) return ++others["broken links"], Entry::kLeftOut;
    if (!skip_bad_)
      throw input_error("cannot read {}: {}; remove it, or leave it out with --skip-bad", path,
                        std::strerror(error));
    return Entry::kImage;
  }
  if (S_ISDIR(info.st_mode)) {
    struct stat link {};
    return ::lstat(path.c_str(), &link) == 0 && S_ISLNK(link.st_mode) ? Entry::kLink : Entry::kFolder;
  }
  if (!S_ISREG(info.st_mode)) {
    if (!skip_bad_)
      throw input_error("cannot read {}: it is {}, not a file; remove it, or leave it out with --skip-bad",
                        path, special_kind(info.st_mode));
    return ++others["FIFOs, sockets and devices"], Entry::kLeftOut;
  }
  if (image) {
    if (info.st_size == 0 && !skip_bad_)
      throw input_error("{}: the image file is empty; remove it, or leave it out with --skip-bad", path);
    return Entry::kImage;
  }
  const std::string ending = ending_of(name);
  if (is_other_image(ending)) {
    ++other_images_;
    ++other_kinds_[shown(ending)];
  }
  ++others[ending.empty() ? "without an ending" : shown(ending)];
  return Entry::kLeftOut;
}

std::string ImageWalk::path_of(const Place& place) const {
  return (fs::path(root_) / folders_[place.folder] / place.relative).string();
}

void ImageWalk::walk(const Place& place) {
  const std::string folder = path_of(place);
  for (const std::string& name : names_in(folder)) {
    const Place below{place.folder, place.relative.empty() ? name : place.relative + "/" + name};
    const Entry entry = classify(path_of(below), name, others_of_[place.folder]);
    if (entry == Entry::kImage) images_[place.folder].push_back(below.relative);
    if (entry == Entry::kLink) links_.push_back(below);
    Id id;
    if (entry == Entry::kFolder && folder_id(path_of(below), id) && seen_.insert(id).second) walk(below);
  }
}

std::vector<std::vector<std::string>> ImageWalk::images_below(const std::vector<std::string>& folders) {
  folders_ = folders;
  images_.assign(folders.size(), {});
  others_of_.assign(folders.size(), {});
  // Folders first, links when all of these are known, those asked for before those found: so a link to
  // another class's folder gives no sample.
  std::vector<Place> asked;
  for (size_t i = 0; i < folders.size(); ++i) {
    const Place place{i, ""};
    const std::string path = (fs::path(root_) / folders[i]).string();
    struct stat info {};
    Id id;
    if (::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode)) {
      asked.push_back(place);
    } else if (folder_id(path, id) && seen_.insert(id).second) {
      walk(place);
    }
  }
  links_.insert(links_.begin(), asked.begin(), asked.end());
  for (size_t i = 0; i < links_.size(); ++i) {  // which grows
    const Place place = links_[i];
    Id id;
    if (folder_id(path_of(place), id) && seen_.insert(id).second) {
      walk(place);
    } else {
      ++others_of_[place.folder][kSeen];
    }
  }
  links_.clear();
  for (std::vector<std::string>& names : images_) std::sort(names.begin(), names.end());
  for (const auto& others : others_of_)
    for (const auto& [kind, count] : others) others_[kind] += count;
  return std::move(images_);
}

std::string ImageWalk::why_empty(size_t folder) const {
  const std::string kinds = listed(others_of_[folder]);
  return kinds.empty() ? "" : fmt::format(" (it holds {})", kinds);
}

std::string ImageWalk::other_kinds() const {
  return listed(other_kinds_);
}

std::string ImageWalk::left_out() const {
  return listed(others_);
}

}  // namespace halftone::data
