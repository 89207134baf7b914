#include "data/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>

#include "base/error.h"
#include "base/utf8.h"

namespace halftone::data {
namespace {

// `bytes` begins with the byte order mark.
std::string from_utf16(const std::string& bytes, bool big_endian, const std::string& path) {
  if (bytes.size() % 2 != 0)
    throw input_error("{}: damaged UTF-16: it has {} bytes, an odd number", path, bytes.size());
  const auto unit = [&](size_t i) {
    const auto a = static_cast<uint8_t>(bytes[i]);
    const auto b = static_cast<uint8_t>(bytes[i + 1]);
    return static_cast<uint32_t>(big_endian ? a << 8 | b : b << 8 | a);
  };
  std::string out;
  out.reserve(bytes.size() / 2);
  for (size_t i = 2; i < bytes.size(); i += 2) {
    uint32_t c = unit(i);
    if (c >= 0xD800 && c < 0xE000) {
      const uint32_t low = i + 2 < bytes.size() ? unit(i + 2) : 0;
      if (c >= 0xDC00 || low < 0xDC00 || low >= 0xE000)
        throw input_error("{}: damaged UTF-16 at byte {}: half of a surrogate pair", path, i);
      c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
      i += 2;
    }
    append_utf8(c, out);
  }
  return out;
}

}  // namespace

std::string text_of(std::string bytes, const std::string& path) {
  const auto begins = [&](std::string_view with) { return std::string_view(bytes).starts_with(with); };
  using std::string_view_literals::operator""sv;
  constexpr const char* kAdvice = "save it as UTF-8 text";
  if (begins("\xFF\xFE\0\0"sv) || begins("\0\0\xFE\xFF"sv))
    throw input_error("{}: the text is UTF-32, which is not read; {}", path, kAdvice);
  if (begins("\xFF\xFE"sv)) {
    bytes = from_utf16(bytes, false, path);
  } else if (begins("\xFE\xFF"sv)) {
    bytes = from_utf16(bytes, true, path);
  } else if (begins("\xEF\xBB\xBF"sv)) {
    bytes.erase(0, 3);
  } else if (begins("PK\x03\x04"sv)) {
    throw input_error("{}: it is a zip file or an Excel workbook, not text; save it as text (a table as CSV)",
                      path);
  } else if (begins("\x1F\x8B"sv)) {
    throw input_error("{}: it is compressed with gzip, which is not read here; decompress it first", path);
  }
  const size_t zero = bytes.find('\0');
  if (zero == std::string::npos) return bytes;
  const auto zeros = std::count(bytes.begin(), bytes.end(), '\0');
  if (static_cast<size_t>(zeros) >= bytes.size() / 3)
    throw input_error("{}: the text seems to be UTF-16 without a byte order mark, which is not read; {}",
                      path, kAdvice);
  const auto line = 1 + std::count(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(zero), '\n');
  throw input_error("{}, line {}: a zero byte, which text does not have; {}", path, line, kAdvice);
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpaces = " \t\n\r";
  const size_t begin = text.find_first_not_of(kSpaces);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpaces) + 1 - begin);
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string shown(std::string_view text) {
  constexpr size_t kMost = 40;
  std::string out;
  while (!text.empty()) {
    if (out.size() >= kMost) return out + "...";
    const size_t length = character_bytes(text, 0);
    const auto first = static_cast<uint8_t>(text[0]);
    if (length == 0 || first < 0x20 || first == 0x7F) {
      out += fmt::format("\\x{:02X}", first);
      text.remove_prefix(1);
    } else {
      out += text.substr(0, length);
      text.remove_prefix(length);
    }
  }
  return out;
}

}  // namespace halftone::data
