// How a batch reaches a program: each input of the network gets the field that is its own.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "data/loader.h"
#include "exec/program.h"

namespace halftone::train {

// The field of each input, by the input's name. An input that is not named takes the batch's first field: all
// that networks of one input need.
using Feeding = std::map<std::string, std::string>;

// Copies `count` rows, from `first_row` on, of each input's field to where the program reads it; floats take
// its storage type, and elements are moved where the input has another order of axes than the batch
// (ir::Value::storage_axes). Lent inputs lie in the batch itself from now on, which must have their type and
// order. Inputs that nobody reads (kNone among `inputs`, or without memory) get nothing.
void feed_inputs(exec::Program& program, const kern::Kernels& kernels, const std::vector<ir::ValueId>& inputs,
                 const Feeding& feeding, const data::Batch& batch, int64_t count, int64_t first_row = 0);

}  // namespace halftone::train
