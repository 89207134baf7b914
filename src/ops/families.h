// Every file of operators, by the function that returns its definitions. Alphabetical.
#pragma once

#include "ops/op.h"

namespace halftone::ops {

const OpFamily& reshape_family();
const OpFamily& transpose_family();

}  // namespace halftone::ops
