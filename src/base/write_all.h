// Bytes to an open file, all of them: what a system call leaves is written by further ones.
#pragma once

#include <cstdint>
#include <string>

namespace halftone {

// At the file's position. Errors: what the system says of it, of the file `path`; a part may have been
// written.
void write_all(int fd, const void* bytes, int64_t size, const std::string& path);

}  // namespace halftone
