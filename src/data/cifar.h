// CIFAR-10 and CIFAR-100, binary version: records of one label (CIFAR-100: coarse, then fine) and 3 x 32 x 32
// bytes. Source: https://www.cs.toronto.edu/~kriz/cifar.html
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// A .bin file whose size is a whole number of records.
bool is_cifar_file(const std::string& path);

// Of a folder with data_batch_*.bin, test_batch.bin (CIFAR-10) or train.bin, test.bin (CIFAR-100); empty if
// there are none.
std::vector<std::string> cifar_splits(const std::string& folder);

// A file or the folder; the batches of train in the order of their names. Class names from batches.meta.txt,
// or coarse_ or fine_label_names.txt, if they are there. OpenOptions::y_key "coarse" takes CIFAR-100's 20
// coarse labels.
std::unique_ptr<Dataset> open_cifar(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
