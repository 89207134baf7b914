#include "pass/head.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "pass/probability.h"
#include "pass/value_range.h"

namespace halftone::pass {
namespace {

using ir::Node;
using ir::ValueId;

// The graph's last nodes: views, and before them the activation.
struct End {
  std::vector<const Node*> views;    // from the activation to the output
  const Node* activation = nullptr;  // the node behind which only views stand; nullptr: an input
  ValueId logits = ir::kNone;        // what Sigmoid, Softmax, LogSoftmax (or Log of Softmax) reads
  Ending ending = Ending::kLogits;
};

bool is_view(const Node& node) {
  // In training a Dropout is a node; it changes no place.
  return node.op == "Reshape" || node.op == "Transpose" || node.op == "Dropout";
}

End end_of(const ir::Graph& graph, ValueId output) {
  const std::vector<int32_t> producers = graph.producers();
  const auto producer = [&](ValueId id) {
    const int32_t at = producers[static_cast<size_t>(id)];
    return at < 0 ? nullptr : &graph.nodes[static_cast<size_t>(at)];
  };
  End end;
  ValueId id = output;
  const auto pass_views = [&] {
    for (end.activation = producer(id); end.activation != nullptr && is_view(*end.activation);
         end.activation = producer(id)) {
      end.views.push_back(end.activation);
      id = end.activation->inputs[0];
    }
  };
  pass_views();
  const Node* last = end.activation;
  if (last != nullptr && last->op == "Log") {
    // log(softmax(x)) as some exporters spell LogSoftmax.
    const size_t views = end.views.size();
    id = last->inputs[0];
    pass_views();
    if (end.activation != nullptr && end.activation->op == "Softmax") {
      end.ending = Ending::kLogSoftmax;
      end.logits = end.activation->inputs[0];
    } else {
      end.activation = last;
      end.views.resize(views);
    }
  } else if (last != nullptr) {
    if (last->op == "Sigmoid") end.ending = Ending::kSigmoid;
    if (last->op == "Softmax") end.ending = Ending::kSoftmax;
    if (last->op == "LogSoftmax") end.ending = Ending::kLogSoftmax;
    if (end.ending != Ending::kLogits) end.logits = last->inputs[0];
  }
  std::reverse(end.views.begin(), end.views.end());
  return end;
}

// The shape without the batch and without axes of one element; nothing when the batch is not in front.
bool sample_shape(const Shape& shape, int64_t batch, Shape& sample) {
  sample.clear();
  bool found = batch == 1;
  for (const int64_t d : shape) {
    if (d == 1) continue;
    if (!found) {
      if (d != batch) return false;
      found = true;
      continue;
    }
    sample.push_back(d);
  }
  return found;
}

// Where the rows of a softmax, each an index of its own, are once all views are passed.
void find_rows(const ir::Graph& graph, const End& end, Head& head) {
  Shape shape = graph.value(end.logits).type.shape;
  const int64_t cols = shape.back();
  std::vector<int64_t> row(static_cast<size_t>(elements(shape)));
  for (size_t i = 0; i < row.size(); ++i) row[i] = static_cast<int64_t>(i) / cols;
  for (const Node* view : end.views) {
    if (view->op == "Transpose") {
      const std::vector<int64_t>& perm = view->attributes.ints_at("perm");
      Shape strides(shape.size(), 1);
      for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * shape[i];
      Shape moved;
      for (const int64_t axis : perm) moved.push_back(shape[static_cast<size_t>(axis)]);
      std::vector<int64_t> to(row.size());
      Shape index(moved.size(), 0);
      for (size_t i = 0; i < to.size(); ++i) {
        int64_t from = 0;
        for (size_t a = 0; a < perm.size(); ++a) from += index[a] * strides[static_cast<size_t>(perm[a])];
        to[i] = row[static_cast<size_t>(from)];
        for (size_t a = moved.size(); a-- > 0 && ++index[a] == moved[a];) index[a] = 0;
      }
      row = std::move(to);
      shape = std::move(moved);
    } else {
      shape = graph.value(view->outputs[0]).type.shape;
    }
  }
  head.over_classes = cols == head.per_sample;
  std::vector<int64_t> sample_of(row.size() / static_cast<size_t>(cols), -1);
  for (int64_t n = 0; n < head.batch; ++n)
    for (int64_t i = 0; i < head.per_sample; ++i) {
      const int64_t r = row[static_cast<size_t>(n * head.per_sample + i)];
      int64_t& sample = sample_of[static_cast<size_t>(r)];
      head.mixes_samples = head.mixes_samples || (sample >= 0 && sample != n);
      sample = n;
    }
  head.over_classes = head.over_classes && !head.mixes_samples;
  if (head.shape.size() < 3 || head.shape[0] != head.batch) return;
  // Whether the elements along an axis of `classes`, `inner` apart, are one row each.
  const auto runs_over = [&](int64_t classes, int64_t inner) {
    if (cols != classes) return false;
    for (size_t i = 0; i < row.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const int64_t first = at - (at / inner % classes) * inner;
      if (row[i] != row[static_cast<size_t>(first)]) return false;
    }
    return true;
  };
  head.over_first = runs_over(head.shape[1], head.per_sample / head.shape[1]);
  head.over_last = runs_over(head.shape.back(), 1);
}

// More is not looked at: what decides are graphs of small batches.
constexpr int64_t kMostElements = int64_t{1} << 24;

}  // namespace

Head head_of(const ir::Graph& graph, ValueId output, int64_t batch) {
  const End end = end_of(graph, output);
  Head head;
  head.output = graph.value(output).name;
  head.shape = graph.value(output).type.shape;
  head.batch = batch;
  head.ending = end.ending;
  if (end.activation != nullptr) {
    head.node = end.activation->name;
    head.op = end.activation->op;
  }
  Shape sample;
  if (!sample_shape(head.shape, batch, sample))
    throw input_error(
        "output '{}' has shape {} for a batch of {}; training and evaluation need the batch as its first "
        "dimension",
        head.output, to_string(head.shape), batch);
  head.per_sample = elements(head.shape) / batch;
  head.classes = sample.size() == 1 ? sample[0] : 0;
  head.sample = sample;
  const bool softmax = head.ending == Ending::kSoftmax || head.ending == Ending::kLogSoftmax;
  if (softmax && elements(head.shape) <= kMostElements) find_rows(graph, end, head);
  if (head.ending == Ending::kLogits) {
    // A bound is as good as its rounding.
    constexpr double kRounding = 1e-6;
    const ValueRange range = value_ranges(graph)[static_cast<size_t>(output)];
    if (range.within(-kRounding, 1 + kRounding)) {
      head.ending = Ending::kProbabilities;
    } else if (const Node* source = source_of_probabilities(graph, output)) {
      head.ending = Ending::kDerived;
      head.node = source->name;
      head.op = source->op;
    }
  }
  return head;
}

ValueId logits_of(ops::Builder& b, ValueId output) {
  const End end = end_of(b.graph(), output);
  HT_ASSERT(end.logits != ir::kNone, "no activation in front of value {}", output);
  // Copies: adding a node may move the graph's.
  std::vector<Node> views;
  for (const Node* view : end.views) views.push_back(*view);
  ValueId x = end.logits;
  for (const Node& view : views) {
    if (view.op == "Dropout")
      throw input_error(
          "node '{}' (Dropout) stands behind the network's last activation, so the loss cannot be computed "
          "from what "
          "that activation reads; remove it from the network",
          view.name);
    x = view.op == "Transpose" ? b.transpose(x, view.attributes.ints_at("perm"))
                               : b.reshape(x, b.shape(view.outputs[0]));
  }
  return x;
}

std::string describe(const Head& head) {
  std::string text = fmt::format("output '{}' ({} number{} a sample", head.output, head.per_sample,
                                 head.per_sample == 1 ? "" : "s");
  if (head.ending != Ending::kLogits) text += fmt::format(", behind {} of node '{}'", head.op, head.node);
  return text + ")";
}

}  // namespace halftone::pass
