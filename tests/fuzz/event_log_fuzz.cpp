// libFuzzer on events.jsonl as resuming reads it: whatever it holds, what is left of it is read again, and
// can be appended to.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "fuzz/temporary_file.h"
#include "train/event_log.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using halftone::train::EventLog;
  static const halftone::fuzz::TemporaryFile file("events.jsonl");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto all = static_cast<int64_t>(size);
  for (const int64_t step : {int64_t{0}, int64_t{3}, INT64_MAX - 1})
    for (const int64_t recorded : {int64_t{-1}, all / 2, all}) {
      file.with(bytes);
      try {
        EventLog log = EventLog::resumed(file.path(), step, recorded);
        HT_ASSERT(log.bytes() <= all && bytes.starts_with(halftone::read_file(file.path())));
        log.append(step, R"({"step":)" + std::to_string(step) + "}");
      } catch (const halftone::Error&) {
        HT_ASSERT(halftone::read_file(file.path()) == bytes, "a refused file was changed");
        continue;
      }
      EventLog::resumed(file.path(), step);  // what was written is read again
    }
  return 0;
}
