// Files are opened here and nowhere else: regular ones only, and a FIFO is never waited for.
#pragma once

#include <string>

namespace halftone {

// A descriptor for reading. Errors: missing, unreadable, anything but a regular file.
int open_regular(const std::string& path);

// A descriptor for writing, with these flags of open(2) besides; the file is made where there is none.
// Errors: no permission, anything but a regular file (links included).
int create_regular(const std::string& path, int flags);

// Error unless `path` is a regular file (or a link to one) or nothing: a file that took the place of a device
// or a FIFO would destroy it.
void check_writable_place(const std::string& path);

}  // namespace halftone
