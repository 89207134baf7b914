// Images that a SPEC names one by one: a file, a pattern of file names, or paths on standard input. They have no
// labels.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// Whether a SPEC's path is no file or folder, but a pattern with * or ?, or "-": standard input.
bool is_image_list(const std::string& path);

// The files that a pattern of the shell matches, in byte order; hidden ones only where the pattern names the dot.
// Errors: there are none; one is no image.
std::vector<std::string> images_of_pattern(const std::string& pattern);

// Paths, one a line, in their order; empty lines are passed over. Errors: there are none; one is no image.
// `where`: for messages.
std::vector<std::string> images_of_lines(const std::string& text, const std::string& where);

// An image, a pattern, or "-". Errors: labels are wanted; those above.
std::unique_ptr<Dataset> open_image_list(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
