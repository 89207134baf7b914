// Einsum, as transpositions, reshapes, products of matrices and sums.
//
// formula  y[output labels] = sum over all other labels of the operands' product. Operands are joined from
//          left to right; a label that neither the output nor a later operand has is summed at once
// gradient that of the nodes it becomes
// shapes   by the equation; `...` stands for leading axes, which broadcast
// dtypes   fp16 bf16 fp32; fp64 in the oracle
// rounds   at each node: sums of one operand, each product
// saves    the operands, for the gradient
// scratch  of the nodes it becomes
// alias    none
// errors   an equation that does not fit the operands; a label of different sizes; a label twice in the
//          output
// source   ONNX Einsum-12
// tests    tests/ops/einsum_test.cpp
#include <algorithm>
#include <map>

#include "base/error.h"
#include "ops/fold.h"
#include "ops/op.h"
#include "ops/slice.h"

namespace halftone::ops::einsum {
namespace {

// A letter, or for the axes of `...` kEllipsis + the axis counted from the last one.
using Label = int;
constexpr Label kEllipsis = 1000;
using Labels = std::vector<Label>;

bool has(const Labels& labels, Label label) {
  return std::find(labels.begin(), labels.end(), label) != labels.end();
}

struct Term {
  ValueId value;
  Labels labels;
};

// One operand's letters; `dots` says where "..." stands (before that many letters), -1 for none.
struct Part {
  Labels letters;
  int64_t dots = -1;
};
Part parse_part(const std::string& equation, const std::string& text) {
  Part part;
  for (size_t i = 0; i < text.size(); ++i) {
    const char ch = text[i];
    if (ch == '.') {
      if (text.compare(i, 3, "...") != 0 || part.dots >= 0)
        throw input_error("equation '{}' has a wrong '.'", equation);
      part.dots = static_cast<int64_t>(part.letters.size());
      i += 2;
    } else if ((ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z')) {
      part.letters.push_back(ch);
    } else {
      throw input_error("equation '{}' has the character '{}'", equation, ch);
    }
  }
  return part;
}

Labels with_ellipsis(const Part& part, int64_t dots) {
  Labels labels = part.letters;
  if (part.dots < 0) return labels;
  Labels axes;
  for (int64_t i = dots; i-- > 0;) axes.push_back(kEllipsis + static_cast<Label>(i));
  labels.insert(labels.begin() + part.dots, axes.begin(), axes.end());
  return labels;
}

class Joiner {
 public:
  explicit Joiner(Builder& builder) : b_(builder) {}

  std::map<Label, int64_t> sizes;  // of all labels

  // Without repeated labels, and without axes of 1 that broadcast.
  Term plain(Term t) {
    for (size_t i = 0; i < t.labels.size(); ++i)
      for (size_t j = i + 1; j < t.labels.size(); ++j)
        if (t.labels[i] == t.labels[j]) return plain(diagonal(t, i, j));
    Term out{t.value, {}};
    const Shape shape = b_.shape(t.value);
    Shape kept;
    for (size_t i = 0; i < t.labels.size(); ++i) {
      if (shape[i] == 1 && sizes.at(t.labels[i]) != 1) continue;
      out.labels.push_back(t.labels[i]);
      kept.push_back(shape[i]);
    }
    out.value = b_.reshape(t.value, kept);
    return out;
  }

  // Sums over the labels that `needed` does not have.
  Term summed(const Term& t, const Labels& needed) {
    std::vector<int64_t> axes;
    Term out{t.value, {}};
    for (size_t i = 0; i < t.labels.size(); ++i) {
      if (has(needed, t.labels[i])) {
        out.labels.push_back(t.labels[i]);
      } else {
        axes.push_back(static_cast<int64_t>(i));
      }
    }
    if (!axes.empty())
      out.value = b_.add1("ReduceSum", {t.value}, {{"axes", axes}, {"keepdims", int64_t{0}}});
    return out;
  }

  // The product of two, summed over the labels that both have and `needed` has not.
  Term joined(Term x, Term y, const Labels& needed) {
    Labels of_x = needed;
    of_x.insert(of_x.end(), y.labels.begin(), y.labels.end());
    x = summed(x, of_x);
    Labels of_y = needed;
    of_y.insert(of_y.end(), x.labels.begin(), x.labels.end());
    y = summed(y, of_y);
    Labels batch, inner, rows, columns;
    for (const Label l : x.labels) {
      if (!has(y.labels, l)) {
        rows.push_back(l);
      } else {
        (has(needed, l) ? batch : inner).push_back(l);
      }
    }
    for (const Label l : y.labels)
      if (!has(x.labels, l)) columns.push_back(l);
    Term out{kNone, batch};
    out.labels.insert(out.labels.end(), rows.begin(), rows.end());
    out.labels.insert(out.labels.end(), columns.begin(), columns.end());
    if (inner.empty()) {
      const ValueId left = arranged(x, {batch, rows}, Shape{count(batch), count(rows), 1});
      const ValueId right = arranged(y, {batch, columns}, Shape{count(batch), 1, count(columns)});
      out.value = b_.add1("Mul", {left, right});
    } else {
      const bool trans_x = x.labels == together({batch, inner, rows});
      const bool trans_y = y.labels == together({batch, columns, inner});
      const ValueId left =
          trans_x ? arranged(x, {batch, inner, rows}, Shape{count(batch), count(inner), count(rows)})
                  : arranged(x, {batch, rows, inner}, Shape{count(batch), count(rows), count(inner)});
      const ValueId right =
          trans_y ? arranged(y, {batch, columns, inner}, Shape{count(batch), count(columns), count(inner)})
                  : arranged(y, {batch, inner, columns}, Shape{count(batch), count(inner), count(columns)});
      out.value =
          b_.add1("MatMul", {left, right}, {{"trans_a", int64_t{trans_x}}, {"trans_b", int64_t{trans_y}}});
    }
    out.value = b_.reshape(out.value, shape_of(out.labels));
    return out;
  }

  ValueId in_order(const Term& t, const Labels& wanted) {
    std::vector<int64_t> perm;
    for (const Label l : wanted)
      perm.push_back(std::find(t.labels.begin(), t.labels.end(), l) - t.labels.begin());
    return b_.transpose(t.value, perm);
  }

 private:
  static Labels together(const std::vector<Labels>& parts) {
    Labels all;
    for (const Labels& part : parts) all.insert(all.end(), part.begin(), part.end());
    return all;
  }
  Shape shape_of(const Labels& labels) const {
    Shape shape;
    for (const Label l : labels) shape.push_back(sizes.at(l));
    return shape;
  }
  int64_t count(const Labels& labels) const { return elements(shape_of(labels)); }
  // A product with one batch entry is one of two-dimensional operands: weights are packed once then.
  ValueId arranged(const Term& t, const std::vector<Labels>& order, Shape shape) {
    if (shape[0] == 1) shape.erase(shape.begin());
    return b_.reshape(in_order(t, together(order)), shape);
  }
  // Axes i and j of the same label become one.
  Term diagonal(const Term& t, size_t i, size_t j) {
    const Shape shape = b_.shape(t.value);
    std::vector<int64_t> perm;
    Term out{kNone, {}};
    Shape flat;
    for (size_t k = 0; k < t.labels.size(); ++k) {
      if (k == i || k == j) continue;
      perm.push_back(static_cast<int64_t>(k));
      out.labels.push_back(t.labels[k]);
      flat.push_back(shape[k]);
    }
    perm.push_back(static_cast<int64_t>(i));
    perm.push_back(static_cast<int64_t>(j));
    const int64_t n = shape[i];
    if (n != shape[j]) throw input_error("a label stands for axes of {} and {} elements", n, shape[j]);
    out.labels.push_back(t.labels[i]);
    const size_t last = flat.size();
    flat.push_back(n * n);
    const ValueId all = b_.reshape(b_.transpose(t.value, perm), flat);
    out.value = add_slice(b_, all, last, 0, n, n + 1);
    return out;
  }

  Builder& b_;
};

std::vector<ValueId> import(ImportContext& c) {
  check_attributes(c.attributes, {"equation"});
  std::string equation = c.attributes.string_or("equation", "");
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  const size_t arrow = equation.find("->");
  std::string left = equation.substr(0, arrow);
  std::vector<Part> parts;
  for (size_t from = 0; from <= left.size();) {
    const size_t comma = std::min(left.find(',', from), left.size());
    parts.push_back(parse_part(equation, left.substr(from, comma - from)));
    from = comma + 1;
  }
  if (parts.size() != c.inputs.size())
    throw input_error("equation '{}' has {} operands, the node {}", equation, parts.size(), c.inputs.size());
  Joiner joiner(c.builder);
  std::vector<Term> terms;
  int64_t most_dots = 0;
  for (size_t k = 0; k < parts.size(); ++k) {
    const Type type = c.builder.type(c.inputs[k]);
    if (!is_float(type.dtype))
      throw input_error("input {} is of type {}, floats were expected", k, name_of(type.dtype));
    const int64_t dots =
        static_cast<int64_t>(type.shape.size()) - static_cast<int64_t>(parts[k].letters.size());
    if (dots < 0 || (dots > 0 && parts[k].dots < 0))
      throw input_error("equation '{}' does not fit input {} of shape {}", equation, k,
                        to_string(type.shape));
    most_dots = std::max(most_dots, dots);
    terms.push_back({c.inputs[k], with_ellipsis(parts[k], dots)});
    for (size_t i = 0; i < type.shape.size(); ++i) {
      const Label label = terms[k].labels[i];
      if (type.shape[i] < 1)
        throw input_error("input {} of shape {} has no elements", k, to_string(type.shape));
      int64_t& size = joiner.sizes.emplace(label, type.shape[i]).first->second;
      if (size == type.shape[i]) continue;
      if (label < kEllipsis || (size != 1 && type.shape[i] != 1))
        throw input_error("in equation '{}' {} stands for axes of {} and {} elements", equation,
                          label < kEllipsis ? std::string(1, static_cast<char>(label)) : "...", size,
                          type.shape[i]);
      size = std::max(size, type.shape[i]);
    }
  }
  Labels wanted;
  if (arrow != std::string::npos) {
    const Part out = parse_part(equation, equation.substr(arrow + 2));
    if (most_dots > 0 && out.dots < 0)
      throw input_error("equation '{}' has '...' on the left alone", equation);
    wanted = with_ellipsis(out, most_dots);
  } else {  // the axes of "...", then in alphabetical order what occurs once
    wanted = with_ellipsis({{}, 0}, most_dots);
    std::map<Label, int> uses;
    for (const Part& part : parts)
      for (const Label l : part.letters) ++uses[l];
    for (const auto& [label, n] : uses)
      if (n == 1) wanted.push_back(label);
  }
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (joiner.sizes.count(wanted[i]) == 0)
      throw input_error("equation '{}' has a label on the right that no operand has", equation);
    if (has(Labels(wanted.begin(), wanted.begin() + static_cast<std::ptrdiff_t>(i)), wanted[i]))
      throw input_error("equation '{}' has a label twice on the right", equation);
  }
  for (Term& t : terms) t = joiner.plain(t);
  const auto needed_after = [&](size_t k) {  // what the output and the operands after k need
    Labels needed = wanted;
    for (size_t later = k + 1; later < terms.size(); ++later)
      needed.insert(needed.end(), terms[later].labels.begin(), terms[later].labels.end());
    return needed;
  };
  Term all = joiner.summed(terms[0], needed_after(0));
  for (size_t k = 1; k < terms.size(); ++k) all = joiner.joined(all, terms[k], needed_after(k));
  return {joiner.in_order(all, wanted)};
}

}  // namespace

const OpFamily& family() {
  static const OpFamily family{{},
                               {{.op_type = "Einsum",
                                 .since = 12,
                                 .until = 24,
                                 .import = import,
                                 .required_inputs = OnnxOp::kEveryInput}}};
  return family;
}

}  // namespace halftone::ops::einsum
