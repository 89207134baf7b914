// Which of several named arrays are the samples and which their labels: the same rule for .npz, safetensors
// and folders of .npy.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

struct ArrayNames {
  std::string x;
  std::string y;  // empty: no labels, or none are wanted
};

// The splits in the names (x_train, train_images, …), canonical, in the order train, val, test; empty if
// there are none.
std::vector<std::string> splits_in_names(const std::vector<std::string>& names);

// options.x_key and y_key if they are given; otherwise, of the split (if the names have splits): x, X,
// images, image, data, inputs, features, input, else what the network's input is called, and y, Y, labels,
// label, targets, target, classes. A single array is x. `rows`: an array's first dimension, -1 when it cannot
// be read; labels are as many as the samples. Errors list the names that are there: none fits, several do, or
// a key and the SPEC name different splits.
ArrayNames choose_arrays(const std::vector<std::string>& names, const Spec& spec, const OpenOptions& options,
                         const std::function<int64_t(const std::string& name)>& rows);

// For several fields (options.choose_arrays): the arrays of the split that is read, and those of none, by
// their names without it. `header`: type and shape of one; none: its elements are of a kind that is not read,
// and it is left out.
std::vector<ArrayHeader> arrays_of_split(
    const std::vector<std::string>& names, const Spec& spec, const OpenOptions& options,
    const std::function<std::optional<ArrayHeader>(const std::string& name)>& header);

}  // namespace halftone::data
