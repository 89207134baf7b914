// Where an exported file may be written.
#pragma once

#include <string>
#include <vector>

#include "onnx/model.h"

namespace halftone::api {

// Error (usage): `out` is a folder, or cannot be written.
void check_export_out(const std::string& out);
// Error (usage): `out` is the file that was read, or holds its data. Makes the folder that `out` is in, which is noted.
void make_export_place(const onnx::Model& read, const std::string& out, std::vector<std::string>& notes);

}  // namespace halftone::api
