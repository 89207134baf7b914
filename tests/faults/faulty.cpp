#include "faults/faulty.h"

#include <signal.h>

#include <cstring>
#include <fstream>

#include "base/clock.h"
#include "onnx/build_model.h"

namespace halftone::faults {
std::string Fault::text() const {
  if (kind == kKinds) return "";
  return std::string(kKindNames[kind]) + ":" + std::to_string(number) + (stays ? "+" : "") + ":" + how;
}

std::string command_of(const std::vector<std::string>& arguments, const Fault& fault) {
  return "truncate -s " + std::to_string(sizeof(State)) + " state; FAULT_STATE=state FAULT=" + fault.text() +
         " LD_PRELOAD=" HALFTONE_FAULT_SHIM " " + e2e::text(arguments);
}

FaultyOutcome run_with_fault(const std::vector<std::string>& arguments, const Fault& fault,
                             double most_seconds) {
  const onnx::test::TemporaryFolder folder;
  const std::string file = folder / "state";
  std::ofstream(file, std::ios::binary) << std::string(sizeof(State), '\0');
  e2e::Setting setting;
  setting.environment = {{"LD_PRELOAD", HALFTONE_FAULT_SHIM}, {"FAULT_STATE", file}};
  if (fault.kind != kKinds) setting.environment["FAULT"] = fault.text();
  FaultyOutcome result;
  const double end = now_seconds() + most_seconds;
  setting.until = [&] { return result.hung = now_seconds() > end; };
  setting.signals = {SIGKILL};
  result.outcome = e2e::run_with(arguments, setting);
  const std::string bytes = e2e::bytes_of(file);
  std::memcpy(&result.state, bytes.data(), sizeof(State));
  return result;
}

std::vector<RecordedCall> record(const std::vector<std::string>& arguments, e2e::Outcome& outcome) {
  const onnx::test::TemporaryFolder folder;
  e2e::Setting setting;
  setting.environment = {{"LD_PRELOAD", HALFTONE_FAULT_SHIM}, {"FAULT_RECORD", folder / "record"}};
  outcome = e2e::run_with(arguments, setting);
  const std::string bytes = e2e::bytes_of(folder / "record");
  std::vector<RecordedCall> calls;
  for (size_t at = 0; at + sizeof(Record) <= bytes.size();) {
    Record r{};
    std::memcpy(&r, bytes.data() + at, sizeof(r));
    at += sizeof(r);
    calls.push_back({r.op, r.fd, r.number, bytes.substr(at, r.first_bytes),
                     bytes.substr(at + r.first_bytes, r.second_bytes)});
    at += r.first_bytes + r.second_bytes;
  }
  return calls;
}

}  // namespace halftone::faults
