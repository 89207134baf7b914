// A file of text in pieces: where its lines or records are, without holding it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "data/bytes.h"

namespace halftone::data {

// Of a sample in a text file.
struct TextPlace {
  int64_t offset = 0;
  int64_t line = 1;
  int64_t bytes = 0;
};

// The file as UTF-8: read from the disk again and again; one in UTF-16 is converted and kept in memory. Offsets of
// samples begin at `begin`, behind a byte order mark. Errors: those of text_of (data/text.h), of the file's first bytes.
struct TextFile {
  std::shared_ptr<const Bytes> bytes;
  int64_t begin = 0;
};
TextFile open_text_file(const std::string& path);

// The text from `begin` on in windows that grow until `use` can take something of them: it is handed the window and
// whether it ends where the file ends, and returns how many bytes it took. Error: a byte of zero, with its line.
void for_each_window(const TextFile& file,
                     const std::function<size_t(std::string_view window, int64_t offset, bool last)>& use);

// Each line without its end (LF, CR LF).
void for_each_line(const TextFile& file,
                   const std::function<void(std::string_view line, const TextPlace& place)>& use);

std::string text_at(const TextFile& file, const TextPlace& place);

}  // namespace halftone::data
