// .jsonl: a JSON object a line, whose keys are the columns.
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "data/text.h"
#include "data/text_file.h"
#include "data/text_source.h"

namespace halftone::data {
namespace {

using Json = nlohmann::json;

// What its keys are: decided by the options and the first line.
struct Keys {
  std::vector<std::string> texts;
  std::string label;  // empty: none
  std::string words, tags;
  std::string prompt, completion;
};

std::string keys_of(const Json& object) {
  std::vector<std::string> names;
  for (const auto& [key, value] : object.items()) names.push_back(shown(key));
  return names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
}

bool is_texts(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const Json& v) { return v.is_string(); });
}

class JsonLines final : public TextSource {
 public:
  JsonLines(const std::string& path, const OpenOptions& options, TextWants wants)
      : path_(path), options_(options), wants_(wants), file_(open_text_file(path)) {
    kind_ = "JSON lines";
    const bool skip_bad = options.skip_bad;
    for_each_line(file_, [&](std::string_view line, const TextPlace& place) {
      if (line.find_first_not_of(" \t") == std::string_view::npos) return;
      const auto row = static_cast<int64_t>(places_.size());
      std::string label;
      try {
        const Json object = parse(line, place.line);
        if (!decided_) decide(object, place.line);
        decided_ = true;
        TextSample sample;
        take(object, place.line, sample, &label);
      } catch (const Error& e) {
        // Without a first line nothing says what the others are.
        if (!skip_bad || !decided_ || e.kind() != ErrorKind::kInput) throw;
        bad_.emplace(row, e.what());
      }
      places_.push_back(place);
      if (!keys_.label.empty()) labels_.push_back(std::move(label));
    });
    if (places_.empty()) throw input_error("{}: it holds no samples", path_);
  }

  int64_t size() const override { return static_cast<int64_t>(places_.size()); }
  std::string name(int64_t index) const override { return at(places_.at(static_cast<size_t>(index)).line); }
  void read(int64_t index, TextSample& sample) const override {
    const TextPlace& place = places_.at(static_cast<size_t>(index));
    take(parse(text_at(file_, place), place.line), place.line, sample, nullptr);
  }

 private:
  std::string at(int64_t line) const { return fmt::format("{}, line {}", path_, line); }

  Json parse(std::string_view line, int64_t number) const {
    Json object = Json::parse(line.begin(), line.end(), nullptr, false);
    if (object.is_discarded()) throw input_error("{}: it is no JSON: \"{}\"", at(number), shown(line));
    if (!object.is_object())
      throw input_error("{}: expected a JSON object, {{\"text\": ..., \"label\": ...}}; found \"{}\"",
                        at(number), shown(line));
    return object;
  }

  void decide(const Json& first, int64_t line) {
    const std::vector<std::string>& asked = options_.text.columns;
    const std::string& label = options_.label_column;
    const auto there = [&](const std::string& key, const std::string& option) {
      if (!first.contains(key))
        throw input_error("{}: {} {}: it has no such key; it has {}", at(line), option, shown(key),
                          keys_of(first));
      return key;
    };
    check_text_columns(options_.text, asked.size());
    for (const std::string& key : asked) keys_.texts.push_back(there(key, "--text"));
    if (asked.empty() && first.contains("messages"))
      throw input_error(
          "{}: chat turns (messages) are not read: how turns become one text is the network's own matter. "
          "Expected the keys prompt and completion, with the text as the network takes it",
          at(line));
    if (asked.empty() && first.contains("prompt") && first.contains("completion") &&
        (options_.text.task == TextTask::kAuto || options_.text.task == TextTask::kCausal)) {
      form_ = Form::kPrompts;
      keys_.prompt = "prompt";
      keys_.completion = "completion";
      notes_.emplace_back("keys: prompt, which is given, and completion, which is learned");
      return;
    }
    if (asked.empty())
      for (const char* key : {"text", "tokens", "words", "sentence", "content"})
        if (keys_.texts.empty() && first.contains(key)) keys_.texts.emplace_back(key);
    if (keys_.texts.empty())
      throw input_error("{}: which key is the text? Give --text KEY; it has {}", at(line), keys_of(first));
    const bool words = keys_.texts.size() == 1 && first.at(keys_.texts[0]).is_array();
    if (!label.empty() && label != "none") {
      keys_.label = there(label, "--label-column");
    } else if (label.empty() && (wants_.labels || words)) {
      find_label(first, line, words);
    }
    if (words) {
      form_ = Form::kWords;
      keys_.words = keys_.texts[0];
      keys_.tags = std::move(keys_.label);
      keys_.label.clear();
      if (keys_.tags.empty())
        throw input_error(
            "{}: its {} are words, and no key has their tags; give --label-column KEY; it has {}", at(line),
            shown(keys_.words), keys_of(first));
      labels_where_ = fmt::format("{}, key {}", path_, shown(keys_.tags));
      notes_.push_back(fmt::format("keys: words {}; tags {}", shown(keys_.words), shown(keys_.tags)));
      return;
    }
    if (!keys_.label.empty()) labels_where_ = fmt::format("{}, key {}", path_, shown(keys_.label));
    notes_.push_back(fmt::format("keys: text {}{}", fmt::join(keys_.texts, " and "),
                                 keys_.label.empty() ? "" : "; label " + shown(keys_.label)));
  }

