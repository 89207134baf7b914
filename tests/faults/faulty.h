// The program with a fault in it: shim/protocol.h says which there are.
#pragma once

#include <string>
#include <vector>

#include "e2e/program.h"
#include "faults/shim/protocol.h"

namespace halftone::faults {

struct Fault {
  Kind kind = kKinds;  // kKinds: none, calls are counted alone
  uint64_t number = 0;
  bool stays = false;  // all later calls too
  std::string how;

  std::string text() const;  // as FAULT has it
};

struct FaultyOutcome {
  e2e::Outcome outcome;
  State state{};
  bool hung = false;  // it took longer than `most_seconds` and was killed
};

FaultyOutcome run_with_fault(const std::vector<std::string>& arguments, const Fault& fault,
                             double most_seconds = 60);

// What the program did to files, in order, and how it ended.
struct RecordedCall {
  Op op;
  int fd;
  int64_t number;
  std::string first, second;
};
std::vector<RecordedCall> record(const std::vector<std::string>& arguments, e2e::Outcome& outcome);

// The shell command that repeats such a run.
std::string command_of(const std::vector<std::string>& arguments, const Fault& fault);

}  // namespace halftone::faults
