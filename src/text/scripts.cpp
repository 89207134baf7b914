#include "text/scripts.h"

#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include "base/error.h"

namespace halftone::text {

int32_t script_of(char32_t c) {
  if (c == ' ') return kAnyScript;
  // The package's table is of Unicode 9; what is not assigned there has no script.
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  if (age[0] == 0 || age[0] > 9) return kAnyScript;
  if (c == 0x30FC) return USCRIPT_HAN;
  // These have another script since: the Armenian full stop, the Arabic letter mark, two Devanagari accents.
  if (c == 0x0589 || c == 0x061C) return USCRIPT_COMMON;
  if (c == 0x0953 || c == 0x0954) return USCRIPT_DEVANAGARI;
  UErrorCode error = U_ZERO_ERROR;
  const UScriptCode script = uscript_getScript(static_cast<UChar32>(c), &error);
  HT_ASSERT(U_SUCCESS(error));
  if (script == USCRIPT_UNKNOWN) return kAnyScript;  // for private use
  if (script == USCRIPT_HIRAGANA || script == USCRIPT_KATAKANA) return USCRIPT_HAN;
  return script;
}

}  // namespace halftone::text
