#include "kern/simd/matrix.h"

#include "kern/avx512/matrix_vector.h"
