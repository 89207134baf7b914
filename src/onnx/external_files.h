// The files beside an ONNX file that hold its tensors' data.
#pragma once

#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::onnx {

struct ExternalFile {
  std::string location;  // as the tensors name it, normalised, relative to the model's folder
  std::string path;
};
// Each once, in the order of their locations. Errors: those of reading a tensor's external data.
std::vector<ExternalFile> external_files(const Model& model);

// A line for each place of a data file that several initializers name, or where they overlap: "'a', 'b' are
// the same bytes ...".
std::vector<std::string> shared_places(const Model& model);

}  // namespace halftone::onnx
