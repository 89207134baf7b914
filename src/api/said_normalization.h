// What is said of a network's pictures by what came with it: configurations beside the file, and its metadata.
#pragma once

#include <optional>
#include <string>

#include "data/transform.h"
#include "onnx/model.h"

namespace halftone::api {

struct SaidNormalization {
  std::optional<data::Normalization> normalization;  // none: nothing says it
  std::string source;                                // the file, and its key where that is not plain
  bool bgr = false;                                  // Image.BitmapPixelFormat of the file's metadata is Bgr8
};

// By, in this order: preprocessor_config.json (Hugging Face), config.json with pretrained_cfg (timm), both in the folder
// of `model` (a file or a folder), and Image.NominalPixelRange of the file's metadata (ONNX). Error (input): one of them
// says something that pixels cannot have here.
SaidNormalization said_normalization(const std::string& model, const onnx::Model& file);

// "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"; of nothing "pixels of 0..1".
std::string text_of(const data::Normalization& normalization);

}  // namespace halftone::api
