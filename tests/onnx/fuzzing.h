// What the mutation test (fuzz_test.cpp) and the fuzzer (tests/fuzz/onnx_fuzz.cpp) share.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "build_model.h"
#include "onnx/outline.h"

namespace halftone::onnx::test {

// outline() of a file in memory, and the whole message again, serialized, from it and the file ("no message"
// when it cannot be read).
std::optional<Outline> outline_of(const std::string& bytes);
std::string put_back(const Outline& outline, const std::string& bytes);

// Small valid files: some networks made by code, the ONNX project's node tests for our operators, and files
// of operator_seeds.h.
std::vector<std::string> fuzz_seeds();

// What the list of operators calls those of a file, of its functions and branches too; nothing of one that
// cannot be read.
std::set<std::string> operators_of(const std::string& bytes);

// Reads the bytes as a model and does with it whatever Halftone does with a file, training apart: roles,
// names, import in both modes, fp16, writing back. Any Error is fine; any other exception is not, and leaves
// this function. Returns how far it got: 0 not read, 1 read, 2 imported.
int use_model(const std::string& bytes);

// The bytes as a loss graph behind a small network's: 0 refused, 1 appended. As above of errors.
int use_loss(const std::string& bytes);

// A few random changes to a file: of the message (fields copied, dropped, doubled, numbers and names
// replaced), or of the bytes. A function of `seed`.
std::string mutated(const std::string& bytes, uint64_t seed);

}  // namespace halftone::onnx::test
