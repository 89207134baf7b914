#include <filesystem>

#include "api/session.h"
#include "api/weights.h"
#include "base/error.h"
#include "base/file.h"
#include "base/regular_file.h"
#include "onnx/export_fp16.h"
#include "onnx/external_files.h"
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
  if (out.empty()) throw usage_error("export: --out FILE is missing");
  if (format != "fp32-onnx" && format != "fp16-onnx" && format != "safetensors")
    throw usage_error("export: --to {} is not known; it is fp32-onnx, fp16-onnx or safetensors", format);
  if (out.ends_with('/')) throw usage_error("export: --out {} names a folder; expected a file in it", out);
  check_writable_place(out);
  const onnx::Model model = api::load_model(source, weights);
  const std::string& path = model.path();
  std::error_code error;
  if (std::filesystem::equivalent(path, out, error))
    throw usage_error("export: --out {} is the file that is read", out);
  for (const onnx::ExternalFile& beside : onnx::external_files(model))
    if (std::filesystem::equivalent(beside.path, out, error))
      throw usage_error("export: --out {} holds data of {}, which would be lost", out, path);
  std::vector<std::string> notes;
  // As the other commands make the folders of their results.
  const std::string folder = std::filesystem::path(out).parent_path().string();
  if (!folder.empty() && !std::filesystem::exists(folder, error)) {
    make_folder(folder);
    notes.push_back(fmt::format("made the folder {}", folder));
  }
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
