// How a picture has to be turned to be seen upright: the tag Orientation (0x0112) of EXIF, which cameras and telephones
// write, as Pillow's ImageOps.exif_transpose reads it. It is in the APP1 segment of a JPEG, the chunk eXIf of a PNG, the
// chunk EXIF of a WebP, and in the first directory of a TIFF.
#pragma once

#include <string_view>

#include "data/image.h"

namespace halftone::data {

// 1 to 8; 1, upright, also where the file does not say, says something else, or its EXIF is damaged. The bytes are of any
// file: nothing else of it is looked at.
//   1 as it is  2 left and right exchanged  3 turned by 180 degrees  4 top and bottom exchanged
//   5 transposed  6 to be turned clockwise by 90 degrees  7 transposed along the other diagonal  8 counterclockwise by 90
int orientation_of(std::string_view bytes);

// Whether height and width change places.
inline bool transposes(int orientation) {
  return orientation >= 5;
}

// Turns the picture. Those that are transposed take as much memory again meanwhile.
void turn(Image& image, int orientation);

}  // namespace halftone::data
