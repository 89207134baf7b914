// What a data set holds, as a short text: equal for equal samples in equal order, wherever they lie.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"

namespace halftone::data {

// "60000 samples, 47040000 bytes, crc32c 1a2b3c4d". Of files of images their names below the set's folder,
// their sizes and, up to 64 MiB in all, their contents; of everything else the samples and labels themselves,
// up to 256 MiB, and beyond that 4096 of them, evenly spread. A sample that cannot be read counts as such.
// May take a second.
std::string fingerprint(const Dataset& set);

// The set, watched: a sample whose file (its name()) is not the one that was there when this was called
// (size, time of modification) is an error that names it. For sets with a file a sample.
std::unique_ptr<Dataset> watched(std::unique_ptr<Dataset> base);

}  // namespace halftone::data
