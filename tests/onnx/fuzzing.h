// What the mutation test (fuzz_test.cpp) and the fuzzer (tests/fuzz/onnx_fuzz.cpp) share.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "build_model.h"
#include "onnx/outline.h"

namespace halftone::onnx::test {

// outline() of a file in memory, and the whole message again, serialized, from it and the file ("no message" when it cannot be
// read).
std::optional<Outline> outline_of(const std::string& bytes);
std::string put_back(const Outline& outline, const std::string& bytes);

// Small valid files: the ONNX project's node tests for our operators and some networks made by code.
std::vector<std::string> fuzz_seeds();

// Reads the bytes as a model and does with it whatever Halftone does with a file, training apart: roles, names, import in both modes, fp16, writing back.
// Any Error is fine; any other exception is not, and leaves this function. Returns how far it got: 0 not read, 1 read, 2 imported.
int use_model(const std::string& bytes);

// A few random changes to a file: of the message (fields copied, dropped, doubled, numbers and names replaced), or of the bytes. A function of `seed`.
std::string mutated(const std::string& bytes, uint64_t seed);

}  // namespace halftone::onnx::test
