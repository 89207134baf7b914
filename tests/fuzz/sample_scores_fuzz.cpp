// libFuzzer on val_samples.safetensors as comparisons read it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "fuzz/temporary_file.h"
#include "train/sample_scores.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const halftone::fuzz::TemporaryFile file(halftone::train::kSampleScoresFile);
  file.with({reinterpret_cast<const char*>(data), size});
  try {
    const halftone::train::SampleScores scores = halftone::train::read_sample_scores(file.path());
    HT_ASSERT(scores.correct.empty() || scores.correct.size() == scores.loss.size());
  } catch (const halftone::Error&) {
  }
  return 0;
}
