// libFuzzer on tokenizer files: what is read encodes every text, and decodes what it encoded.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "fuzz/temporary_file.h"
#include "text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const halftone::fuzz::TemporaryFile file("tokenizer");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  file.with(bytes);
  try {
    const auto tokenizer = halftone::text::Tokenizer::open(file.path());
    for (const std::string_view text :
         {std::string_view("Hello  w\xC3\xB6rld's 12 \xE4\xB8\xAD\xFF\t[MASK]\0!", 33),
          bytes.substr(0, 200)}) {
      const halftone::text::Encoding e = tokenizer->encode(text);
      HT_ASSERT(e.ids.size() == e.spans.size() && e.ids.size() == e.words.size() &&
                e.ids.size() == e.special.size());
      for (size_t i = 0; i < e.ids.size(); ++i) {
        HT_ASSERT(e.ids[i] >= 0 && e.ids[i] < tokenizer->size());
        HT_ASSERT(e.spans[i].begin <= e.spans[i].end && e.spans[i].end <= text.size());
      }
      tokenizer->decode(e.ids, false);
      tokenizer->encode_pair(text, text, {true, 5});
    }
  } catch (const halftone::Error&) {
  }
  return 0;
}
