// Sums and means over axes.
//
// formula  y = sum of x over the axes; ReduceMean: times 1 / count
// shapes   x[..., N, ...] -> y[..., 1, ...] with keepdims 1, y[..., ...] with 0
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   once, when y is stored. Sums in registers: innermost reduced axes first, each axis in fixed pieces
//          (below) whose partial sums stay in the register type and are then summed in order
// saves    none
// scratch  partial sums in the register type
// alias    none
// errors   axis outside [-rank, rank) or named twice; a mean of no elements; not a float type
// source   ONNX ReduceSum-1/11/13, ReduceMean-1/11/13/18 (axes: an attribute before 13 and 18, a constant
//          input since), GlobalAveragePool-1/22 (ReduceMean over the axes after the second)
// tests    tests/ops/reduce_test.cpp
#include "kern/reduce.h"

#include "base/error.h"
#include "ops/chunks.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/reduction.h"
#include "ops/whole.h"

namespace halftone::ops {
namespace reduce {
namespace {

bool contains(const std::vector<int64_t>& axes, size_t axis) {
  return std::find(axes.begin(), axes.end(), static_cast<int64_t>(axis)) != axes.end();
}

int64_t reduced_count(const Shape& x, const std::vector<int64_t>& axes) {
  int64_t n = 1;
  for (const int64_t axis : axes) n *= x[static_cast<size_t>(axis)];
  return n;
}

// IR attributes: axes (any order, normalized or not), keepdims (0 or 1).
std::vector<Type> infer(const InferContext& c) {
  const Type& x = c.input(0);
  if (!is_float(x.dtype)) throw input_error("a float tensor was expected, got {}", name_of(x.dtype));
  const std::vector<int64_t> axes = reduction_axes(c.attributes().ints_at("axes"), true, x.shape.size());
  const bool keep = c.attributes().int_at("keepdims") != 0;
  if (c.node.op == "ReduceMean" && reduced_count(x.shape, axes) == 0)
    throw input_error("a mean over no elements of {}", to_string(x.shape));
  Shape y;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    if (!contains(axes, i)) {
      y.push_back(x.shape[i]);
    } else if (keep) {
      y.push_back(1);
    }
  }
  return {{x.dtype, y}};
}

// One pass: in[batch][length][inner] -> partial sums out[batch][parts][inner], parts of `step` terms.
struct Pass {
  DType dtype;  // of in; out is in its register type
  int64_t batch, length, inner;
  int64_t step, parts;
  int64_t out_offset;  // in scratch
};

// Terms that are summed one after another; more are cut into parts of at most that many, which bounds the
// error and gives all threads work.
constexpr int64_t kLongestRow = 2 * kChunkElements;  // in 16 lanes
constexpr int64_t kLongestColumn = 4096;
constexpr int64_t kColumnBlock = 4096;  // columns in a call: its fp32 sums stay in the L1 cache
constexpr int64_t kTasks = 64;          // enough for the threads of a large machine

int64_t column_step(int64_t batch, int64_t length, int64_t inner) {
  const int64_t block = std::min(inner, kColumnBlock);
  const int64_t tasks = std::max<int64_t>(1, batch * ceil_div(inner, kColumnBlock));
  const int64_t even = ceil_div(length, std::max<int64_t>(1, kTasks / tasks));
  return std::max<int64_t>(
      1, std::min({length, kLongestColumn, std::max(even, ceil_div(kChunkElements, block))}));
}

std::vector<Pass> passes(DType dtype, const Shape& x, const std::vector<int64_t>& axes) {
  struct Run {
    int64_t size;
    bool reduced;
  };
  std::vector<Run> runs;
  for (size_t i = 0; i < x.size(); ++i) {
    if (x[i] == 1) continue;
    if (!runs.empty() && runs.back().reduced == contains(axes, i)) {
      runs.back().size *= x[i];
    } else {
      runs.push_back({x[i], contains(axes, i)});
    }
  }
  std::vector<Pass> list;
  int64_t inner = 1;
  while (!runs.empty()) {
    const Run last = runs.back();
    runs.pop_back();
    if (!last.reduced) {
      inner *= last.size;
      continue;
    }
    int64_t batch = 1;
    for (const Run& run : runs) batch *= run.size;
    for (int64_t length = last.size;;) {
      Pass p{dtype, batch, length, inner, 0, 0, 0};
      if (inner == 1) {
        p.step = length > kLongestRow ? kChunkElements : std::max<int64_t>(1, length);
      } else {
        p.step = column_step(batch, length, inner);
      }
      p.parts = std::max<int64_t>(1, ceil_div(length, p.step));
      list.push_back(p);
      dtype = register_type(dtype);
      length = p.parts;
      if (length == 1) break;
    }
  }
  return list;
}

void run_rows(const Pass& p, const kern::Kernels& k, par::Pool& pool, const void* in, void* out) {
  const int64_t width = size_bytes(p.dtype);
  const int64_t out_width = size_bytes(register_type(p.dtype));
  if (p.parts > 1) {
    run_chunks(pool, p.batch * p.parts, [&](int64_t chunk, int) {
      const int64_t first = chunk % p.parts * p.step;
      k.reduce_rows({kern::Reduce::kSum, p.dtype, at(in, (chunk / p.parts * p.length + first) * width), 1,
                     std::min(p.step, p.length - first), p.length, at(out, chunk * out_width)});
    });
    return;
  }
  for_chunks(pool, row_chunks(p.batch, p.length), [&](int64_t first, int64_t count) {
    k.reduce_rows({kern::Reduce::kSum, p.dtype, at(in, first * p.length * width), count, p.length, p.length,
                   at(out, first * out_width)});
  });
}

void run_columns(const Pass& p, const kern::Kernels& k, par::Pool& pool, const void* in, void* out) {
  const int64_t width = size_bytes(p.dtype);
  const int64_t out_width = size_bytes(register_type(p.dtype));
  const int64_t blocks = ceil_div(p.inner, kColumnBlock);
  const int64_t calls = p.batch * p.parts * blocks;
  const int64_t calls_per_chunk =
      std::max<int64_t>(1, kChunkElements / std::max<int64_t>(1, p.step * std::min(p.inner, kColumnBlock)));
  for_chunks(pool, {calls, calls_per_chunk}, [&](int64_t first_call, int64_t count) {
    for (int64_t call = first_call; call < first_call + count; ++call) {
      const int64_t column = call % blocks * kColumnBlock;
      const int64_t part = call / blocks % p.parts;
      const int64_t batch = call / blocks / p.parts;
      const int64_t row = part * p.step;
      k.sum_columns({p.dtype, at(in, ((batch * p.length + row) * p.inner + column) * width),
                     std::min(p.step, p.length - row), std::min(kColumnBlock, p.inner - column), p.inner,
                     at(out, ((batch * p.parts + part) * p.inner + column) * out_width)});
    }
  });
}

Prepared prepare(const PrepareContext& c) {
  const Type& x = c.input(0);
  const Type& y = c.output(0);
  const std::vector<int64_t> axes = reduction_axes(c.attributes().ints_at("axes"), true, x.shape.size());
  const int64_t n = elements(y.shape);
  const double scale =
      c.node.op == "ReduceMean" ? 1.0 / static_cast<double>(reduced_count(x.shape, axes)) : 1.0;
  std::vector<Pass> list = passes(x.dtype, x.shape, axes);
  const DType wide = register_type(x.dtype);
  const bool direct = !list.empty() && wide == y.dtype && scale == 1.0;  // the last pass writes y itself
  int64_t scratch = 0;
  for (size_t i = 0; i < list.size(); ++i) {
    list[i].out_offset = scratch;
    if (!(direct && i + 1 == list.size()))
      scratch += aligned_bytes(list[i].batch * list[i].parts * list[i].inner * size_bytes(wide));
  }
  const int64_t width = size_bytes(y.dtype);
  return {scratch, [=, k = c.kernels, dtype = y.dtype](const RunContext& r) {
            const void* in = r.in[0];
            for (size_t i = 0; i < list.size(); ++i) {
              void* out = direct && i + 1 == list.size() ? r.out[0]
                                                         : static_cast<void*>(r.scratch + list[i].out_offset);
              (list[i].inner == 1 ? run_rows : run_columns)(list[i], k, r.pool, in, out);
              in = out;
            }
            if (direct) return;
            const DType from = list.empty() ? dtype : wide;
            for_chunks(r.pool, element_chunks(n), [&](int64_t first, int64_t count) {
              k.convert(
                  {from, at(in, first * size_bytes(from)), dtype, at(r.out[0], first * width), count, scale});
            });
          }};
}

std::vector<ValueId> gradient(GradientContext& c) {
  Builder& b = c.builder;
  const Shape x = b.shape(c.x(0));
  const std::vector<int64_t> axes = reduction_axes(c.node.attributes.ints_at("axes"), true, x.size());
  ValueId dy = c.dy[0];
  if (c.node.op == "ReduceMean") {
    const double factor = 1.0 / static_cast<double>(reduced_count(x, axes));
    if (factor != 1.0) dy = b.add1("Scale", {dy}, {{"alpha", factor}, {"beta", 0.0}});
  }
  Shape kept = x;
  for (const int64_t axis : axes) kept[static_cast<size_t>(axis)] = 1;
  dy = b.reshape(dy, kept);
  return {kept == x ? dy : b.add1("Expand", {dy}, {{"shape", x}})};
}

Permuted permute(const ir::Graph&, const ir::Node& node, const std::vector<int64_t>& perm) {
  const std::vector<int64_t> axes = reduction_axes(node.attributes.ints_at("axes"), true, perm.size());
  Permuted out{true, node.attributes, {}};
  std::vector<int64_t> moved;
  for (const int64_t axis : axes) moved.push_back(perm[static_cast<size_t>(axis)]);
  std::sort(moved.begin(), moved.end());
  out.attributes.set("axes", moved);
  if (node.attributes.int_at("keepdims") != 0) {
    out.output_axes = perm;
    return out;
  }
  // What is left of perm when the reduced axes are gone, renumbered.
  for (size_t i = 0; i < perm.size(); ++i) {
    if (contains(axes, i)) continue;
    const auto gone = std::count_if(moved.begin(), moved.end(), [&](int64_t axis) { return axis < perm[i]; });
    out.output_axes.push_back(perm[i] - gone);
  }
  if (std::is_sorted(out.output_axes.begin(), out.output_axes.end())) out.output_axes.clear();
  return out;
}

ValueId reduce(ImportContext& c, std::string_view op, const std::vector<int64_t>& axes, int64_t keepdims) {
  if (axes.empty()) return c.inputs[0];
  return c.builder.add1(op, {c.inputs[0]}, {{"axes", axes}, {"keepdims", keepdims}});
}

std::vector<ValueId> import(ImportContext& c) {
  if (c.op_type == "ReduceSum" && !is_float(c.builder.type(c.inputs[0]).dtype)) return import_whole_reduce(c);
  const OnnxReduction r = onnx_reduction(c);
  return {reduce(c, c.op_type, r.axes, r.keepdims ? 1 : 0)};
}

std::vector<ValueId> import_global_average_pool(ImportContext& c) {
  check_attributes(c.attributes, {});
  if (c.shape(0).size() < 3)
    throw input_error("an input [N, C, ...] was expected, got {}", to_string(c.shape(0)));
  std::vector<int64_t> axes;
  for (size_t i = 2; i < c.shape(0).size(); ++i) axes.push_back(static_cast<int64_t>(i));
  return {reduce(c, "ReduceMean", axes, 1)};
}

}  // namespace

std::vector<int64_t> levels(int64_t length, int64_t columns) {
  std::vector<int64_t> steps;
  for (const Pass& p : passes(DType::kF32, {length, columns}, {0})) steps.push_back(p.step);
  return steps;
}

}  // namespace reduce

