// The names of a network's classes, as the network carries them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/class_map.h"
#include "onnx/model.h"

namespace halftone::api {

// The class map that a model carries: what Halftone wrote into it, or an exporter's `names`; empty if it has
// none.
data::ClassMap class_map_of(const onnx::Model& model);
// Why the `names` of a model cannot be class names; empty: it has none, or they can.
std::string unusable_names(const onnx::Model& model);
// The metadata_props entry for a network whose classes have these names; empty when there is nothing to add.
std::map<std::string, std::string> class_metadata(const onnx::Model& model,
                                                  const std::vector<std::string>& names);

// A name that classes.txt (one a line) and the model's metadata (UTF-8) cannot hold would be another one when
// it is read.
void check_names_can_be_kept(const std::vector<std::string>& names, const std::string& where);

}  // namespace halftone::api
