// Which of several named arrays are the samples and which their labels: the same rule for .npz, safetensors
// and folders of .npy.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

struct ArrayNames {
  std::string x;
  std::string y;  // empty: no labels
};

// The splits in the names (x_train, train_images, …), canonical, in the order train, val, test; empty if
// there are none.
std::vector<std::string> splits_in_names(const std::vector<std::string>& names);

// options.x_key and y_key if they are given; otherwise, of the split (if the names have splits): x, X,
// images, image, data, inputs, features, input and y, Y, labels, label, targets, target, classes. A single
// array is x. `rows`: an array's first dimension, -1 when it cannot be read; labels are as many as the samples.
// Errors list the names that are there: none fits, several do, or a key and the SPEC name different splits.
ArrayNames choose_arrays(const std::vector<std::string>& names, const Spec& spec, const DataOptions& options,
                         const std::function<int64_t(const std::string& name)>& rows);

}  // namespace halftone::data
