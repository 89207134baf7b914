#include "text/aligned.h"

#include <algorithm>

namespace halftone::text {
namespace {

constexpr char32_t kReplacementCharacter = 0xFFFD;

struct Decoded {
  size_t bytes = 0;  // of the character, or of what is broken
  bool good = false;
};

// Unicode's table 3-7: the second byte's range depends on the first.
Decoded decode_at(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[at + i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return {1, true};
  size_t length = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;  // surrogates
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return {1, false};
  }
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= bytes.size() || byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

size_t ascii_bytes(std::string_view text) {
  const auto end =
      std::find_if(text.begin(), text.end(), [](char c) { return static_cast<uint8_t>(c) >= 0x80; });
  return static_cast<size_t>(end - text.begin());
}

}  // namespace

char32_t next_character(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<uint8_t>(text[at + i])); };
  const char32_t first = byte(0);
  if (first < 0x80) {
    at += 1;
    return first;
  }
  char32_t c = 0;
  if (first < 0xE0) {
    c = (first & 0x1F) << 6 | (byte(1) & 0x3F);
    at += 2;
  } else if (first < 0xF0) {
    c = (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    at += 3;
  } else {
    c = (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
    at += 4;
  }
  return c;
}

void append_character(std::string& text, char32_t c) {
  const auto push = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    push(c);
  } else if (c < 0x800) {
    push(0xC0 | c >> 6);
    push(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    push(0xE0 | c >> 12);
    push(0x80 | (c >> 6 & 0x3F));
    push(0x80 | (c & 0x3F));
  } else {
    push(0xF0 | c >> 18);
    push(0x80 | (c >> 12 & 0x3F));
    push(0x80 | (c >> 6 & 0x3F));
    push(0x80 | (c & 0x3F));
  }
}

size_t character_count(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(),
                                           [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

bool is_ascii(std::string_view text) {
  return ascii_bytes(text) == text.size();
}

Rewrite::Rewrite(const Aligned& old) : old_(old) {
  out_.text.reserve(old.text.size() + 8);
  out_.from.reserve(old.text.size() + 8);
}

char32_t Rewrite::peek() const {
  size_t at = at_;
  return next_character(old_.text, at);
}

void Rewrite::put(char32_t c, Span from) {
  append_character(out_.text, c);
  out_.from.resize(out_.text.size(), from);
}

void Rewrite::replace(char32_t c) {
  if (at_end()) return add(c);
  put(c, old_.from[at_]);
  next_character(old_.text, at_);
}

void Rewrite::add(char32_t c) {
  put(c, at_ == 0 ? Span{} : old_.from[at_ - 1]);
}

void Rewrite::skip(int64_t characters) {
  for (int64_t i = 0; i < characters && !at_end(); ++i) next_character(old_.text, at_);
}

void Rewrite::keep() {
  replace(peek());
}

void Rewrite::keep_bytes(size_t bytes) {
  out_.text.append(old_.text, at_, bytes);
  const auto begin = old_.from.begin() + static_cast<std::ptrdiff_t>(at_);
  out_.from.insert(out_.from.end(), begin, begin + static_cast<std::ptrdiff_t>(bytes));
  at_ += bytes;
}

bool is_utf8(std::string_view bytes) {
  for (size_t at = ascii_bytes(bytes); at < bytes.size();) {
    const Decoded d = decode_at(bytes, at);
    if (!d.good) return false;
    at += d.bytes;
  }
  return true;
}

Repaired repair_utf8(std::string_view bytes) {
  Repaired out;
  if (is_utf8(bytes)) {
    out.text = bytes;
    return out;
  }
  for (size_t at = 0; at < bytes.size();) {
    const Decoded d = decode_at(bytes, at);
    if (d.good)
      out.text.append(bytes, at, d.bytes);
    else
      append_character(out.text, kReplacementCharacter);
    out.from.resize(out.text.size(), {static_cast<uint32_t>(at), static_cast<uint32_t>(at + d.bytes)});
    at += d.bytes;
  }
  return out;
}

}  // namespace halftone::text
