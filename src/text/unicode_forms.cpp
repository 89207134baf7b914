// Unicode's normal forms, with what becomes of each character, as the crate unicode-normalization-alignments gives it: of the characters that one
// decomposes to, the first takes its place and the others are new.
#include <unicode/uchar.h>
#include <unicode/unorm2.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/error.h"
#include "text/characters.h"
#include "text/normalizer.h"

namespace halftone::text {
namespace {

// The crate knows Unicode 9; later characters stay as they are.
bool forms_know(char32_t c) {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] <= 9;
}

struct Mark {
  char32_t c = 0;
  // 1: a new character; 0: takes the place of one; -n: of one, and n that follow are gone.
  int32_t change = 0;
  uint8_t combining = 0;
};

const UNormalizer2* icu_form(bool compatible) {
  UErrorCode error = U_ZERO_ERROR;
  const UNormalizer2* form = compatible ? unorm2_getNFKCInstance(&error) : unorm2_getNFCInstance(&error);
  HT_ASSERT(U_SUCCESS(error) && form != nullptr, "ICU lacks its data of normal forms");
  return form;
}

class Former {
 public:
  Former(UnicodeForm form)
      : canonical_(icu_form(false)),
        decomposing_(icu_form(form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd)),
        composes_(form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) {}

  void apply(Aligned& text) {
    Rewrite out(text);
    std::vector<Mark> marks = decompose(text.text);
    if (composes_) compose(marks);
    for (const Mark& m : marks) {
      if (m.change > 0) {
        out.add(m.c);
      } else {
        out.replace(m.c);
        out.skip(-m.change);
      }
    }
    text = out.take();
  }

 private:
  std::vector<Mark> decompose(std::string_view text) const {
    std::vector<Mark> out;
    out.reserve(text.size());
    // Marks behind it are not yet in the order of their classes.
    size_t sorted = 0;
    const auto sort = [&] {
      if (out.size() - sorted > 1)
        std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(sorted), out.end(),
                         [](const Mark& a, const Mark& b) { return a.combining < b.combining; });
      sorted = out.size();
    };
    const auto push = [&](char32_t c, int32_t change) {
      const uint8_t combining =
          c < 0x300 || !forms_know(c) ? 0 : u_getCombiningClass(static_cast<UChar32>(c));
      if (combining == 0) sort();
      out.push_back({c, change, combining});
    };
    std::array<UChar, 32> parts;  // the longest decomposition, of U+FDFA, has 18
    for (size_t at = 0; at < text.size();) {
      const char32_t c = next_character(text, at);
      UErrorCode error = U_ZERO_ERROR;
      const int32_t count = c < 0x80 || !forms_know(c)
                                ? -1
                                : unorm2_getDecomposition(decomposing_, static_cast<UChar32>(c), parts.data(),
                                                          static_cast<int32_t>(parts.size()), &error);
      HT_ASSERT(U_SUCCESS(error));
      if (count < 0) {
        push(c, 0);
        continue;
      }
      for (int32_t i = 0; i < count;) {
        UChar32 part = 0;
        const bool first = i == 0;
        U16_NEXT(parts, i, count, part);
        push(static_cast<char32_t>(part), first ? 0 : 1);
      }
    }
    sort();
    return out;
  }

  // In place: what is composed moves to the front.
  void compose(std::vector<Mark>& marks) const {
    constexpr size_t kNone = SIZE_MAX;
    size_t starter = kNone;
    size_t end = 0;
    int last_combining = -1;  // of the mark before that did not compose with the starter
    for (const Mark m : marks) {
      if (starter != kNone && last_combining < static_cast<int>(m.combining)) {
        const UChar32 composed =
            unorm2_composePair(canonical_, static_cast<UChar32>(marks[starter].c), static_cast<UChar32>(m.c));
        if (composed >= 0 && forms_know(static_cast<char32_t>(composed))) {
          marks[starter].c = static_cast<char32_t>(composed);
          marks[starter].change += m.change - 1;
          continue;
        }
      }
      if (m.combining == 0) {
        starter = end;
        last_combining = -1;
      } else if (starter != kNone) {
        last_combining = m.combining;
      }
      marks[end++] = m;
    }
    marks.resize(end);
  }

  const UNormalizer2* canonical_;
  const UNormalizer2* decomposing_;
  bool composes_;
};

}  // namespace

void bring_to_form(Aligned& text, UnicodeForm form) {
  if (!is_ascii(text.text)) Former(form).apply(text);
}

void lowercase(Aligned& text) {
  if (is_ascii(text.text)) {
    for (char& c : text.text)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    return;
  }
  Rewrite out(text);
  while (!out.at_end()) {
    const char32_t c = out.peek();
    out.replace(c == 0x130 ? U'i' : simple_lowercase(c));
    if (c == 0x130) out.add(0x307);
  }
  text = out.take();
}

}  // namespace halftone::text
