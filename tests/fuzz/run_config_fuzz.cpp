// libFuzzer on the config.yaml of a run as its options are compared: when it is resumed, and with those of a
// command that takes its network.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "api/run_facts.h"
#include "base/error.h"
#include "fuzz/temporary_file.h"
#include "train/identity.h"
#include "train/run_folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace train = halftone::train;
  static const halftone::fuzz::TemporaryFile config("config.yaml");
  static const bool once = [] {
    config.beside(std::string(train::kMarkerName), "\n");
    config.beside("model.onnx", "");
    return true;
  }();
  static_cast<void>(once);
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  config.with(text);
  const halftone::data::Normalization used{{0.5F, 0.25F, 0.125F}, {1, 2, 3}};
  for (const std::string& model : {config.folder(), config.folder() + "/model.onnx"})
    halftone::api::warn_of_other_normalization(model, used, [](const std::string&) {});
  // One half of the text was the run, the other is its resumption.
  const train::Identity was = train::options_of(text.substr(0, size / 2));
  const train::Identity is = train::options_of(text.substr(size / 2));
  HT_ASSERT(train::differences(was, was).empty() && train::not_compared(is, is).empty());
  train::text_of(train::differences(was, is));
  train::not_compared(was, is);
  return 0;
}
