// LSTM, GRU and RNN, unrolled over time into nodes that have gradients.
//
// formula  ONNX's. The products of all steps' inputs are one MatMul; a step is a MatMul with the state,
//          Add, Split, Sigmoid, Tanh, Mul
// gradient that of the nodes. The gradient of R is a sum over steps: within groups of about sqrt(T) steps,
//          then over the groups, so that few roundings follow each other
// shapes   X[T, N, I] (layout 1: [N, T, I]), W[D, G H, I], R[D, G H, H], B[D, 2 G H] -> Y[T, D, N, H],
//          Y_h[D, N, H], Y_c[D, N, H] (layout 1: [N, T, D, H], [N, D, H]); D directions, G gates
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   at each node
// saves    what the nodes save
// scratch  of the nodes
// alias    none
// errors   more than 4096 steps; clip, input_forget; activations other than Sigmoid, Tanh and Relu, or with
//          parameters; sequence_lens that is not constant; shapes that don't fit
// source   ONNX LSTM-7/14/22, GRU-7/14/22, RNN-7/14/22
// tests    tests/ops/recurrent_test.cpp
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"

namespace halftone::ops::recurrent {
namespace {

using Values = std::vector<ValueId>;

struct Direction {
  bool reverse;
  std::vector<std::string> activations;
  ValueId w = kNone;  // [G H, I]
  ValueId r = kNone;  // [1, G H, H]
  ValueId input_bias = kNone;
  ValueId state_bias = kNone;  // [G H] each, or both none
  ValueId peepholes = kNone;   // [3 H]
  ValueId h = kNone;           // [N, H]
  ValueId c = kNone;
};

class Recurrence {
 public:
  explicit Recurrence(ImportContext& c) : c_(c), b_(c.builder), kind_(c.op_type) {}

  Values run() {
    read();
    std::vector<Values> outputs;  // of each direction: y of each step
    Values last_h;
    Values last_c;
    for (Direction& d : directions_) {
      outputs.push_back(unrolled(d));
      last_h.push_back(b_.reshape(d.h, {1, n_, h_}));
      if (lstm()) last_c.push_back(b_.reshape(d.c, {1, n_, h_}));
    }
    Values whole;
    for (Values& steps : outputs) {
      for (ValueId& y : steps) y = b_.reshape(y, {1, n_, h_});
      whole.push_back(b_.reshape(joined(steps, 0), {t_, 1, n_, h_}));
    }
    ValueId y = joined(whole, 1);
    ValueId y_h = joined(last_h, 0);
    ValueId y_c = lstm() ? joined(last_c, 0) : kNone;
    if (batch_first_) {
      y = b_.transpose(y, {2, 0, 1, 3});
      y_h = b_.transpose(y_h, {1, 0, 2});
      if (lstm()) y_c = b_.transpose(y_c, {1, 0, 2});
    }
    return lstm() ? Values{y, y_h, y_c} : Values{y, y_h};
  }

 private:
  bool lstm() const { return kind_ == "LSTM"; }
  bool gru() const { return kind_ == "GRU"; }
  int64_t gates() const { return lstm() ? 4 : gru() ? 3 : 1; }

