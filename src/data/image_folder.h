// Class folders of images: FOLDER/CLASS/… with images of the kinds of image.h, or images directly in FOLDER, without labels; images by their
// paths.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// The canonical names of the splits right below `folder`; empty unless every folder in it is called like a split, or there
// are one for training and one for validation or test, beside which others are none. Error: two for one split.
std::vector<std::string> folder_splits(const std::string& folder);
// The others.
std::vector<std::string> folders_beside_splits(const std::string& folder);

// Images by their paths, in this order; at least one. Error: labels are wanted.
std::unique_ptr<Dataset> open_images(const std::string& source, const std::vector<std::string>& paths,
                                     const OpenOptions& options);

// Errors: no images; an empty class (without skip_bad); unreadable folders.
std::unique_ptr<Dataset> open_image_folder(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
