#include "text/byte_level.h"

#include <algorithm>
#include <array>

#include "text/characters.h"

namespace halftone::text {
namespace {

// Printable bytes of Latin-1 stand for themselves; the others, in order, are the characters from U+0100 on.
bool stands_for_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xFF && byte != 0xAD);
}

struct ByteCharacters {
  std::array<std::string, 256> characters;
  std::array<int16_t, 0x200> bytes;
  ByteCharacters() {
    bytes.fill(-1);
    char32_t other = 0x100;
    for (int byte = 0; byte < 256; ++byte) {
      const char32_t c = stands_for_itself(byte) ? static_cast<char32_t>(byte) : other++;
      append_character(characters[static_cast<size_t>(byte)], c);
      bytes[c] = static_cast<int16_t>(byte);
    }
  }
};

const ByteCharacters& byte_characters() {
  static const ByteCharacters kTable;
  return kTable;
}

enum class Gpt2Class { kSpace, kLetter, kNumber, kOther };

Gpt2Class gpt2_class(char32_t c) {
  if (is_white_space(c)) return Gpt2Class::kSpace;
  if (is_letter(c)) return Gpt2Class::kLetter;
  return is_number(c) ? Gpt2Class::kNumber : Gpt2Class::kOther;
}

// Bytes of an English ending with its apostrophe, at the beginning of the text; 0 where there is none.
size_t english_ending(std::string_view text) {
  for (const std::string_view ending : {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"})
    if (text.starts_with(ending)) return ending.size();
  return 0;
}

// The first behind the run of characters of one class that begins at `at`.
size_t run_end(std::string_view text, size_t at, Gpt2Class wanted) {
  while (at < text.size()) {
    size_t next = at;
    if (gpt2_class(next_character(text, next)) != wanted) break;
    at = next;
  }
  return at;
}

}  // namespace

std::string_view character_of_byte(char byte) {
  return byte_characters().characters[static_cast<uint8_t>(byte)];
}

int byte_of_character(char32_t c) {
  return c < 0x200 ? byte_characters().bytes[c] : -1;
}

void find_gpt2_words(std::string_view text, std::vector<Match>& out) {
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const size_t ending = english_ending(text.substr(at));
    if (ending > 0) {
      at += ending;
    } else {
      size_t first = at;
      size_t behind = first;
      Gpt2Class own = gpt2_class(next_character(text, behind));
      if (text[at] == ' ' && behind < text.size()) {
        // A space belongs to what follows.
        size_t next = behind;
        const Gpt2Class following = gpt2_class(next_character(text, next));
        if (following != Gpt2Class::kSpace) {
          own = following;
          first = behind;
        }
      }
      at = run_end(text, first, own);
      if (own == Gpt2Class::kSpace && at < text.size()) {
        // The last space is left to the word behind it, unless it is the only one.
        size_t last = at - 1;
        while (last > begin && (static_cast<uint8_t>(text[last]) & 0xC0) == 0x80) --last;
        if (last > begin) at = last;
      }
    }
    out.push_back({static_cast<uint32_t>(begin), static_cast<uint32_t>(at), true});
  }
}

}  // namespace halftone::text