  // ---- what the node says
  void read() {
    const Attributes& a = c_.attributes;
    if (lstm()) {
      check_attributes(a, {"activation_alpha", "activation_beta", "activations", "clip", "direction",
                           "hidden_size", "input_forget", "layout"});
    } else if (gru()) {
      check_attributes(a, {"activation_alpha", "activation_beta", "activations", "clip", "direction",
                           "hidden_size", "layout", "linear_before_reset"});
    } else {
      check_attributes(a, {"activation_alpha", "activation_beta", "activations", "clip", "direction",
                           "hidden_size", "layout"});
    }
    for (const char* name : {"activation_alpha", "activation_beta", "clip"})
      if (a.has(name)) throw input_error("the attribute {} is not supported", name);
    if (a.int_or("input_forget", 0) != 0) throw input_error("input_forget (coupled gates) is not supported");
    if (a.has("layout") && c_.opset < 14)
      throw input_error("{} has the attribute layout since opset 14", kind_);
    batch_first_ = a.int_or("layout", 0) != 0;
    after_product_ = a.int_or("linear_before_reset", 0) != 0;
    const std::string direction = a.string_or("direction", "forward");
    if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
      throw input_error("direction is '{}', expected forward, reverse or bidirectional", direction);
    const int64_t count = direction == "bidirectional" ? 2 : 1;

    x_ = c_.inputs[0];
    if (c_.shape(0).size() != 3)
      throw input_error("X must have 3 dimensions, got {}", to_string(c_.shape(0)));
    if (batch_first_) x_ = b_.transpose(x_, {1, 0, 2});
    const Shape x = b_.shape(x_);
    t_ = x[0];
    n_ = x[1];
    const int64_t in = x[2];
    if (t_ < 1 || n_ < 1 || in < 1) throw input_error("X {} has no elements", to_string(x));
    constexpr int64_t kMostSteps = 4096;  // some fifteen nodes each, and twice that for the gradient
    if (t_ > kMostSteps)
      throw input_error("a sequence of {} steps is longer than {}, up to which Halftone unrolls {}", t_,
                        kMostSteps, kind_);
    const Shape r = c_.shape(2);
    if (r.size() != 3) throw input_error("R must have 3 dimensions, got {}", to_string(r));
    h_ = r[2];
    if (a.int_or("hidden_size", h_) != h_)
      throw input_error("hidden_size is {}, but R is {}", a.int_at("hidden_size"), to_string(r));
    expect(1, "W", {count, gates() * h_, in});
    expect(2, "R", {count, gates() * h_, h_});
    if (c_.has(3)) expect(3, "B", {count, 2 * gates() * h_});
    read_lengths();
    const Shape state = batch_first_ ? Shape{n_, count, h_} : Shape{count, n_, h_};
    if (c_.has(5)) expect(5, "initial_h", state);
    if (lstm() && c_.has(6)) expect(6, "initial_c", state);
    if (lstm() && c_.has(7)) expect(7, "P", {count, 3 * h_});

    const std::vector<std::string> names = read_activations(a, count);
    const Values w = each(c_.inputs[1], count);
    const Values rs = each(c_.inputs[2], count);
    const Values bias = c_.has(3) ? each(c_.inputs[3], count) : Values(static_cast<size_t>(count), kNone);
    const Values h = states(5, count);
    const Values cs = lstm() ? states(6, count) : Values(static_cast<size_t>(count), kNone);
    const Values p =
        lstm() && c_.has(7) ? each(c_.inputs[7], count) : Values(static_cast<size_t>(count), kNone);
    const size_t functions = names.size() / static_cast<size_t>(count);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      Direction d{direction == "reverse" || i == 1, {}};
      d.activations.assign(names.begin() + static_cast<std::ptrdiff_t>(i * functions),
                           names.begin() + static_cast<std::ptrdiff_t>((i + 1) * functions));
      d.w = b_.reshape(w[i], {gates() * h_, in});
      d.r = rs[i];
      if (bias[i] != kNone) {
        const Values both = split(b_.reshape(bias[i], {2 * gates() * h_}), 0, {gates() * h_, gates() * h_});
        d.input_bias = both[0];
        d.state_bias = both[1];
      }
      if (p[i] != kNone) d.peepholes = b_.reshape(p[i], {3 * h_});
      d.h = b_.reshape(h[i], {n_, h_});
      if (lstm()) d.c = b_.reshape(cs[i], {n_, h_});
      directions_.push_back(d);
    }
  }

  void expect(size_t i, const char* name, const Shape& shape) const {
    if (c_.shape(i) != shape)
      throw input_error("{} is {}, expected {}", name, to_string(c_.shape(i)), to_string(shape));
  }

  // lengths_: one a sample, none when all sequences have all steps.
  void read_lengths() {
    if (!c_.has(4)) return;
    const Tensor* known = c_.constant(4);
    if (known == nullptr)
      throw input_error(
          "sequence_lens (input 4) depends on the samples, which is not supported: export the network "
          "without lengths, or "
          "with constant ones");
    std::vector<int64_t> lengths = c_.int_constant(4);
    if (static_cast<int64_t>(lengths.size()) != n_)
      throw input_error("sequence_lens has {} numbers for a batch of {}", lengths.size(), n_);
    for (const int64_t length : lengths)
      if (length < 1 || length > t_) throw input_error("a sequence of {} in {} steps", length, t_);
    if (std::any_of(lengths.begin(), lengths.end(), [&](int64_t l) { return l != t_; }))
      lengths_ = std::move(lengths);
  }

