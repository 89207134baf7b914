// Attention as nodes (MatMul, steps that scale and mask, Softmax, MatMul) becomes BlockAttention, which never
// has all scores at once (ops/block_attention.cpp). No bit of forward or gradient changes, but for rows
// without a key behind a guard (Where(IsNaN(shares), 0, shares)): their gradient is 0, and was NaN.
//
// Left alone: scores or shares that somebody else reads; a choice whose gradient is wanted, or a trained bias
// that is not broadcast along leading axes alone; operands that are transposed in memory.
#pragma once

#include "ir/graph.h"

namespace halftone::pass {

// Returns how many there were. Before differentiation, behind arrange(). keep_shares: up to so many keys what
// the softmax gives is kept for a gradient, which takes less time than computing it once more. The bits are
// the same.
int64_t block_attention(ir::Graph& graph, DType storage, int64_t keep_shares = 0);

// Few enough keys that their shares are a small part of what a network keeps for its gradient.
inline constexpr int64_t kKeepShares = 128;

}  // namespace halftone::pass
