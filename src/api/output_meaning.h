// What the numbers of a network's output are, where no labels say it: what predictions are made of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "api/run_facts.h"
#include "data/dataset.h"
#include "pass/head.h"

namespace halftone::api {

struct OutputMeaning {
  enum class Kind : uint8_t {
    kClasses,     // one of them a sample, or a position
    kTwoClasses,  // one number a sample: the probability of the second
    kLabels,      // each number is a label of its own, which holds or does not
    kNumbers,     // targets, an embedding
  };
  // What makes probabilities of the numbers.
  enum class Making : uint8_t { kNone, kSoftmax, kExp, kSigmoid };
  Kind kind = Kind::kNumbers;
  Making making = Making::kNone;
  std::string output;          // its name
  bool positions = false;      // kClasses: one for each position of `shape`, the output's without its classes
  bool classes_first = false;  // then: they are axis 1, else the last
  bool vector = true;          // a sample's numbers are a row
  int64_t classes = 0;         // kClasses, kTwoClasses, kLabels
  std::string reason;          // for people
};

// asked: auto, classes, labels or numbers (--as); class_axis: auto, first or last (--class-axis). auto: what the run
// was trained with, else the network's end, else that there are names for all classes. Errors (input, usage): nothing
// says it; the output cannot be that. `info`: of the data.
OutputMeaning meaning_of(const pass::Head& head, const std::string& asked, const std::string& class_axis,
                         const RunFacts& run, const std::vector<std::string>& names,
                         const data::DataInfo& info);

// "10 classes (the network ends in Softmax)".
std::string describe(const OutputMeaning& meaning);

}  // namespace halftone::api