  std::vector<std::string> read_activations(const Attributes& a, int64_t count) const {
    std::vector<std::string> defaults = lstm()  ? std::vector<std::string>{"Sigmoid", "Tanh", "Tanh"}
                                        : gru() ? std::vector<std::string>{"Sigmoid", "Tanh"}
                                                : std::vector<std::string>{"Tanh"};
    std::vector<std::string> names =
        a.has("activations") ? strings(a.string_or("activations", "")) : defaults;
    if (!a.has("activations") && count == 2) names.insert(names.end(), defaults.begin(), defaults.end());
    if (names.size() != defaults.size() * static_cast<size_t>(count))
      throw input_error("there are {} activations, expected {}", names.size(),
                        defaults.size() * static_cast<size_t>(count));
    for (std::string& name : names) {
      for (const char* known : {"Sigmoid", "Tanh", "Relu"})
        if (lower(name) == lower(known)) name = known;
      if (name != "Sigmoid" && name != "Tanh" && name != "Relu")
        throw input_error("the activation '{}' is not supported, only Sigmoid, Tanh and Relu are", name);
    }
    return names;
  }
  static std::string lower(std::string text) {
    for (char& ch : text) ch = ch >= 'A' && ch <= 'Z' ? static_cast<char>(ch - 'A' + 'a') : ch;
    return text;
  }
  // A list of strings is one of lines.
  static std::vector<std::string> strings(const std::string& text) {
    std::vector<std::string> lines;
    for (size_t from = 0; from < text.size();) {
      const size_t end = std::min(text.find('\n', from), text.size());
      lines.push_back(text.substr(from, end - from));
      from = end + 1;
    }
    return lines;
  }

  // ---- values
  ValueId joined(const Values& parts, int64_t axis) {
    return parts.size() == 1 ? parts[0] : b_.add1("Concat", parts, {{"axis", axis}});
  }
  Values split(ValueId x, int64_t axis, const std::vector<int64_t>& sizes) {
    if (sizes.size() == 1) return {x};
    return b_.add("Split", {x}, {{"axis", axis}, {"split", sizes}});
  }
  // The directions of [D, ...], still with a first axis of 1.
  Values each(ValueId x, int64_t count) {
    return split(x, 0, std::vector<int64_t>(static_cast<size_t>(count), 1));
  }
  Values states(size_t i, int64_t count) {
    if (!c_.has(i)) {
      const ValueId zeros = b_.constant(folded(DType::kF32, {n_, h_}));
      return Values(static_cast<size_t>(count), zeros);
    }
    return each(batch_first_ ? b_.transpose(c_.inputs[i], {1, 0, 2}) : c_.inputs[i], count);
  }
  ValueId add(ValueId x, ValueId y) { return b_.add1("Add", {x, y}); }
  ValueId mul(ValueId x, ValueId y) { return b_.add1("Mul", {x, y}); }
  ValueId activate(const std::string& name, ValueId x) { return b_.add1(name, {x}); }
  // x[.., K] by w[M, K], + bias[M]
  ValueId product(ValueId x, ValueId w, ValueId bias = kNone) {
    Values inputs{x, w};
    if (bias != kNone) inputs.push_back(bias);
    return b_.add1("MatMul", inputs, {{"trans_b", int64_t{1}}});
  }

