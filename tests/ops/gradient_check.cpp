#include "gradient_check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "exec/program.h"
#include "num/random.h"
#include "ops/effects.h"
#include "pass/differentiate.h"

namespace halftone::ops::test {
namespace {

constexpr double kStep =
    0x1p-17;  // about the cube root of double's epsilon, where the two errors of a central
              // difference (step^2 and epsilon / step) are equal; a power of two, so that
              // x + step is exact
constexpr double kKinkMargin = 0x1p-5;

bool contains(const std::vector<size_t>& list, size_t i) {
  return std::find(list.begin(), list.end(), i) != list.end();
}

double uniform(uint64_t seed, uint64_t stream, uint64_t element) {
  return static_cast<double>(num::random32(num::random_key(seed, stream), element, 0)) * 0x1p-32;
}

DType input_type(const Case& c, size_t i, DType dtype) {
  if (const auto whole = c.whole.find(i); whole != c.whole.end()) return whole->second;
  if (contains(c.labels, i)) return DType::kI32;
  return contains(c.statistics, i) ? register_type(dtype) : dtype;
}

Numbers rounded(const Numbers& values, DType dtype) {
  Tensor t(DType::kF64, {static_cast<int64_t>(values.size())});
  std::copy(values.begin(), values.end(), t.as<double>().begin());
  const Tensor back = converted(converted(t, dtype), DType::kF64);
  return {back.as<double>().begin(), back.as<double>().end()};
}

// The case's nodes and, if wanted, their gradient as a program.
class Network {
 public:
  Network(const Case& c, DType dtype, bool gradient, kern::Isa isa, int threads)
      : step_(c.step), pool_(threads) {
    ir::Graph graph;
    Builder b(graph, dtype);
    const auto input = [&](const Type& type) {
      ir::Value v;
      v.kind = ir::ValueKind::kInput;
      v.type = type;
      v.name = "input" + std::to_string(graph.inputs.size());
      graph.inputs.push_back(graph.add_value(v));
      return graph.inputs.back();
    };
    for (size_t i = 0; i < c.inputs.size(); ++i) x_.push_back(input({input_type(c, i, dtype), c.inputs[i]}));
    y_ = c.build(b, x_);
    graph.outputs.insert(graph.outputs.end(), y_.begin(), y_.end());  // after what the case keeps alive
    if (gradient) {
      std::map<ValueId, ValueId> seeds;
      for (const ValueId y : y_) {
        dy_.push_back(input(b.type(y)));
        seeds[y] = dy_.back();
      }
      std::vector<ValueId> wanted;
      for (size_t i = 0; i < x_.size(); ++i)
        if (!contains(c.fixed, i)) wanted.push_back(x_[i]);
      const std::vector<ValueId> found = pass::differentiate(b, seeds, wanted);
      for (size_t i = 0, k = 0; i < x_.size(); ++i) {
        dx_.push_back(contains(c.fixed, i) ? kNone : found[k++]);
        if (dx_.back() == kNone) continue;
        EXPECT_EQ(b.type(dx_.back()), b.type(x_[i])) << "the gradient of input " << i;
        graph.outputs.push_back(dx_.back());
      }
    }
    ops::remove_dead_nodes(graph);
    program_.emplace(std::move(graph), kern::table(isa), c.multiply, pool_, store_, arena_);
    program_->attach();
  }

  Result run(const std::vector<Numbers>& x, const std::vector<Numbers>& dy) {
    for (size_t i = 0; i < x.size(); ++i) write(x_[i], x[i]);
    for (size_t k = 0; k < dy_.size(); ++k) write(dy_[k], dy[k]);
    StepState step = step_;
    program_->run(ir::Phase::kCompute, step);
    Result out;
    for (const ValueId id : y_) out.y.push_back(read(id));
    for (size_t i = 0; i < dx_.size(); ++i)
      out.dx.push_back(dx_[i] == kNone ? Numbers(x[i].size(), 0.0) : read(dx_[i]));
    return out;
  }

