// What a folder of images holds: which of its files are samples, and which are none.
//
// Left out and counted: hidden files and folders (their names begin with a dot), what file managers leave
// behind (Thumbs.db, desktop.ini, __MACOSX, ...), files whose ending is no image's. Links to folders are
// followed; each folder is read once, as itself where it lies among the others, so that links may go in
// circles.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace halftone::data {

// Whether the name ends as those of images that are read do (image.h), in any case.
bool has_image_name(const std::string& path);

// Names of the folders right below `folder` that may hold samples, in byte order.
std::vector<std::string> folders_in(const std::string& folder);

// Whether there is a file that is a sample in `folder` or below it.
bool holds_image(const std::string& folder);

class ImageWalk {
 public:
  // skip_bad: broken links and empty files are listed as if they were images, for the reader to refuse;
  // FIFOs, devices and sockets are left out. Otherwise each of these is an error that names it.
  ImageWalk(std::string root, bool skip_bad);

  // The images right below the root, and those in each of these folders of it or below them; paths relative
  // to the root or to the folder, in byte order.
  const std::vector<std::string>& top_images() const { return top_images_; }
  std::vector<std::vector<std::string>> images_below(const std::vector<std::string>& folders);

  // Why images_below found nothing in a folder; empty: it holds none, or files of other kinds (with their
  // kinds).
  std::string why_empty(size_t folder) const;
  // "3 hidden, 2 .txt"; empty: nothing was left out.
  std::string left_out() const;
  // How many of the files left out are images of kinds that are not read.
  int64_t other_images() const { return other_images_; }
  std::string other_kinds() const;  // "3 .heic, 1 .svg"

 private:
  using Id = std::pair<dev_t, ino_t>;
  struct Place {
    size_t folder;  // index among those asked for
    std::string relative;
  };
  enum class Entry { kLeftOut, kImage, kFolder, kLink };

  Entry classify(const std::string& path, const std::string& name, std::map<std::string, int64_t>& others);
  void walk(const Place& place);
  std::string path_of(const Place& place) const;

  std::string root_;
  bool skip_bad_;
  std::set<Id> above_;  // the root and the folders that it lies in
  std::set<Id> seen_;
  std::vector<std::string> folders_;
  std::vector<std::string> top_images_;
  std::vector<std::vector<std::string>> images_;
  std::vector<Place> links_;  // to folders, not yet followed
  std::map<std::string, int64_t> others_;
  std::vector<std::map<std::string, int64_t>> others_of_;  // of each folder
  int64_t other_images_ = 0;
  std::map<std::string, int64_t> other_kinds_;
};

}  // namespace halftone::data
