#include "data/text_findings.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "halftone/printable.h"
#include "text/tokenizer.h"

namespace halftone::data {

void TextFindings::Found::add(int64_t index) {
  first = count == 0 ? index : std::min(first, index);
  ++count;
}

void TextFindings::look_at(int64_t index, const TextSample& sample, TextSource::Form form) {
  const std::vector<std::string>& texts = sample.texts;
  const bool broken = !std::all_of(texts.begin(), texts.end(), is_utf8);
  const bool empty = form == TextSource::Form::kTexts &&
                     std::any_of(texts.begin(), texts.end(), [](const std::string& text) {
                       return text.find_first_not_of(" \t\r\n") == std::string::npos;
                     });
  if (!broken && !empty) return;
  const std::lock_guard lock(mutex_);
  if (broken) not_utf8_.add(index);
  if (empty) empty_.add(index);
}

std::vector<std::string> TextFindings::notes(const TextSource& source, int64_t all) const {
  std::vector<std::string> notes;
  if (not_utf8_.count > 0)
    notes.push_back(fmt::format(
        "warning: {} of {} texts have bytes that are not UTF-8, which are read as U+FFFD; the first: {}; "
        "save the data as UTF-8",
        not_utf8_.count, all, source.name(not_utf8_.first)));
  if (empty_.count > 0)
    notes.push_back(fmt::format("warning: {} of {} samples have an empty text; the first: {}", empty_.count,
                                all, source.name(empty_.first)));
  return notes;
}

void check_known_tokens(const TextReading& reading, const std::vector<int32_t>& ids,
                        const std::string& name) {
  if (reading.vocabulary <= 0) return;
  for (const int32_t id : ids)
    if (id >= reading.vocabulary)
      throw input_error(
          "{}: the token {} has the number {}, but the network's table {} has {} rows; is it this network's "
          "tokenizer?",
          name, reading.tokenizer->token_of(id), id, reading.vocabulary_name, reading.vocabulary);
}

}  // namespace halftone::data
