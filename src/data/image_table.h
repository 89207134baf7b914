// A table that names image files, with their labels: a CSV or TSV one of whose columns has the files' paths (below the
// table's folder, or absolute). The other columns are
//   one:      a class a sample; or, with a separator, several labels in a cell, each of which applies
//   several:  a label each, by its column's name: 1 where it applies, else 0
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// DataInfo::kind of such a set.
inline constexpr const char* kTableOfImages = "table of images";

// Whether a table's first lines have a column of the names of images.
bool names_images(const std::string& path, const OpenOptions& options);
std::unique_ptr<Dataset> open_image_table(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
