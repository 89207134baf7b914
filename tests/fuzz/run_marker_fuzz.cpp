// libFuzzer on a run folder's record of whose it is and what lies there: a new run that replaces the folder,
// and one that goes on in it. Files that no run wrote stay, in the folder and outside.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "fuzz/temporary_file.h"
#include "train/run_folder.h"

namespace {

namespace fs = std::filesystem;
using halftone::train::RunFolder;

const halftone::fuzz::TemporaryFile& outside() {
  static const halftone::fuzz::TemporaryFile file("kept.txt");
  return file;
}

// A run's folder with this record, a result, and `also` (empty: nothing else).
std::string folder_with(std::string_view record, const std::string& also) {
  const std::string folder = outside().folder() + "/run";
  fs::remove_all(folder);
  fs::create_directory(folder);
  outside().with("kept");
  outside().beside("run/" + std::string(halftone::train::kMarkerName), record);
  outside().beside("run/config.yaml", "lr: 1\n");
  outside().beside("run/summary.json", "{}\n");
  if (!also.empty()) outside().beside("run/" + also, "somebody's");
  return folder;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view record(reinterpret_cast<const char*>(data), size);
  for (const std::string also : {"", "model.onnx", "notes"}) {
    const std::string folder = folder_with(record, also);
    try {
      RunFolder run = RunFolder::create({folder, "train", true, {}});
      run.announce_results({"model.onnx"});
      halftone::train::remove_run(folder);
      outside().beside("run/model.onnx", "result");
      run.record_results({"model.onnx"});
    } catch (const halftone::Error&) {
      // Unless the record says that it is a result.
      HT_ASSERT(also != "notes" || record.find("notes") != record.npos || fs::exists(folder + "/notes"));
    }
    HT_ASSERT(fs::exists(outside().path()), "a file outside of the folder is gone");
  }
  const std::string folder = folder_with(record, "model.onnx");
  try {
    halftone::train::is_in_comparison(folder + "/variant");
    RunFolder run = RunFolder::resume(folder);
    run.record_results({"model.onnx"});
  } catch (const halftone::Error&) {
  }
  HT_ASSERT(fs::exists(folder + "/model.onnx") && fs::exists(outside().path()));
  return 0;
}
