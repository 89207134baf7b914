// Small valid files with operators that tests/fixtures/onnx_nodes has no tests of, functions and branches:
// more seeds of the fuzzers.
#pragma once

#include <string>
#include <vector>

namespace halftone::onnx::test {

std::vector<std::string> operator_seeds();

// Loss graphs for a network with an output y of 3 numbers a sample.
std::vector<std::string> loss_seeds();

}  // namespace halftone::onnx::test
