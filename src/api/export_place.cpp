#include "api/export_place.h"

#include <filesystem>

#include "base/error.h"
#include "base/file.h"
#include "base/regular_file.h"
#include "onnx/external_files.h"

namespace halftone::api {

void check_export_out(const std::string& out) {
  if (out.empty()) throw usage_error("export: --out FILE is missing");
  if (out.ends_with('/')) throw usage_error("export: --out {} names a folder; expected a file in it", out);
  check_writable_place(out);
}

void make_export_place(const onnx::Model& read, const std::string& out, std::vector<std::string>& notes) {
  std::error_code error;
  if (std::filesystem::equivalent(read.path(), out, error))
    throw usage_error("export: --out {} is the file that is read", out);
  for (const onnx::ExternalFile& beside : onnx::external_files(read))
    if (std::filesystem::equivalent(beside.path, out, error))
      throw usage_error("export: --out {} holds data of {}, which would be lost", out, read.path());
  // As the other commands make the folders of their results.
  const std::string folder = std::filesystem::path(out).parent_path().string();
  if (folder.empty() || std::filesystem::exists(folder, error)) return;
  make_folder(folder);
  notes.push_back(fmt::format("made the folder {}", folder));
}

}  // namespace halftone::api
