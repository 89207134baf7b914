// Arrays of samples, x[0], x[1], …, with or without labels y: what IDX, .npy, .npz and safetensors have in
// common.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/bytes.h"
#include "data/dataset.h"

namespace halftone::data {

int64_t size_bytes(Element type);

struct TextLabels;

struct Array {
  Element type = Element::kU8;
  bool big_endian = false;
  Shape shape;
  std::shared_ptr<const Bytes> bytes;  // exactly the elements, row-major
  std::string name;                    // for messages: the file, and the array in it
  std::function<std::string(int64_t)> place =
      {};  // where a sample's numbers are; empty: by `name` and its number
  std::shared_ptr<const TextLabels> text = {};  // labels as a table has them, instead of `bytes`
  std::shared_ptr<const std::map<int64_t, std::string>> bad = {};  // samples that cannot be used, and why
};

// Arrays with names in one file, or in a folder of .npy.
struct NamedArrays {
  std::string path;
  std::vector<std::string> names;
  std::function<std::optional<ArrayHeader>(const std::string& name)>
      header;  // none: its elements are of a kind that is not read
  std::function<Array(const std::string& name)> read;
};

// Where a sample's numbers are, for messages.
std::string place_of(const Array& array, int64_t sample);

// The bytes that `shape` of `type` takes; Error when that is no valid size.
int64_t array_bytes(Element type, const Shape& shape, const std::string& name);

// Elements [first, first + out.size()) as floats (nearest).
void read_floats(const Array& array, int64_t first, std::span<float> out);
// The same of integers (or bool) as int64. Errors: a uint64 beyond it.
void read_integers(const Array& array, int64_t first, std::span<int64_t> out);

// One array with the samples of all of these, one after the other. Errors: other types, or samples of other
// shapes.
Array joined(std::vector<Array> arrays);

// x: [N, …]. Bytes (kU8) of rank 2 to 4 are images (rank 2: N x D becomes 1 x 1 x D), everything else floats.
// y: [N] or [N, T].
std::unique_ptr<Dataset> make_array_dataset(const std::string& kind, const std::string& source, Array x,
                                            std::optional<Array> y, const OpenOptions& options);

// Several fields, as options.choose_arrays wants them of these arrays (those of the split that is read).
// `read` gives the array that is called so in the file.
std::unique_ptr<Dataset> make_fields_dataset(const std::string& kind, const std::string& path,
                                             const std::vector<ArrayHeader>& arrays,
                                             const std::function<Array(const std::string& stored)>& read,
                                             const OpenOptions& options);
// The same of what was chosen.
std::unique_ptr<Dataset> make_fields_dataset(const std::string& kind, const std::string& path,
                                             const ArrayChoice& choice,
                                             const std::function<Array(const std::string& stored)>& read,
                                             const OpenOptions& options);

}  // namespace halftone::data
