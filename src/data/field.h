// What a data set's samples consist of: named fields. A batch has one tensor for each.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "num/dtype.h"
#include "tensor/shape.h"

namespace halftone::data {

// What the elements of an array in a file are.
enum class Element { kBool, kU8, kI8, kU16, kI16, kU32, kI32, kU64, kI64, kF16, kBf16, kF32, kF64 };
bool is_float(Element type);
std::string name_of(Element type);

enum class FieldRole : uint8_t {
  kInput,   // fed to the network: ids and masks too
  kLabel,   // int32 class numbers
  kTarget,  // numbers that an output is compared with
  kWeight,  // how much a sample, or one of its targets, counts
};

struct Field {
  std::string name;
  FieldRole role = FieldRole::kInput;
  DType dtype = DType::kF32;  // of a batch's tensor; inputs of floats have the loader's storage type instead
  Shape shape;                // of one sample
  bool truth = false;         // numbers of kU8 are 0 and 1
};

enum class LabelKind {
  kNone,       // the samples have no labels
  kClass,      // one class index in [0, classes)
  kTarget,     // a vector of target_size floats
  kPositions,  // a class index for each position of `shape`: each token, each pixel
};

// How labels are read for a loss, as it and the network's output want them.
struct LabelReading {
  LabelKind kind = LabelKind::kNone;
  int64_t classes = 0;  // classes: labels are below; 0: up to the largest there is
  Shape shape = {};     // kPositions, and kTarget where it is known: of one sample, as the file has it
  // A class number that marks targets which do not count. kPositions, or kClass where it is given.
  std::optional<int64_t> ignored = std::nullopt;
  std::vector<float> class_weights = {};  // one a class; empty: 1
  std::string sample_weight = {};  // the field of kWeight that the targets of a sample are weighted with
  // Whether the batch has a weight for each target: 0 where it is ignored.
  bool weighted() const {
    return kind == LabelKind::kPositions || ignored || !class_weights.empty() || !sample_weight.empty();
  }
  bool operator==(const LabelReading&) const = default;
};

// The field of a batch that has these weights.
std::string weights_of(const std::string& label_field);

// An array of a file, as its header has it.
struct ArrayHeader {
  std::string name;    // without the split that is read
  std::string stored;  // in the file
  Element type = Element::kF32;
  Shape shape;  // samples in front
};

// Which of a file's arrays become which fields.
struct ArrayChoice {
  struct More {
    std::string stored;
    Field field;
  };
  // `stored` of the input that is prepared as samples are (scaled, normalised, augmented); empty: there is
  // none
  std::string x;
  std::string y;  // of the first loss's labels; empty: none
  std::string x_name, y_name;
  std::vector<More> more;  // as they are: numbers are checked to be the same in the field's type
};
// Asked by readers of named arrays, of those of the split that is read. It may throw.
using ChooseArrays =
    std::function<ArrayChoice(const std::vector<ArrayHeader>& arrays, const std::string& path)>;

}  // namespace halftone::data
