// Masks: numbers so far from all others that softmax and maxima pass over what they are added to or put in
// the place of.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// Exporters write masks as -1e9, -3.4e38 or -inf. An infinity is one in every type. A finite number that 16
// bits cannot hold would become infinite there, and a row of softmax that is masked as a whole NaN instead of
// equal shares. As an operand that is added or chosen it becomes this number with its sign: half of fp16's
// (bf16's) range, 2^15 (2^127), so that what it is added to stays finite. Types that hold such numbers:
// infinity, nothing is changed.
double mask_number(DType storage);

// `x`, or a constant in its place whose finite elements that the storage type cannot hold are mask_number().
// Of values that are not constants of floats: x.
ValueId mask_operand(Builder& b, ValueId x);

// x * factor, where the factor is a finite number that the storage type cannot hold: as it is, unless x is
// made of integers or booleans (1 - attention mask). Then the product is a mask, too.
ValueId mask_product(Builder& b, ValueId x, double factor);

}  // namespace halftone::ops
