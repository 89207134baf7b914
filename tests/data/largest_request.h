// Memory that the test program asks for by operator new, for tests of what a file may make a reader take.
// libjpeg, libspng, libwebp, giflib and libtiff use malloc and are not seen.
#pragma once

#include <cstddef>

namespace halftone::data {

// Of all requests since the last reset, the largest, in bytes.
size_t largest_request();
void reset_largest_request();

}  // namespace halftone::data
