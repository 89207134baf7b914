#include "api/yaml_values.h"

#include "base/error.h"
#include "base/utf8.h"

namespace halftone::api {
namespace {

class YamlReader {
 public:
  YamlReader(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  std::vector<std::string> run() {
    std::vector<std::string> values;
    skip_blanks();
    if (at_ == text_.size() || rest() == "~") return values;
    if (text_[at_] != '[') {
      values.push_back(value(false));
    } else {
      ++at_;
      skip_blanks();
      while (at_ < text_.size() && text_[at_] != ']') {
        values.push_back(value(true));
        skip_blanks();
        if (at_ < text_.size() && text_[at_] == ',') ++at_;
        skip_blanks();
      }
      if (at_ == text_.size()) refuse();
      ++at_;
    }
    skip_blanks();
    if (at_ != text_.size()) refuse();
    return values;
  }

 private:
  std::string_view rest() const { return text_.substr(at_); }
  [[noreturn]] void refuse() const {
    throw input_error("{}: expected a text or a list of texts in one line, found {}", where_, text_);
  }
  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\r')) ++at_;
  }

  std::string value(bool in_list) {
    if (text_[at_] == '"') return double_quoted();
    if (text_[at_] == '\'') return single_quoted();
    const size_t begin = at_;
    while (at_ < text_.size() && !(in_list && (text_[at_] == ',' || text_[at_] == ']'))) ++at_;
    std::string plain(text_.substr(begin, at_ - begin));
    while (!plain.empty() && (plain.back() == ' ' || plain.back() == '\r')) plain.pop_back();
    if (plain.empty()) refuse();
    return plain;
  }

  std::string single_quoted() {
    std::string out;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '\'') {
        if (at_ + 1 == text_.size() || text_[at_ + 1] != '\'') {
          ++at_;
          return out;
        }
        ++at_;
      }
      out += text_[at_];
    }
    refuse();
  }

  std::string double_quoted() {
    std::string out;
    for (++at_; at_ < text_.size(); ++at_) {
      if (text_[at_] == '"') {
        ++at_;
        return out;
      }
      if (text_[at_] != '\\') {
        out += text_[at_];
        continue;
      }
      if (++at_ == text_.size()) refuse();
      escape(text_[at_], out);
    }
    refuse();
  }

  // text_[at_] is the letter behind the backslash.
  void escape(char letter, std::string& out) {
    switch (letter) {
      case '"':
      case '\\':
      case '/':
        out += letter;
        return;
      case 'n':
        out += '\n';
        return;
      case 't':
        out += '\t';
        return;
      case 'r':
        out += '\r';
        return;
      case 'b':
        out += '\b';
        return;
      case 'f':
        out += '\f';
        return;
      case 'x':
        return append_utf8(digits(2), out);
      case 'u':
        return append_utf8(digits(4), out);
      case 'U':
        return append_utf8(digits(8), out);
      default:
        refuse();
    }
  }

  uint32_t digits(size_t count) {
    uint32_t code = 0;
    for (size_t i = 0; i < count; ++i) {
      if (++at_ >= text_.size()) refuse();
      const char c = text_[at_];
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) refuse();
      code = code << 4 | static_cast<uint32_t>(digit);
    }
    if (code > 0x10FFFF) refuse();
    return code;
  }

  std::string_view text_;
  const std::string& where_;
  size_t at_ = 0;
};

}  // namespace

std::vector<std::string> yaml_values(std::string_view text, const std::string& where) {
  return YamlReader(text, where).run();
}

}  // namespace halftone::api