 private:
  void write(ValueId id, const Numbers& values) {
    const Type& type = program_->graph().value(id).type;
    ASSERT_EQ(elements(type.shape), static_cast<int64_t>(values.size()));
    if (program_->data(id) == nullptr) return;  // nobody reads it
    Tensor wide(DType::kF64, type.shape);
    std::copy(values.begin(), values.end(), wide.as<double>().begin());
    const Tensor narrow =
        is_float(type.dtype)
            ? converted(wide, type.dtype)
            : converted(int64_tensor({values.begin(), values.end()}, type.shape), type.dtype);
    std::memcpy(program_->data(id), narrow.data(), static_cast<size_t>(narrow.bytes()));
  }
  Numbers read(ValueId id) const {
    const Type& type = program_->graph().value(id).type;
    Tensor t(type.dtype, type.shape);
    if (t.size() > 0) std::memcpy(t.data(), program_->data(id), static_cast<size_t>(t.bytes()));
    if (!is_float(type.dtype)) {
      const std::vector<int64_t> whole = to_int64s(t);
      return {whole.begin(), whole.end()};
    }
    const Tensor wide = converted(t, DType::kF64);
    return {wide.as<double>().begin(), wide.as<double>().end()};
  }

  StepState step_;
  par::Pool pool_;
  exec::Store store_;
  exec::Arena arena_;
  std::vector<ValueId> x_, y_, dy_, dx_;
  std::optional<exec::Program> program_;
};

// dy: magnitudes in [1/2, 3/2], both signs.
std::vector<Numbers> random_seeds(const Case& c, const std::vector<Numbers>& y, DType dtype) {
  std::vector<Numbers> dy;
  for (size_t k = 0; k < y.size(); ++k) {
    Numbers list;
    for (size_t i = 0; i < y[k].size(); ++i) {
      const double u = uniform(c.seed, 1000 + k, i);
      list.push_back(u < 0.5 ? 0.5 + 2 * u : 0.5 - 2 * u);
    }
    dy.push_back(rounded(list, dtype));
  }
  return dy;
}

// What central differences say about the point x.
struct Numeric {
  std::vector<Numbers> dx;         // sum over outputs of dy * dy/dx
  std::vector<Numbers> tolerance;  // of dx, estimated from a second step size
  std::vector<Numbers> magnitude;  // sum over outputs of |dy * dy/dx|
  std::vector<Numbers> y_scale;    // of each output: |y| + sum over inputs of |dy/dx * x|
};

Numeric differences(const Case& c, const std::vector<Numbers>& x, const std::vector<Numbers>& dy) {
  Network network(c, DType::kF64, false, kern::Isa::kReference, 1);
  const std::vector<Numbers> y = network.run(x, {}).y;
  Numeric out;
  double loss_scale = 0;
  for (size_t k = 0; k < y.size(); ++k) {
    out.y_scale.push_back(map(y[k], [](double v) { return std::fabs(v); }));
    for (size_t i = 0; i < y[k].size(); ++i) loss_scale += std::fabs(dy[k][i] * y[k][i]);
  }
  std::vector<Numbers> moved = x;
  for (size_t input = 0; input < x.size(); ++input) {
    const size_t n = contains(c.fixed, input) ? 0 : x[input].size();
    out.dx.emplace_back(n, 0.0);
    out.tolerance.emplace_back(n, 0.0);
    out.magnitude.emplace_back(n, 0.0);
    for (size_t j = 0; j < n; ++j) {
      double slope[2] = {0, 0};  // with one step and with two
      for (const int steps : {2, 1}) {
        const double h = kStep * steps;
        moved[input][j] = x[input][j] + h;
        const std::vector<Numbers> above = network.run(moved, {}).y;
        moved[input][j] = x[input][j] - h;
        const std::vector<Numbers> below = network.run(moved, {}).y;
        moved[input][j] = x[input][j];
        for (size_t k = 0; k < y.size(); ++k)
          for (size_t i = 0; i < y[k].size(); ++i) {
            const double d = (above[k][i] - below[k][i]) / (2 * h);
            slope[steps - 1] += dy[k][i] * d;
            if (steps != 1) continue;
            out.magnitude[input][j] += std::fabs(dy[k][i] * d);
            out.y_scale[k][i] += std::fabs(d * x[input][j]);
          }
      }
      out.dx[input][j] = slope[0];
      // The error of order step^2 is a third of what doubling the step changes; rounding: a few epsilons of
      // the loss over the step.
      out.tolerance[input][j] = std::fabs(slope[1] - slope[0]) + 8 * 0x1p-53 * (1 + loss_scale) / kStep;
    }
  }
  return out;
}

double unit_roundoff(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return 0x1p-11;
    case DType::kBf16:
      return 0x1p-8;
    default:
      return 0x1p-24;
  }
}

void check_against_differences(const Case& c) {
  const std::vector<Numbers> x = random_inputs(c, DType::kF64);
  Network network(c, DType::kF64, false, kern::Isa::kReference, 1);
  const std::vector<Numbers> y = network.run(x, {}).y;
  if (c.expected) {
    const std::vector<Numbers> expected = c.expected(x);
    ASSERT_EQ(expected.size(), y.size());
    for (size_t k = 0; k < y.size(); ++k) {
      ASSERT_EQ(expected[k].size(), y[k].size());
      // Constants of formulas and attributes are fp32 in the kernels: 2^-24.
      for (size_t i = 0; i < y[k].size(); ++i)
        ASSERT_NEAR(y[k][i], expected[k][i], 0x1p-22 * (1 + std::fabs(expected[k][i])))
            << "output " << k << " element " << i;
    }
  }
  const std::vector<Numbers> dy = random_seeds(c, y, DType::kF64);
  const Result result = run(c, DType::kF64, x, dy);
  const Numeric numeric = differences(c, x, dy);
  size_t nonzero = 0;
  size_t all = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    if (contains(c.fixed, i)) continue;
    for (size_t j = 0; j < x[i].size(); ++j) {
      const double tolerance = numeric.tolerance[i][j];
      ASSERT_LT(tolerance, 1e-5 * (1 + numeric.magnitude[i][j]))
          << "input " << i << " element " << j << " = " << x[i][j] << " is no point to differentiate at";
      ASSERT_NEAR(result.dx[i][j], numeric.dx[i][j], tolerance)
          << "the gradient of input " << i << " element " << j << " at " << x[i][j];
      ++all;
      nonzero += result.dx[i][j] != 0 ? 1 : 0;
    }
  }
  ASSERT_GE(static_cast<double>(nonzero), c.nonzero * static_cast<double>(all));
}

