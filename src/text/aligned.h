// A text that is normalised step by step, with the bytes of the original that each of its bytes stands for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace halftone::text {

// `text` is well-formed UTF-8; `from` has one element a byte of it: the bytes of the original, whole characters.
struct Aligned {
  std::string text;
  std::vector<Span> from;
};

// Characters of a text that is well-formed UTF-8. next() reads the character at `at` and moves on; `at` must be a character's first byte.
char32_t next_character(std::string_view text, size_t& at);
void append_character(std::string& text, char32_t c);
size_t character_count(std::string_view text);
bool is_ascii(std::string_view text);

// Writes the successor of an Aligned character by character. Each character of the old text is either replaced or skipped, in order.
class Rewrite {
 public:
  explicit Rewrite(const Aligned& old);

  bool at_end() const { return at_ >= old_.text.size(); }
  char32_t peek() const;
  // Takes the place of the next character of the old text.
  void replace(char32_t c);
  // Has no place of its own: stands for what the character before stood for.
  void add(char32_t c);
  // The next characters of the old text have no successor.
  void skip(int64_t characters);
  // The next character stays, or the next bytes (whole characters).
  void keep();
  void keep_bytes(size_t bytes);

  Aligned take() { return std::move(out_); }

 private:
  void put(char32_t c, Span from);

  const Aligned& old_;
  size_t at_ = 0;
  Aligned out_;
};

// What is broken in a text, as U+FFFD: one for each longest sequence of bytes that could have begun a character. `from` is the bytes of the text
// that each byte of the result comes from; it is left empty where nothing was broken.
struct Repaired {
  std::string text;
  std::vector<Span> from;
};
Repaired repair_utf8(std::string_view bytes);
bool is_utf8(std::string_view bytes);

}  // namespace halftone::text
