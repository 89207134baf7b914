// The rules of Unicode's annex 29 but for GB9c (conjuncts of Indic scripts): such clusters are longer than those that the caller looks at, with it
// or without.
#include "text/graphemes.h"

#include <unicode/uchar.h>

#include "text/aligned.h"

namespace halftone::text {
namespace {

bool continues_hangul(int32_t left, int32_t right) {
  if (left == U_GCB_L) return right == U_GCB_L || right == U_GCB_V || right == U_GCB_LV || right == U_GCB_LVT;
  if (left == U_GCB_LV || left == U_GCB_V) return right == U_GCB_V || right == U_GCB_T;
  return (left == U_GCB_LVT || left == U_GCB_T) && right == U_GCB_T;
}

bool is_control(int32_t c) {
  return c == U_GCB_CONTROL || c == U_GCB_CR || c == U_GCB_LF;
}

bool is_pictograph(char32_t c) {
  return u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_EXTENDED_PICTOGRAPHIC) != 0;
}

int32_t break_class(char32_t c) {
  return u_getIntPropertyValue(static_cast<UChar32>(c), UCHAR_GRAPHEME_CLUSTER_BREAK);
}

}  // namespace

size_t grapheme_end(std::string_view text, size_t at) {
  char32_t c = next_character(text, at);
  int32_t left = break_class(c);
  // Of the rule for emoji that a joiner glues together, and of the one for pairs that make a flag.
  bool in_pictograph = is_pictograph(c);
  bool is_joined = false;
  int64_t indicators = left == U_GCB_REGIONAL_INDICATOR ? 1 : 0;
  while (at < text.size()) {
    size_t next = at;
    c = next_character(text, next);
    const int32_t right = break_class(c);
    bool goes_on = false;
    if (left == U_GCB_CR && right == U_GCB_LF)
      goes_on = true;
    else if (is_control(left) || is_control(right))
      goes_on = false;
    else
      goes_on =
          continues_hangul(left, right) || right == U_GCB_EXTEND || right == U_GCB_ZWJ ||
          right == U_GCB_SPACING_MARK || left == U_GCB_PREPEND || (is_joined && is_pictograph(c)) ||
          (indicators % 2 == 1 && left == U_GCB_REGIONAL_INDICATOR && right == U_GCB_REGIONAL_INDICATOR);
    if (!goes_on) break;
    is_joined = in_pictograph && right == U_GCB_ZWJ;
    in_pictograph = is_pictograph(c) || (in_pictograph && right == U_GCB_EXTEND);
    if (right == U_GCB_REGIONAL_INDICATOR) ++indicators;
    left = right;
    at = next;
  }
  return at;
}

}  // namespace halftone::text