void check_storage(const Case& c, DType dtype) {
  const std::vector<Numbers> x = random_inputs(c, dtype);
  Network forward_only(c, DType::kF64, false, kern::Isa::kReference, 1);
  const std::vector<Numbers> dy = random_seeds(c, forward_only.run(x, {}).y, dtype);
  const Result wide = run(c, DType::kF64, x, dy);
  const Result got = run(c, dtype, x, dy);
  const Numeric numeric = differences(c, x, dy);
  const double u = unit_roundoff(dtype);
  const double smallest = dtype == DType::kF16 ? 0x1p-25 : 0x1p-126;  // half a subnormal; what is flushed
  double terms = 16;  // operations in fp32 registers: a formula's dozen, and a sum over an input
  double dy_sum = 0;
  for (const Numbers& list : x) terms += static_cast<double>(list.size());
  for (const Numbers& list : dy)
    for (const double v : list) dy_sum += std::fabs(v);
  // Products in blocks: 2^-13 of the block's largest operand for each of them (numerics.md section 2).
  const double product = c.multiply == kern::Multiply::kBlock ? 0x1p-11 : 0;
  for (size_t k = 0; k < wide.y.size(); ++k)
    for (size_t i = 0; i < wide.y[k].size(); ++i) {
      const double bound =
          u * std::fabs(wide.y[k][i]) + c.y_roundings * smallest +
          ((c.y_roundings - 1) * u + terms * 0x1p-24 + product * terms) * numeric.y_scale[k][i];
      ASSERT_NEAR(got.y[k][i], wide.y[k][i], bound) << "output " << k << " element " << i;
    }
  for (size_t i = 0; i < x.size(); ++i) {
    if (contains(c.fixed, i)) continue;
    for (size_t j = 0; j < x[i].size(); ++j) {
      // Register errors are relative to what a formula adds up before terms cancel: about dy's size.
      const double bound = c.roundings * (u * numeric.magnitude[i][j] + smallest * (1 + dy_sum)) +
                           (terms * 0x1p-24 + product * terms) * (numeric.magnitude[i][j] + dy_sum);
      ASSERT_NEAR(got.dx[i][j], wide.dx[i][j], bound)
          << "the gradient of input " << i << " element " << j << " at " << x[i][j];
    }
  }
  for (const kern::Isa isa : kern::available())
    for (const int threads : {1, 3}) {
      const Result other = run(c, dtype, x, dy, isa, threads);
      ASSERT_EQ(other.y, got.y) << kern::name_of(isa) << " with " << threads << " threads";
      ASSERT_EQ(other.dx, got.dx) << kern::name_of(isa) << " with " << threads << " threads";
    }
}

}  // namespace