  void find_label(const Json& first, int64_t line, bool words) {
    std::vector<std::string> called;
    std::vector<std::string> others;
    for (const auto& [key, value] : first.items()) {
      if (std::find(keys_.texts.begin(), keys_.texts.end(), key) != keys_.texts.end()) continue;
      others.push_back(key);
      if (words ? value.is_array() &&
                      (key == "tags" || key == "ner_tags" || key == "pos_tags" || is_label_word(key))
                : is_label_word(key))
        called.push_back(key);
    }
    const std::vector<std::string>& fit = called.empty() ? others : called;
    if (fit.size() > 1)
      throw input_error("{}: which key is the label? {} could be; give --label-column KEY, or none", at(line),
                        fmt::join(fit, " and "));
    if (fit.size() == 1) keys_.label = fit[0];
  }

  const Json& value(const Json& object, const std::string& key, int64_t line) const {
    const auto found = object.find(key);
    if (found == object.end())
      throw input_error("{}: it has no key {}, as the first line has; it has {}", at(line), shown(key),
                        keys_of(object));
    return *found;
  }
  const std::string& text(const Json& object, const std::string& key, int64_t line) const {
    const Json& found = value(object, key, line);
    if (!found.is_string())
      throw input_error("{}: expected text at the key {}; found {}", at(line), shown(key),
                        shown(found.dump(-1, ' ', false, Json::error_handler_t::replace)));
    return found.get_ref<const std::string&>();
  }
  // A name, or a number.
  std::string label_text(const Json& found, const std::string& key, int64_t line) const {
    if (found.is_string()) {
      const std::string& name = found.get_ref<const std::string&>();
      if (name.empty()) throw input_error("{}: the label at the key {} is empty", at(line), shown(key));
      return name;
    }
    if (found.is_number()) return found.dump();
    throw input_error("{}: expected a class name or a number at the key {}; found {}", at(line), shown(key),
                      shown(found.dump(-1, ' ', false, Json::error_handler_t::replace)));
  }

  void take(const Json& object, int64_t line, TextSample& sample, std::string* label) const {
    sample.texts.clear();
    sample.tags.clear();
    sample.prompt = 0;
    if (form_ == Form::kPrompts) {
      const std::string& prompt = text(object, keys_.prompt, line);
      sample.prompt = prompt.size();
      sample.texts.push_back(prompt + text(object, keys_.completion, line));
      return;
    }
    if (form_ == Form::kWords) {
      const Json& words = value(object, keys_.words, line);
      const Json& tags = value(object, keys_.tags, line);
      if (!is_texts(words))
        throw input_error("{}: expected a list of words at the key {}", at(line), shown(keys_.words));
      if (!tags.is_array() || tags.size() != words.size())
        throw input_error("{}: it has {} words and {} tags; expected a tag for each", at(line), words.size(),
                          tags.is_array() ? tags.size() : 0);
      for (const Json& word : words) sample.texts.push_back(word.get<std::string>());
      for (const Json& tag : tags) sample.tags.push_back(label_text(tag, keys_.tags, line));
      return;
    }
    for (const std::string& key : keys_.texts) sample.texts.push_back(text(object, key, line));
    if (!keys_.label.empty()) {
      std::string found = label_text(value(object, keys_.label, line), keys_.label, line);
      if (label != nullptr) *label = std::move(found);
    }
  }

  std::string path_;
  const OpenOptions options_;
  const TextWants wants_;
  TextFile file_;
  bool decided_ = false;
  Keys keys_;
  std::vector<TextPlace> places_;
};

}  // namespace

std::unique_ptr<TextSource> open_json_lines(const std::string& path, const OpenOptions& options,
                                            TextWants wants) {
  return std::make_unique<JsonLines>(path, options, wants);
}

}  // namespace halftone::data
