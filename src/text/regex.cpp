#include "text/regex.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <array>
#include <utility>

#include "base/error.h"
#include "text/aligned.h"

namespace halftone::text {
namespace {

// An expression may need time that grows with a power of the text's length.
constexpr size_t kMostExpressionBytes = 10000;

std::string onig_message(int code, OnigErrorInfo* info) {
  std::array<OnigUChar, ONIG_MAX_ERROR_MESSAGE_LEN> text{};
  const int bytes = info != nullptr ? onig_error_code_to_str(text.data(), code, info)
                                    : onig_error_code_to_str(text.data(), code);
  return {reinterpret_cast<const char*>(text.data()), static_cast<size_t>(bytes)};
}

struct FreeRegion {
  void operator()(OnigRegion* region) const { onig_region_free(region, 1); }
};

const OnigUChar* bytes_of(std::string_view text) {
  return reinterpret_cast<const OnigUChar*>(text.data());
}

}  // namespace

struct Regex::Compiled {
  OnigRegex regex = nullptr;
  ~Compiled() {
    if (regex != nullptr) onig_free(regex);
  }
};

Regex::Regex(const JsonAt& at, const std::string& expression)
    : compiled_(std::make_unique<Compiled>()), file_(at.file()), expression_(expression) {
  if (expression.size() > kMostExpressionBytes)
    at.refuse(fmt::format("the regular expression is longer than {} bytes", kMostExpressionBytes));
  static const int kReady = [] {
    std::array<OnigEncoding, 1> encodings{ONIG_ENCODING_UTF8};
    return onig_initialize(encodings.data(), 1);
  }();
  HT_ASSERT(kReady == ONIG_NORMAL, "Oniguruma does not start: {}", kReady);
  OnigErrorInfo info{};
  const OnigUChar* begin = bytes_of(expression);
  const int code = onig_new(&compiled_->regex, begin, begin + expression.size(), ONIG_OPTION_NONE,
                            ONIG_ENCODING_UTF8, ONIG_SYNTAX_DEFAULT, &info);
  if (code != ONIG_NORMAL) {
    if (code == ONIGERR_MEMORY) throw std::bad_alloc();
    at.refuse(fmt::format("the regular expression '{}' is not understood: {}", expression,
                          onig_message(code, &info)));
  }
}

Regex::~Regex() = default;

void Regex::find_all(std::string_view text, std::vector<Match>& out) const {
  const std::unique_ptr<OnigRegion, FreeRegion> region(onig_region_new());
  if (region == nullptr) throw std::bad_alloc();
  const OnigUChar* begin = bytes_of(text);
  const OnigUChar* end = begin + text.size();
  size_t open = 0;         // what is not in `out` yet begins here
  size_t last = SIZE_MAX;  // end of the match before
  for (size_t at = 0; at <= text.size();) {
    onig_region_clear(region.get());
    const int found =
        onig_search(compiled_->regex, begin, end, begin + at, end, region.get(), ONIG_OPTION_NONE);
    if (found == ONIG_MISMATCH) break;
    if (found == ONIGERR_MEMORY) throw std::bad_alloc();
    if (found < 0)
      throw input_error("{}: the regular expression '{}' cannot be searched for in a text of {} bytes: {}",
                        file_, expression_, text.size(), onig_message(found, nullptr));
    const auto first = static_cast<size_t>(region->beg[0]);
    const auto behind = static_cast<size_t>(region->end[0]);
    if (first == behind && behind == last) {
      // An empty match where the one before ended counts as none.
      if (at >= text.size()) break;
      next_character(text, at);
      continue;
    }
    at = last = behind;
    if (open != first) out.push_back({static_cast<uint32_t>(open), static_cast<uint32_t>(first), false});
    out.push_back({static_cast<uint32_t>(first), static_cast<uint32_t>(behind), true});
    open = behind;
  }
  if (open != text.size())
    out.push_back({static_cast<uint32_t>(open), static_cast<uint32_t>(text.size()), false});
}

Matcher read_pattern(const JsonAt& json) {
  JsonObject at(json);
  if (at.has("Regex")) {
    const JsonAt expression = at.need("Regex");
    at.done();
    return [regex = std::make_shared<const Regex>(expression, expression.text())](
               std::string_view text, std::vector<Match>& out) { regex->find_all(text, out); };
  }
  const JsonAt wanted = at.need("String");
  at.done();
  if (wanted.text().empty()) wanted.refuse("an empty pattern is not understood");
  return [wanted = wanted.text()](std::string_view text, std::vector<Match>& out) {
    size_t open = 0;
    for (size_t found = 0; (found = text.find(wanted, open)) != std::string_view::npos;
         open = found + wanted.size()) {
      if (open != found) out.push_back({static_cast<uint32_t>(open), static_cast<uint32_t>(found), false});
      out.push_back({static_cast<uint32_t>(found), static_cast<uint32_t>(found + wanted.size()), true});
    }
    if (open != text.size())
      out.push_back({static_cast<uint32_t>(open), static_cast<uint32_t>(text.size()), false});
  };
}

}  // namespace halftone::text
