// What a network ends in, looking through views (Reshape, Squeeze, Flatten, Transpose, ...): which losses it
// can be trained with, and which labels fit, depend on it.
#pragma once

#include <string>

#include "ops/op.h"

namespace halftone::pass {

enum class Ending : uint8_t {
  kLogits,         // nothing that bounds it to probabilities
  kSigmoid,        // each element is a probability of its own
  kSoftmax,        // the elements of a sample are probabilities of classes
  kLogSoftmax,     // their logarithms
  kProbabilities,  // in [0, 1], by other nodes than these: Clip, HardSigmoid, a softmax spelled in nodes, ...
  kDerived,        // beyond [0, 1], but computed from probabilities (pass/probability.h): no logits
};

struct Head {
  Ending ending = Ending::kLogits;
  std::string output;      // the output's name
  std::string node;        // the node that makes it so, views aside, as the file calls it
  std::string op;          // its operator
  Shape shape;             // of the output
  Shape sample;            // of one sample's output, without axes of one element
  int64_t batch = 1;       // samples in it
  int64_t per_sample = 1;  // elements of one sample's output
  int64_t classes = 0;  // at least 2, where a sample's output is a vector (axes of one element aside); else 0
  // kSoftmax, kLogSoftmax:
  bool over_classes = true;  // it runs over exactly one sample's vector
  // Of an output with several axes a sample: it runs over the first of them (axis 1), or over the last.
  bool over_first = true, over_last = true;
  bool mixes_samples = false;  // it runs over several samples' numbers
};

// The end of a graph at `output`. Error: the batch is not its first dimension (those of one element aside).
Head head_of(const ir::Graph& graph, ir::ValueId output, int64_t batch);

// What the last Sigmoid, Softmax or LogSoftmax reads, under the output's shape: the same views on it.
// Error: a Dropout stands behind that node.
ir::ValueId logits_of(ops::Builder& builder, ir::ValueId output);

// "output 'y' (2 numbers a sample, behind Sigmoid of node 'act')"
std::string describe(const Head& head);

}  // namespace halftone::pass
