// Images with a class for each pixel: PATH/images/… and PATH/masks/… with a PNG of the same name but for its ending, whose
// palette indices or greys are the classes; also PATH/SPLIT/images and PATH/SPLIT/masks, or PATH/images/SPLIT and
// PATH/masks/SPLIT. 255 marks pixels that do not count, unless --ignore-index says otherwise.
//
// Where the network's size differs, a picture is scaled and cut as any is (transform.h), and its mask with it: by the nearest
// pixel, as Pillow has it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

constexpr int64_t kIgnoredInMasks = 255;

// DataInfo::kind of such a set.
inline constexpr const char* kImagesWithMasks = "images with masks";

bool is_mask_folder(const std::string& path);
std::vector<std::string> mask_splits(const std::string& path);
// Errors: an image without a mask; two images for one; a mask of another size or with colours.
std::unique_ptr<Dataset> open_mask_folder(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
