#include "faults/run_result.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace halftone::faults {

namespace fs = std::filesystem;

std::string result_of_run(const std::string& out) {
  if (!e2e::exists(out + "/summary.json")) return "there is no summary.json";
  for (const auto& entry : fs::directory_iterator(out)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".tmp") || name.ends_with(".damaged")) return name + " is left";
  }
  std::ifstream events(out + "/events.jsonl");
  int64_t records = 0;
  for (std::string line; std::getline(events, line); ++records)
    if (!nlohmann::json::accept(line)) return "events.jsonl: " + line;
  std::string bytes = e2e::bytes_of(out + "/model.onnx");
  if (bytes.empty()) return "there is no model.onnx";
  return std::to_string(records) + " records, " + bytes +
         (e2e::exists(out + "/external.bin") ? e2e::bytes_of(out + "/external.bin") : "");
}

bool has_saved(const std::string& out) {
  if (!fs::exists(out)) return false;
  for (const auto& entry : fs::directory_iterator(out))
    if (entry.path().extension() == ".htck") return true;
  return false;
}

void go_on(const std::string& out, const std::vector<std::string>& start) {
  const bool saved = has_saved(out);
  const e2e::Outcome resumed = e2e::run({"train", "--resume", out, "--quiet"});
  EXPECT_EQ(resumed.err.find("damaged"), std::string::npos) << resumed.err;
  if (resumed.code == 0) return;
  EXPECT_FALSE(saved) << resumed.err;
  EXPECT_EQ(resumed.code, 3) << resumed.err;
  EXPECT_NE(resumed.err.find(out), std::string::npos) << resumed.err;
  const e2e::Outcome again = e2e::run(start);
  EXPECT_EQ(again.code, 0) << again.err;
}

}  // namespace halftone::faults