std::vector<Numbers> random_inputs(const Case& c, DType dtype) {
  std::vector<Numbers> out;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const auto n = static_cast<size_t>(elements(c.inputs[i]));
    Numbers list;
    for (size_t j = 0; j < n; ++j) list.push_back(c.low + (c.high - c.low) * uniform(c.seed, i, j));
    if (c.distinct) {  // ranks instead of values
      std::vector<size_t> order(n);
      for (size_t j = 0; j < n; ++j) order[j] = j;
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return list[a] < list[b]; });
      for (size_t rank = 0; rank < n; ++rank)
        list[order[rank]] = (static_cast<double>(rank) - static_cast<double>(n) / 2) / 64;
    }
    for (double& v : list)
      for (const double kink : c.kinks)
        if (std::fabs(v - kink) < kKinkMargin) v = kink + (v < kink ? -kKinkMargin : kKinkMargin);
    if (c.whole.count(i) != 0) {
      out.push_back(map(list, [](double v) { return std::trunc(v); }));
      continue;
    }
    out.push_back(contains(c.labels, i) ? list : rounded(list, input_type(c, i, dtype)));
  }
  return out;
}

Result run(const Case& c, DType dtype, const std::vector<Numbers>& x, const std::vector<Numbers>& dy,
           kern::Isa isa, int threads) {
  return Network(c, dtype, true, isa, threads).run(x, dy);
}

std::vector<kern::Isa> isas(DType dtype) {
  return dtype == DType::kF64 ? std::vector<kern::Isa>{kern::Isa::kReference} : kern::available();
}

std::vector<Numbers> forward(const Case& c, DType dtype, const std::vector<Numbers>& x, int threads) {
  std::vector<Numbers> reference;
  for (const kern::Isa isa : isas(dtype)) {
    std::vector<Numbers> y = Network(c, dtype, false, isa, threads).run(x, {}).y;
    if (reference.empty()) reference = y;
    EXPECT_EQ(y, reference) << kern::name_of(isa);
  }
  return reference;
}

std::string fault(const Case& c, const std::vector<Numbers>& x) {
  try {
    Network(c, DType::kF32, false, kern::Isa::kReference, 3).run(x, {});
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

void check(const Case& c) {
  SCOPED_TRACE("seed " + std::to_string(c.seed));
  ASSERT_NO_FATAL_FAILURE(check_against_differences(c));
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBf16}) {
    SCOPED_TRACE(std::string(name_of(dtype)));
    ASSERT_NO_FATAL_FAILURE(check_storage(c, dtype));
  }
}

Numbers map(const Numbers& x, const std::function<double(double)>& f) {
  Numbers y;
  for (const double v : x) y.push_back(f(v));
  return y;
}

Numbers broadcast_map(const Numbers& a, const Shape& a_shape, const Numbers& b, const Shape& b_shape,
                      const std::function<double(double, double)>& f) {
  const Shape y_shape = broadcast(a_shape, b_shape);
  const auto element = [&](const Numbers& values, const Shape& shape, int64_t i) {
    int64_t offset = 0;
    int64_t stride = 1;
    for (size_t d = 0; d < y_shape.size(); ++d) {  // from the last axis
      const int64_t size = y_shape[y_shape.size() - 1 - d];
      if (d < shape.size()) {
        const int64_t own = shape[shape.size() - 1 - d];
        if (own != 1) offset += i % size * stride;
        stride *= own;
      }
      i /= size;
    }
    return values[static_cast<size_t>(offset)];
  };
  Numbers y;
  for (int64_t i = 0; i < elements(y_shape); ++i)
    y.push_back(f(element(a, a_shape, i), element(b, b_shape, i)));
  return y;
}

