// How a sample as the data has it becomes a sample as the network wants it: decided once, when a set is
// opened.
#pragma once

#include <string>

#include "data/dataset.h"

namespace halftone::data {

// For images: `native` is C,H,W of the data (of its first image), `wanted` is DataOptions::sample_shape. Sets
// info.image, info.geometry, info.shape and, when pixels will be resized, a note. Errors: channels other than
// 1, 3 or the data's own; a rank that no image has.
void resolve_image_shape(const Shape& native, const Shape& wanted, const std::string& source, DataInfo& info);

// For values: info.shape is `wanted` with the data's own dimensions for negative ones; the number of elements
// must be the same. A shape of rank 3 is info.geometry, too.
void resolve_value_shape(const Shape& native, const Shape& wanted, const std::string& source, DataInfo& info);

// Replicates greys to three channels (by a stride of 0) or takes the luma of three (into `buffer`).
void convert_channels(int64_t channels, Sample::Pixels& pixels, std::vector<uint8_t>& buffer);

}  // namespace halftone::data
