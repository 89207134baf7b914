// How a sample as the data has it becomes a sample as the network wants it: decided once, when a set is
// opened.
#pragma once

#include <string>

#include "data/dataset.h"

namespace halftone::data {

// For images: `native` is C,H,W of the data (of its first image); options.sample_shape is wanted. Sets
// info.image, info.geometry, info.shape, info.channels_last and, when pixels will be resized, a note. Errors:
// channels other than 1, 3 or the data's own; a rank that no image has; channels that may be first or last.
void resolve_image_shape(const Shape& native, const OpenOptions& options, const std::string& source,
                         DataInfo& info);

// For values: info.shape is options.sample_shape with the data's own dimensions for negative ones; the
// elements must be the same in the same order: some of one shape's neighbouring dimensions make one of the
// other's. A shape of rank 3 gives info.geometry, too. `native` has its dimensions in the network's order.
void resolve_value_shape(const Shape& native, const OpenOptions& options, const std::string& source,
                         DataInfo& info);

// Whether height and width of images are the data's own, so that all must be alike.
bool keeps_image_size(const OpenOptions& options);

// Half of what is cut off: where the middle begins. As Python rounds, halves to even.
int64_t half_of(int64_t room);

// Replicates greys to three channels (by a stride of 0) or takes the luma of three (into `buffer`).
void convert_channels(int64_t channels, Sample::Pixels& pixels, std::vector<uint8_t>& buffer);

}  // namespace halftone::data
