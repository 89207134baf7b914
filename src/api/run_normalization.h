// Samples for a run's network should be normalised as the run's samples were.
#pragma once

#include <string>

#include "data/transform.h"
#include "halftone/halftone.h"

namespace halftone::api {

// `model`: a run's folder, or the model.onnx in one; of any other file nothing is known. Logs a warning where
// the run's config.yaml has another mean or standard deviation than `used`, with the options of the run.
void warn_of_other_normalization(const std::string& model, const data::Normalization& used, const Log& log);

}  // namespace halftone::api
