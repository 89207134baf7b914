#include "text/charsmap.h"

#include <algorithm>
#include <array>

#include "text/aligned.h"

namespace halftone::text {
namespace {

// The fields of a unit.
bool has_leaf(uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
uint32_t value_of(uint32_t unit) {
  return unit & 0x7FFFFFFF;
}
uint32_t label_of(uint32_t unit) {
  return unit & 0x800000FF;
}
size_t offset_of(uint32_t unit) {
  return size_t{unit >> 10} << ((unit & 0x200) >> 6);
}

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t out = 0;
  for (size_t i = 0; i < 4; ++i) out |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return out;
}

}  // namespace

std::string Charsmap::read(std::string_view bytes) {
  if (bytes.size() < 4) return "it is shorter than four bytes";
  const size_t size = read_u32(bytes, 0);
  if (size % 4 != 0 || size == 0 || size > bytes.size() - 4)
    return "its table is longer than the data, or broken";
  units_.resize(size / 4);
  for (size_t i = 0; i < units_.size(); ++i) units_[i] = read_u32(bytes, 4 + 4 * i);
  replacements_ = bytes.substr(4 + size);
  if (!is_utf8(replacements_)) return "its replacements are not UTF-8";
  // Every leaf must name a place where a character begins. Units that are no leaves may look like some: those are checked where they are met.
  return {};
}

Charsmap::Found Charsmap::find(std::string_view text, bool shortest) const {
  Found found;
  if (units_.empty()) return found;
  size_t node = offset_of(units_[0]);
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || label_of(units_[node]) != byte) break;
    const bool leaf = has_leaf(units_[node]);
    node ^= offset_of(units_[node]);
    if (!leaf) continue;
    if (node >= units_.size()) break;
    const size_t begin = value_of(units_[node]);
    if (begin > replacements_.size()) break;
    const size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    const std::string_view to = std::string_view(replacements_).substr(begin, end - begin);
    if (!is_utf8(to)) break;
    found = {i + 1, to};
    if (shortest) break;
  }
  return found;
}

bool decode_base64(std::string_view text, std::string& bytes) {
  while (text.ends_with('=')) text.remove_suffix(1);
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    uint32_t six = 0;
    if (c >= 'A' && c <= 'Z')
      six = static_cast<uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      six = static_cast<uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      six = static_cast<uint32_t>(c - '0') + 52;
    else if (c == '+' || c == '/')
      six = c == '+' ? 62 : 63;
    else
      return false;
    bits = bits << 6 | six;
    count += 6;
    if (count >= 8) {
      count -= 8;
      bytes.push_back(static_cast<char>(bits >> count & 0xFF));
    }
  }
  return true;
}

}  // namespace halftone::text
