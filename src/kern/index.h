// Kernels that move elements by indices, and those of integers and booleans. The common contract stands in
// kernels.h.
//
// Whole numbers are int64, int32 or uint8; a boolean is a uint8 that is 0 or 1, and where one is read every
// other number counts as 1. Kernels that can meet a number they have no result for return the first element
// (counted in their output unless said otherwise) where they did, or -1; they go on with a harmless number,
// so nothing outside memory is touched, and their caller makes an error of it.
#pragma once

#include <cstdint>

#include "num/dtype.h"

namespace halftone::kern {

// ---------------------------------------------------------------- element by element
// y[r][c] = op(a[r * a_row + c * a_col], b[r * b_row + c * b_col]); strides as BinaryArgs', y dense.
enum class IntegerBinary : uint8_t {
  kAdd,  // no result outside the type's range, also of the next two
  kSub,
  kMul,
  kDiv,   // toward zero; none by zero
  kMod,   // with b's sign; none by zero
  kFmod,  // with a's sign; none by zero
  kPow,   // none for b < 0
  kMin,
  kMax,
  kAnd,  // of booleans, as the next two
  kOr,
  kXor,
};
struct IntegerBinaryArgs {
  IntegerBinary op;
  DType dtype;
  const void* a;
  int64_t a_row, a_col;
  const void* b;
  int64_t b_row, b_col;
  void* y;
  int64_t rows, cols;
};
enum class IntegerUnary : uint8_t {
  kNeg,  // none where it leaves the type's range; also of kAbs
  kAbs,
  kSign,
  kNot,  // of booleans
};
struct IntegerUnaryArgs {
  IntegerUnary op;
  DType dtype;
  const void* x;
  void* y;
  int64_t n;
};
// y = 1 where the comparison holds (with a NaN none does), else 0. Any type.
enum class Compare : uint8_t { kEqual, kLess, kLessOrEqual };
struct CompareArgs {
  Compare op;
  DType dtype;  // of a and b
  const void* a;
  int64_t a_row, a_col;
  const void* b;
  int64_t b_row, b_col;
  uint8_t* y;
  int64_t rows, cols;
};
// y = condition ? a : b, elements of 1, 2, 4 or 8 bytes.
struct SelectArgs {
  int64_t element_bytes;
  const uint8_t* condition;
  int64_t condition_row, condition_col;
  const void* a;
  int64_t a_row, a_col;
  const void* b;
  int64_t b_row, b_col;
  void* y;
  int64_t rows, cols;
};
// y = 1 where x is one of the kinds asked for.
struct ClassifyArgs {
  DType dtype;  // a float type
  const void* x;
  uint8_t* y;
  int64_t n;
  bool nan, plus_infinity, minus_infinity;
};
// y = x in another type, one of the two not a float type. To a boolean: x != 0. Whole numbers to floats: by
// way of the register type, to nearest. Floats to whole numbers: cut toward zero; what lies below int64's or
// int32's range, -infinity too, becomes their least number, as every CPU has it; no result above it and for a
// NaN, where CPUs differ, and for uint8 below 0. Whole numbers to smaller types: none where they do not fit.
struct CastArgs {
  DType from;
  const void* x;
  DType to;
  bool to_boolean;
  void* y;
  int64_t n;
};

// ---------------------------------------------------------------- rows of a table
// Gather, scatter and their relatives all read or write a table of `run` contiguous elements a row; slot s
// stands for the row rows[s].
//
// rows[s] = the sum over k < depth of index k * stride[k], plus the sum over axes of s's place in shape *
// base[axis], for slots [first, first + count). Indices count from the end where they are negative. Returns
// the first index (its place in `indices`) outside [-sizes[k], sizes[k]).
struct ResolveRowsArgs {
  DType dtype;  // of indices: int64 or int32
  const void* indices;
  int64_t first, count;
  int64_t depth;  // indices a slot
  const int64_t* sizes;
  const int64_t* strides;
  int rank;  // of the slots
  const int64_t* shape;
  const int64_t* base;
  int32_t* rows;
};
// y[s] = x[rows[s]] for slots [first, first + count); x and y are those of all slots. last, when given: a
// slot that is not last[rows[s]] gets zeros.
struct GatherRowsArgs {
  const void* x;
  const int32_t* rows;
  int64_t row_bytes;
  int64_t first, count;
  void* y;
  const int32_t* last;
};
// last[rows[s]] = s, ascending.
struct LastSlotsArgs {
  const int32_t* rows;
  int64_t count;
  int32_t* last;
};
// The slots of each row, ascending: those of row r are order[starts[r]] to order[starts[r + 1] - 1].
struct GroupRowsArgs {
  const int32_t* rows;
  int64_t count;
  int64_t table_rows;
  int32_t* starts;  // table_rows + 1
  int32_t* order;   // count
};
// Columns [col, col + cols) of the rows [row, row + rows) of y: what base has there (0 without a base),
// changed by the updates of the row's slots in ascending order, in the register type (whole numbers: in their
// own, and without a result where a sum or product leaves its range; the element is counted in y as a whole).
// kLast: the last of them in its place. kClear: 0 where a row has any.
enum class Scatter : uint8_t { kLast, kAdd, kMul, kMin, kMax, kClear };
struct ScatterRowsArgs {
  Scatter op;
  DType dtype;
  const void* base;
  const void* updates;
  const int32_t* starts;
  const int32_t* order;
  int64_t run;
  int64_t row, rows;
  int64_t col, cols;
  void* y;
};

// ---------------------------------------------------------------- along an axis
// x[length][stride], of which the first `cols` columns. y, as x unless said otherwise: the sums of column c
// up to each element, from the other end when reverse, without the element itself when exclusive; in the
// register type, each stored once.
struct CumSumArgs {
  DType dtype;  // any
  const void* x;
  void* y;
  int64_t length, cols, stride;
  bool exclusive, reverse;
};
// y[c] = where column c has its largest (smallest) element, the first of equals or the last; a NaN is larger
// (smaller) than all.
struct ArgExtremeArgs {
  DType dtype;  // any
  const void* x;
  int64_t* y;
  int64_t length, cols, stride;
  bool largest, last;
};
// y[j * stride + c] = where column c has its j-th largest (smallest) element, j < k, equals in ascending
// order of their place; a NaN is larger than all, in both directions. heap: k elements.
struct TopKArgs {
  DType dtype;  // any
  const void* x;
  int64_t* y;
  int64_t length, cols, stride;
  int64_t k;
  bool largest;
  int64_t* heap;
};
// y[c] = the sum, least or largest of column c. No result where a sum leaves the type's range.
enum class IntegerReduce : uint8_t { kSum, kMin, kMax, kProd };
struct IntegerReduceArgs {
  IntegerReduce op;
  DType dtype;
  const void* x;
  void* y;
  int64_t length, cols, stride;
};

// ---------------------------------------------------------------- the table
struct IndexKernels {
  int64_t (*integer_binary)(const IntegerBinaryArgs&) noexcept;
  int64_t (*integer_unary)(const IntegerUnaryArgs&) noexcept;
  void (*compare)(const CompareArgs&) noexcept;
  void (*select)(const SelectArgs&) noexcept;
  void (*classify)(const ClassifyArgs&) noexcept;
  int64_t (*cast)(const CastArgs&) noexcept;
  int64_t (*resolve_rows)(const ResolveRowsArgs&) noexcept;
  void (*gather_rows)(const GatherRowsArgs&) noexcept;
  void (*last_slots)(const LastSlotsArgs&) noexcept;
  void (*group_rows)(const GroupRowsArgs&) noexcept;
  int64_t (*scatter_rows)(const ScatterRowsArgs&) noexcept;
  int64_t (*cum_sum)(const CumSumArgs&) noexcept;
  void (*arg_extreme)(const ArgExtremeArgs&) noexcept;
  void (*top_k)(const TopKArgs&) noexcept;
  int64_t (*integer_reduce)(const IntegerReduceArgs&) noexcept;
};

}  // namespace halftone::kern
