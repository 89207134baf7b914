#include "api/export_place.h"
#include "api/session.h"
#include "api/weights.h"
#include "base/error.h"
#include "onnx/export_fp16.h"
#include "onnx/pytorch_names.h"
#include "onnx/save.h"
#include "onnx/sharing.h"
#include "train/safetensors.h"

namespace halftone {
namespace {

void export_safetensors(const onnx::Model& model, const std::string& out) {
  train::Safetensors content;
  for (const onnx::PytorchTensor& t : onnx::pytorch_tensors(model)) {
    Tensor tensor = model.tensor(t.tensor);
    if (t.transposed) tensor = transposed(tensor, {1, 0});
    content.tensors.insert_or_assign(t.name, tensor.reshaped(t.shape));
  }
  content.metadata["format"] = "pt";
  train::write_safetensors(out, content);
}

}  // namespace

std::vector<std::string> export_model(const std::string& source, const std::string& format,
                                      const std::string& out, const std::string& weights) {
  if (format != "fp32-onnx" && format != "fp16-onnx" && format != "safetensors")
    throw usage_error("export: --to {} is not known; it is fp32-onnx, fp16-onnx or safetensors", format);
  api::check_export_out(out);
  const onnx::Model model = api::load_model(source, weights);
  std::vector<std::string> notes;
  api::make_export_place(model, out, notes);
  // Statistics stay in fp32 where ONNX allows it, whatever else reads them in the file.
  if (format == "fp16-onnx") {
    for (std::string& warning : onnx::export_fp16(onnx::with_own_statistics(model, false), out).warnings)
      notes.push_back(std::move(warning));
  } else if (format == "fp32-onnx") {
    onnx::save(model, {}, out);
  } else {
    // A state dictionary has each norm's own.
    export_safetensors(onnx::with_own_statistics(model, true), out);
  }
  return notes;
}

}  // namespace halftone