  // ---- the loop
  Values unrolled(Direction& d) {
    const int64_t width = gates() * h_;
    const int64_t in = b_.shape(x_)[2];
    // GRU's second bias stands inside the product that the reset gate multiplies.
    ValueId bias = d.input_bias;
    if (bias != kNone && !(gru() && after_product_)) bias = add(bias, d.state_bias);
    const ValueId all = product(b_.reshape(x_, {t_ * n_, in}), d.w, bias);
    Values steps =
        split(b_.reshape(all, {t_, n_, width}), 0, std::vector<int64_t>(static_cast<size_t>(t_), 1));
    const auto group = static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(t_))));
    Values y(static_cast<size_t>(t_), kNone);
    Values r;  // of the gates and, where GRU multiplies by it alone, of the candidate
    for (int64_t i = 0; i < t_; ++i) {
      // A view of R for each group of steps, where their gradients are added.
      if (i % group == 0) {
        r = {b_.add1("Reshape", {d.r}, {{"shape", Shape{width, h_}}})};
        if (gru() && !after_product_) r = split(r[0], 0, {2 * h_, h_});
      }
      const int64_t t = d.reverse ? t_ - 1 - i : i;
      const auto at = static_cast<size_t>(t);
      const ValueId x = b_.reshape(steps[at], {n_, width});
      const ValueId before_h = d.h;
      const ValueId before_c = d.c;
      if (lstm()) {
        lstm_step(d, x, r[0]);
      } else if (gru()) {
        gru_step(d, x, r);
      } else {
        d.h = activate(d.activations[0], add(x, product(d.h, r[0])));
      }
      y[at] = d.h;
      if (lengths_.empty()) continue;
      // Steps beyond a sequence's end leave its state alone and give zeros.
      Tensor on = folded(DType::kF32, {n_, 1});
      Tensor off = folded(DType::kF32, {n_, 1});
      bool every = true;
      for (size_t k = 0; k < lengths_.size(); ++k) {
        on.as<float>()[k] = t < lengths_[k] ? 1 : 0;
        off.as<float>()[k] = t < lengths_[k] ? 0 : 1;
        every = every && t < lengths_[k];
      }
      if (every) continue;
      const ValueId here = b_.constant(std::move(on));
      const ValueId beyond = b_.constant(std::move(off));
      y[at] = mul(d.h, here);
      d.h = add(y[at], mul(before_h, beyond));
      if (lstm()) d.c = add(mul(d.c, here), mul(before_c, beyond));
    }
    return y;
  }

  void lstm_step(Direction& d, ValueId x, ValueId r) {
    const ValueId all = add(x, product(d.h, r));
    const std::string& gate = d.activations[0];
    ValueId i, o, f, candidate, of_output = kNone;
    if (d.peepholes == kNone) {  // the three gates are one run of numbers
      const Values parts = split(all, 1, {3 * h_, h_});
      const Values three = split(activate(gate, parts[0]), 1, {h_, h_, h_});
      i = three[0];
      o = three[1];
      f = three[2];
      candidate = parts[1];
    } else {
      const Values parts = split(all, 1, {h_, h_, h_, h_});
      const Values p = split(d.peepholes, 0, {h_, h_, h_});
      i = activate(gate, add(parts[0], mul(p[0], d.c)));
      f = activate(gate, add(parts[2], mul(p[2], d.c)));
      o = parts[1];
      of_output = p[1];
      candidate = parts[3];
    }
    d.c = add(mul(f, d.c), mul(i, activate(d.activations[1], candidate)));
    if (of_output != kNone) o = activate(gate, add(o, mul(of_output, d.c)));  // which sees the new state
    d.h = mul(o, activate(d.activations[2], d.c));
  }

  void gru_step(Direction& d, ValueId x, const Values& r) {
    const Values of_x = split(x, 1, {2 * h_, h_});
    ValueId gates_of_h, candidate_of_h = kNone;
    if (after_product_) {
      const Values of_h = split(product(d.h, r[0], d.state_bias), 1, {2 * h_, h_});
      gates_of_h = of_h[0];
      candidate_of_h = of_h[1];
    } else {
      gates_of_h = product(d.h, r[0]);
    }
    const Values gates = split(activate(d.activations[0], add(of_x[0], gates_of_h)), 1, {h_, h_});
    const ValueId update = gates[0];
    const ValueId reset = gates[1];
    if (after_product_) {
      candidate_of_h = mul(reset, candidate_of_h);
    } else {
      candidate_of_h = product(mul(reset, d.h), r[1]);
    }
    const ValueId candidate = activate(d.activations[1], add(of_x[1], candidate_of_h));
    // (1 - z) candidate + z h
    d.h = add(candidate, mul(update, b_.add1("Sub", {d.h, candidate})));
  }

  ImportContext& c_;
  Builder& b_;
  const std::string kind_;
  bool batch_first_ = false;
  bool after_product_ = false;  // GRU: the reset gate multiplies the product, not the state
  ValueId x_ = kNone;           // [T, N, I]
  int64_t t_ = 0, n_ = 0, h_ = 0;
  std::vector<int64_t> lengths_;
  std::vector<Direction> directions_;
};

std::vector<ValueId> import(ImportContext& c) {
  return Recurrence(c).run();
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{
      {},
      {{.op_type = "LSTM", .since = 7, .until = 24, .import = import, .required_inputs = 3},
       {.op_type = "GRU", .since = 7, .until = 24, .import = import, .required_inputs = 3},
       {.op_type = "RNN", .since = 7, .until = 24, .import = import, .required_inputs = 3}},
  };
  return family;
}

}  // namespace halftone::ops::recurrent
