// Image files by their paths as samples: what sets of images have in common, wherever their labels are.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "data/dataset.h"
#include "data/image.h"

namespace halftone::data {

class ImageFiles {
 public:
  using PathOf = std::function<std::string(int64_t index)>;

  // Decides the samples' shape by the first image that can be read, and sets what info says of pictures; looks into the
  // files for what a note says of them. info.source is set already. `path_of` is called as long as this lives. Errors: no
  // image can be read; the network's channels; images of several sizes where it leaves the size open.
  // whole: large JPEGs are decoded in their own size, for who compares it.
  void open(int64_t count, PathOf path_of, const OpenOptions& options, DataInfo& info, bool whole = false);

  std::string path(int64_t index) const { return path_of_(index); }
  // The picture, in the file's own size. What else a sample has stays as it is.
  void read(int64_t index, Sample& sample) const;

 private:
  void check_sizes(const OpenOptions& options, const DataInfo& info) const;
  void look_into_files(DataInfo& info) const;
  Shape first_shape(const OpenOptions& options, const DataInfo& info, ImageHeader& header) const;

  int64_t count_ = 0;
  int64_t channels_ = 0;
  PathOf path_of_;
  ImageWishes wishes_;
};

}  // namespace halftone::data
