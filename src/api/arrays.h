// Arrays of the host's memory, on their way to batches and back.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "api/session.h"
#include "halftone/session.h"
#include "tensor/tensor.h"

namespace halftone::api {

// A tensor's copy. 16 bits stay what they are.
Array array_of(const Tensor& tensor);
// The other way, of an array of floats; fp16 and bf16 become fp32. Error (usage): integers, or bytes that the
// shape does not explain; `what` it is.
Tensor float_tensor_of(const Array& array, const std::string& what);

// The arrays as a file of named arrays would be opened, with options.choose_arrays. `what` they are, for
// messages. Errors (usage): an array whose bytes its shape does not explain, no samples.
std::unique_ptr<data::Dataset> make_dataset(const Arrays& arrays, const std::string& what,
                                            const data::OpenOptions& options);

// Reads batches as the data that they are like was read: same arrays, same labels.
class BatchReader {
 public:
  // data: what open_batch made of the example, whose sizes are the network's own, with the sizes that it
  // leaves open. Batches may have others of these.
  BatchReader(const Data& data, const Arrays& example, const Labelling& labelling,
              const DataOptions& options);

  // labels: with them, else the network's inputs alone. samples: how many are expected; 0: any number.
  data::Batch read(const Arrays& arrays, const Delivery& delivery, bool labels, int64_t samples) const;
  // The same as data to evaluate.
  Data open(const Arrays& arrays, bool labels) const;

 private:
  void check(const Arrays& arrays, bool labels) const;
  void find_open_axes();
  data::ArrayChoice choice_for(const Arrays& arrays, bool labels) const;

  const Data& data_;
  const Labelling& labelling_;
  struct Form {
    ElementType type;
    std::vector<int64_t> sample;
    std::vector<bool> open;  // of its axes: another batch may have another size
  };
  std::map<std::string, Form> forms_;                     // of the example's arrays
  std::vector<std::string> inputs_;                       // the arrays that feed the network
  std::vector<std::string> needed_;                       // those and labels, weights, ...
  mutable std::map<size_t, std::vector<Shape>> checked_;  // size classes, and shapes of fields that fit them
  data::OpenOptions wanted_;
  DataOptions options_;
};

}  // namespace halftone::api
