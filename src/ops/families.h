// Every file of operators, by the function that returns its definitions. Alphabetical.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

// clang-format off
namespace attention { const OpFamily& family(); }
namespace batch_normalization { const OpFamily& family(); }
namespace batch_normalization_grad { const OpFamily& family(); }
namespace batch_normalization_import { const OpFamily& family(); }
namespace binary { const OpFamily& family(); }
namespace block_attention { const OpFamily& family(); }
namespace cast { const OpFamily& family(); }
namespace class_loss { const OpFamily& family(); }
namespace col2im { const OpFamily& family(); }
namespace concat { const OpFamily& family(); }
namespace constant_folding { const OpFamily& family(); }
namespace conv { const OpFamily& family(); }
namespace conv_import { const OpFamily& family(); }
namespace cum_sum { const OpFamily& family(); }
namespace depth_to_space { const OpFamily& family(); }
namespace dft { const OpFamily& family(); }
namespace dropout { const OpFamily& family(); }
namespace einsum { const OpFamily& family(); }
namespace expand { const OpFamily& family(); }
namespace extreme { const OpFamily& family(); }
namespace fused_attention { const OpFamily& family(); }
namespace fused { const OpFamily& family(); }
namespace gather { const OpFamily& family(); }
namespace grid_sample { const OpFamily& family(); }
namespace group_normalization { const OpFamily& family(); }
namespace layer_normalization { const OpFamily& family(); }
namespace loss { const OpFamily& family(); }
namespace lrn { const OpFamily& family(); }
namespace matmul { const OpFamily& family(); }
namespace max_unpool { const OpFamily& family(); }
namespace one_hot { const OpFamily& family(); }
namespace optimizer { const OpFamily& family(); }
namespace pad { const OpFamily& family(); }
namespace pool { const OpFamily& family(); }
namespace pool_import { const OpFamily& family(); }
namespace recurrent { const OpFamily& family(); }
namespace reduce { const OpFamily& family(); }
namespace resample { const OpFamily& family(); }
namespace reshape { const OpFamily& family(); }
namespace resize { const OpFamily& family(); }
namespace reverse_sequence { const OpFamily& family(); }
namespace rotary_embedding { const OpFamily& family(); }
namespace row_reduction { const OpFamily& family(); }
namespace rows { const OpFamily& family(); }
namespace running_statistics { const OpFamily& family(); }
namespace scatter { const OpFamily& family(); }
namespace selection { const OpFamily& family(); }
namespace slice { const OpFamily& family(); }
namespace softmax { const OpFamily& family(); }
namespace tensor_scatter { const OpFamily& family(); }
namespace tile { const OpFamily& family(); }
namespace transpose { const OpFamily& family(); }
namespace trilu { const OpFamily& family(); }
namespace unary { const OpFamily& family(); }
namespace where { const OpFamily& family(); }
namespace whole { const OpFamily& family(); }
namespace window { const OpFamily& family(); }
// clang-format on

}  // namespace halftone::ops
