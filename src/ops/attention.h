// Steps that ONNX's Attention and ONNX Runtime's share. (ops/attention.cpp)
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// [B, L, H * D] as [B, H, L, D].
ValueId heads_apart(Builder& b, ValueId x, int64_t heads);
// [B, H, L, D] as [B, L, H * D].
ValueId heads_together(Builder& b, ValueId x);

// Keys or values [B, H, P, D] of an earlier run before those of this one.
ValueId after_past(Builder& b, ValueId past, ValueId now);

// [queries, keys]: -inf where key j comes after query i, `past` keys being older than the first query; else
// 0.
ValueId causal_mask(Builder& b, int64_t queries, int64_t keys, int64_t past);

}  // namespace halftone::ops