std::vector<int64_t> reduction_levels(int64_t length, int64_t columns) {
  return reduce::levels(length, columns);
}

OnnxReduction onnx_reduction(const ImportContext& c) {
  const bool axes_input = c.opset >= (c.op_type == "ReduceSum" ? 13 : 18);
  std::vector<int64_t> given;
  bool noop = false;
  if (axes_input) {
    check_attributes(c.attributes, {"keepdims", "noop_with_empty_axes"});
    noop = c.attributes.int_or("noop_with_empty_axes", 0) != 0;
    if (c.has(1)) given = c.int_constant(1);
  } else {
    check_attributes(c.attributes, {"keepdims", "axes"});
    given = c.attributes.ints_or("axes", {});
  }
  return {reduction_axes(given, noop, c.shape(0).size()), c.attributes.int_or("keepdims", 1) != 0};
}

namespace reduce {

const OpFamily& family() {
  static const OpFamily family{
      {OpDef("ReduceMean", infer, prepare, GradientRule{gradient}, Alias::kFresh, Permute::kAxes, permute),
       OpDef("ReduceSum", infer, prepare, GradientRule{gradient}, Alias::kFresh, Permute::kAxes, permute)},
      {{.op_type = "ReduceMean", .since = 1, .until = 24, .import = import, .fold = fold_reduce},
       {.op_type = "ReduceSum", .since = 1, .until = 24, .import = import, .fold = fold_reduce},
       {.op_type = "GlobalAveragePool", .since = 1, .until = 24, .import = import_global_average_pool}},
  };
  return family;
}

}  // namespace reduce

}  // namespace halftone::ops