std::string refusal(const std::vector<Type>& inputs, const std::string& op, const Attributes& attributes) {
  ir::Graph graph;
  Builder b(graph, DType::kF32);
  std::vector<ValueId> x;
  for (const Type& type : inputs) {
    ir::Value v;
    v.kind = ir::ValueKind::kInput;
    v.type = type;
    x.push_back(graph.add_value(v));
  }
  try {
    b.add(op, x, attributes);
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

// ---------------------------------------------------------------- as ONNX writes it
TensorPtr floats(const Numbers& values, const Shape& shape) {
  Tensor wide(DType::kF64, shape);
  EXPECT_EQ(wide.size(), static_cast<int64_t>(values.size()));
  std::copy(values.begin(), values.end(), wide.as<double>().begin());
  return std::make_shared<const Tensor>(converted(wide, DType::kF32));
}
TensorPtr ints(const std::vector<int64_t>& values, const Shape& shape, DType dtype) {
  return std::make_shared<const Tensor>(converted(int64_tensor(values, shape), dtype));
}
TensorPtr ints(const std::vector<int64_t>& values, DType dtype) {
  return ints(values, {static_cast<int64_t>(values.size())}, dtype);
}
TensorPtr number(double value) {
  return floats({value}, {});
}

std::vector<ValueId> import(Builder& b, const OnnxNode& node, const std::vector<ValueId>& x) {
  const OnnxOp* op = find_onnx(node.op_type);
  if (op == nullptr || op->import == nullptr || node.opset < op->since || node.opset > op->until)
    throw input_error("{}-{} is not in the list", node.op_type, node.opset);
  std::vector<ValueId> inputs;
  size_t taken = 0;
  for (size_t i = 0; taken < x.size() || i < (node.known.empty() ? 0 : node.known.rbegin()->first + 1); ++i) {
    const auto it = node.known.find(i);
    if (it == node.known.end()) {
      inputs.push_back(x.at(taken++));
    } else {
      inputs.push_back(it->second == nullptr ? kNone : b.constant(it->second->clone()));
    }
  }
  ImportContext c{b,      node.op_type, "node",    node.opset,     node.attributes,
                  inputs, node.outputs, node.mode, node.batch_norm};
  return op->import(c);
}

Case onnx_case(const OnnxNode& node, const std::vector<Shape>& inputs) {
  Case c;
  c.inputs = inputs;
  c.build = [node](Builder& b, const std::vector<ValueId>& x) {
    std::vector<ValueId> y = import(b, node, x);
    y.erase(std::remove(y.begin(), y.end(), kNone), y.end());
    return y;
  };
  return c;
}

namespace {

ir::Graph imported(const OnnxNode& node, const std::vector<Shape>& inputs) {
  ir::Graph graph;
  Builder b(graph, DType::kF32);
  std::vector<ValueId> x;
  for (const Shape& shape : inputs) {
    ir::Value v;
    v.kind = ir::ValueKind::kInput;
    v.type = {DType::kF32, shape};
    x.push_back(graph.add_value(v));
  }
  graph.outputs = import(b, node, x);
  return graph;
}

}  // namespace

std::vector<Shape> imported_shapes(const OnnxNode& node, const std::vector<Shape>& inputs) {
  const ir::Graph graph = imported(node, inputs);
  std::vector<Shape> shapes;
  for (const ValueId y : graph.outputs) shapes.push_back(graph.value(y).type.shape);
  return shapes;
}

std::vector<std::string> imported_ops(const OnnxNode& node, const std::vector<Shape>& inputs) {
  std::vector<std::string> ops;
  for (const ir::Node& n : imported(node, inputs).nodes) ops.push_back(n.op);
  return ops;
}

std::string refusal(const OnnxNode& node, const std::vector<Shape>& inputs) {
  try {
    imported(node, inputs);
  } catch (const Error& e) {
    return e.what();
  }
  return {};
}

std::vector<Tensor> fold(const std::string& op_type, int opset, const std::vector<TensorPtr>& inputs,
                         const Attributes& attributes, size_t outputs) {
  const OnnxOp* op = find_onnx(op_type);
  if (op == nullptr || op->fold == nullptr || opset < op->since || opset > op->until)
    throw input_error("{}-{} is not in the list of what is folded", op_type, opset);
  std::vector<const Tensor*> raw;
  for (const TensorPtr& input : inputs) raw.push_back(input.get());
  return op->fold(FoldContext{op_type, opset, attributes, raw, outputs});
}

std::string folded_text(const std::string& op_type, int opset, const std::vector<TensorPtr>& inputs,
                        const Attributes& attributes) {
  try {
    const Tensor y = std::move(fold(op_type, opset, inputs, attributes).at(0));
    std::string text;
    if (is_float(y.dtype())) {
      const Tensor wide = converted(y, DType::kF64);
      for (const double v : wide.as<double>()) text += fmt::format("{} ", v);
    } else {
      for (const int64_t v : to_int64s(y)) text += fmt::format("{} ", v);
    }
    return text + fmt::format("({} {})", name_of(y.dtype()), to_string(y.shape()));
  } catch (const Error& e) {
    return e.what();
  }
}

}  // namespace halftone::ops::test
