#include "data/text_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "base/stop.h"
#include "data/class_map.h"
#include "data/text.h"
#include "data/text_findings.h"
#include "par/pool.h"
#include "par/start_threads.h"
#include "text/tokenizer.h"

namespace halftone::data {

namespace tok = ::halftone::text;

std::string name_of(TextTask task) {
  switch (task) {
    case TextTask::kAuto:
      return "auto";
    case TextTask::kLabels:
      return "labels";
    case TextTask::kTags:
      return "tags";
    case TextTask::kCausal:
      return "causal-lm";
    case TextTask::kMasked:
      return "masked-lm";
    case TextTask::kEmbeddings:
      return "embeddings";
  }
  return "?";
}

void for_each_sample(int64_t count, int threads, const std::function<void(int64_t)>& body) {
  constexpr int64_t kAtATime = 64;
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  int64_t failed_at = count;
  std::exception_ptr failure;
  const auto work = [&] {
    int64_t i = 0;
    try {
      for (int64_t first = next.fetch_add(kAtATime); first < count; first = next.fetch_add(kAtATime)) {
        i = first;
        check_stop();
        for (; i < std::min(count, first + kAtATime); ++i) body(i);
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (i < failed_at) {
        failed_at = i;
        failure = std::current_exception();
      }
      next = count;  // what is below was taken before
    }
  };
  {
    const int all = threads > 0 ? threads : par::available_threads();
    std::vector<std::thread> others;
    par::start_threads(
        others, static_cast<int>(std::min<int64_t>(all, count / kAtATime + 1)) - 1, [&](int) { work(); },
        [&] { next = count; }, "threads that read data", "--loader-threads", 1);
    work();
    for (std::thread& thread : others) thread.join();
  }
  if (failure) std::rethrow_exception(failure);
}

namespace {

// The tokens of each sample of a source, counted.
class Counted : public TokenSource {
 public:
  int64_t size() const override { return static_cast<int64_t>(counts_.size()); }
  std::string name(int64_t index) const override { return source_->name(index); }
  int64_t length(int64_t index) const override { return counts_[static_cast<size_t>(index)]; }

 protected:
  Counted(std::shared_ptr<const TextSource> source, const TokenOptions& options)
      : source_(std::move(source)), options_(options), tokenizer_(*options.reading.tokenizer) {
    bad_ = source_->bad();
  }

  // All tokens of a sample (of several texts those of the longest), however many are taken. Error (input): it is bad.
  virtual tok::Encoding measured(int64_t index, TextSample& sample) const = 0;

  // What the template puts around texts must leave room for one token of each.
  void check_room() const {
    TextSample sample;
    int64_t first = 0;
    while (bad_.contains(first)) ++first;
    if (first >= source_->size()) return;
    source_->read(first, sample);
    const bool pair = options_.task != TextTask::kEmbeddings && source_->form() == TextSource::Form::kTexts &&
                      sample.texts.size() == 2;
    const tok::Encoding around = pair ? tokenizer_.encode_pair("a", "a") : tokenizer_.encode("a");
    const int64_t special = std::count(around.special.begin(), around.special.end(), 1);
    const int64_t least = special + (pair ? 2 : 1);
    if (options_.reading.most < least)
      throw usage_error("{} tokens a sample ({}): the tokenizer puts {} around {}; expected {} or more",
                        options_.reading.most, options_.reading.most_reason, special,
                        pair ? "two texts" : "a text", least);
  }

  // To be called once by the constructor.
  void count() {
    check_room();
    counts_.assign(static_cast<size_t>(source_->size()), 0);
    int64_t begin = 0;
    int64_t end = source_->size();
    if (options_.range) std::tie(begin, end) = resolve_range(*options_.range, end, source_->name(0));
    // Before training begins, as a step that fails would lose what is trained.
    const int64_t known = options_.reading.vocabulary;  // 0: the network does not say
    const bool may_be_unknown = known > 0 && tokenizer_.size() > known;
    TextFindings findings;
    std::mutex mutex;
    for_each_sample(end - begin, options_.threads, [&](int64_t at) {
      const int64_t i = begin + at;
      if (bad_.contains(i)) return;
      try {
        TextSample sample;
        const size_t tokens = measured(i, sample).ids.size();
        if (tokens == 0) throw input_error("{}: the text has no tokens", source_->name(i));
        if (may_be_unknown) {
          std::vector<TokenRow> rows;
          encode_all(i, rows);
          for (const TokenRow& row : rows) check_known_tokens(options_.reading, row.ids, source_->name(i));
        }
        findings.look_at(i, sample, source_->form());
        counts_[static_cast<size_t>(i)] = static_cast<uint32_t>(tokens);
      } catch (const Error& e) {
        if (!options_.skip_bad || e.kind() != ErrorKind::kInput) throw;
        const std::lock_guard lock(mutex);
        found_bad_.emplace(i, e.what());
      }
    });
    bad_.merge(found_bad_);
    notes_ = findings.notes(*source_, end - begin);
  }

  void check_good(int64_t index) const {
    if (const auto it = bad_.find(index); it != bad_.end()) throw Error(ErrorKind::kInput, it->second);
  }

  tok::Encoding encoded(const TextSample& sample, int64_t most) const {
    const tok::EncodeOptions how{.add_special = true, .max_tokens = most};
    return sample.texts.size() == 2 ? tokenizer_.encode_pair(sample.texts[0], sample.texts[1], how)
                                    : tokenizer_.encode(sample.texts.at(0), how);
  }

  static void give(tok::Encoding&& encoding, TokenRow& row) {
    row.ids = std::move(encoding.ids);
    row.types = std::move(encoding.types);
    row.special = std::move(encoding.special);
    row.labels.clear();
  }

  std::shared_ptr<const TextSource> source_;
  TokenOptions options_;
  const tok::Tokenizer& tokenizer_;
  std::vector<uint32_t> counts_;

 private:
  std::map<int64_t, std::string> found_bad_;
};

// Tokens that were made to be counted, kept up to a bound of memory: the first epoch need not make them again, nor
// later ones, which takes most of the time. Which samples are kept depends on who comes first, what they are does not.
class KeptTokens {
 public:
  explicit KeptTokens(int64_t samples) : rows_(static_cast<size_t>(std::min(samples, kMostRows))) {}

  // By one thread a sample.
  void keep(size_t index, const tok::Encoding& encoding) {
    const auto small = [](int32_t type) { return type >= 0 && type < 128; };
    if (index >= rows_.size() || !std::all_of(encoding.types.begin(), encoding.types.end(), small)) return;
    const auto count = static_cast<int64_t>(encoding.ids.size());
    const int64_t bytes = count * static_cast<int64_t>(sizeof(int32_t) + 1) + kBytesARow;
    if (used_.fetch_add(bytes) + bytes > kMostBytes) return;
    auto row = std::make_unique<Row>();
    row->ids = encoding.ids;
    row->ids.shrink_to_fit();
    row->marks.resize(encoding.ids.size());
    for (size_t t = 0; t < row->marks.size(); ++t)
      row->marks[t] = static_cast<uint8_t>(encoding.types[t] << 1 | (encoding.special[t] != 0 ? 1 : 0));
    rows_[index] = std::move(row);
  }

  bool give(size_t index, TokenRow& to) const {
    if (index >= rows_.size() || rows_[index] == nullptr) return false;
    const Row& row = *rows_[index];
    to.ids = row.ids;
    to.types.resize(row.ids.size());
    to.special.resize(row.ids.size());
    for (size_t t = 0; t < row.ids.size(); ++t) {
      to.types[t] = row.marks[t] >> 1;
      to.special[t] = row.marks[t] & 1;
    }
    to.labels.clear();
    return true;
  }

 private:
  struct Row {
    std::vector<int32_t> ids;
    std::vector<uint8_t> marks;  // type * 2 + whether it is the template's
  };
  static constexpr int64_t kMostBytes = int64_t{64} << 20;
  static constexpr int64_t kMostRows = int64_t{1} << 20;
  static constexpr int64_t kBytesARow = sizeof(Row) + 64;  // with what the allocator adds
  std::vector<std::unique_ptr<Row>> rows_;
  std::atomic<int64_t> used_{0};
};

// Texts and pairs, each a sample.
class TextTokens final : public Counted {
 public:
  TextTokens(std::shared_ptr<const TextSource> source, const TokenOptions& options)
      : Counted(std::move(source), options), kept_(source_->size()) {
    count();
  }
  void encode(int64_t index, TokenRow& row) const override {
    check_good(index);
    // Also where the tokens are kept: a file that changed is to be noticed.
    TextSample sample;
    source_->read(index, sample);
    if (kept_.give(static_cast<size_t>(index), row)) return;
    Counted::give(encoded(sample, options_.reading.most), row);
  }

 private:
  tok::Encoding measured(int64_t index, TextSample& sample) const override {
    source_->read(index, sample);
    tok::Encoding all = encoded(sample, 0);
    // What is cut off would have to be made anew.
    if (static_cast<int64_t>(all.ids.size()) <= options_.reading.most)
      kept_.keep(static_cast<size_t>(index), all);
    return all;
  }

  mutable KeptTokens kept_;
};

// Texts of a sample, each by itself.
class SeparateTexts final : public Counted {
 public:
  SeparateTexts(std::shared_ptr<const TextSource> source, const TokenOptions& options)
      : Counted(std::move(source), options) {
    int64_t first = 0;
    while (bad_.contains(first)) ++first;
    if (first < source_->size()) {
      TextSample sample;
      source_->read(first, sample);
      texts_ = static_cast<int64_t>(sample.texts.size());
    }
    count();
  }
  int64_t texts() const override { return texts_; }
  void encode(int64_t index, TokenRow& row) const override {
    HT_ASSERT(texts_ == 1, "{} texts", texts_);
    std::vector<TokenRow> rows;
    encode_all(index, rows);
    row = std::move(rows[0]);
  }
  void encode_all(int64_t index, std::vector<TokenRow>& rows) const override {
    check_good(index);
    TextSample sample;
    source_->read(index, sample);
    HT_ASSERT(static_cast<int64_t>(sample.texts.size()) == texts_, "{}", source_->name(index));
    rows.resize(sample.texts.size());
    for (size_t i = 0; i < rows.size(); ++i)
      give(tokenizer_.encode(sample.texts[i], {.add_special = true, .max_tokens = options_.reading.most}),
           rows[i]);
  }

 private:
  // The longest.
  tok::Encoding measured(int64_t index, TextSample& sample) const override {
    source_->read(index, sample);
    tok::Encoding most;
    for (size_t i = 0; i < sample.texts.size(); ++i) {
      tok::Encoding encoding = tokenizer_.encode(sample.texts[i]);
      if (encoding.ids.empty())
        throw input_error("{}: text {} of {} has no tokens", source_->name(index), i + 1, texts_);
      if (encoding.ids.size() > most.ids.size()) most = std::move(encoding);
    }
    return most;
  }

  int64_t texts_ = 1;
};

// Words with a tag each: the first token of a word has its class, other tokens none.
class WordTokens final : public Counted {
 public:
  WordTokens(std::shared_ptr<const TextSource> source, const TokenOptions& options)
      : Counted(std::move(source), options) {
    number_tags();
    count();
  }
  void encode(int64_t index, TokenRow& row) const override {
    check_good(index);
    TextSample sample;
    source_->read(index, sample);
    std::vector<size_t> ends;
    tok::Encoding encoding =
        tokenizer_.encode(joined(sample, ends), {.add_special = true, .max_tokens = options_.reading.most});
    std::vector<int32_t> labels(encoding.ids.size(), kNoTarget);
    size_t next = 0;  // the first word that has no token yet
    for (size_t i = 0; i < labels.size(); ++i) {
      const tok::Span span = encoding.spans[i];
      if (encoding.special[i] != 0 || span.end <= span.begin) continue;
      // By its last byte: the first may be the blank in front.
      const auto word =
          static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), span.end - 1) - ends.begin());
      if (word >= sample.tags.size() || word < next || span.end - 1 < ends[word] - sample.texts[word].size())
        continue;
      labels[i] = number_of(sample.tags[word], index);
      next = word + 1;
    }
    give(std::move(encoding), row);
    row.labels = std::move(labels);
  }

 private:
  // With blanks between them. ends: where each word ends.
  static std::string joined(const TextSample& sample, std::vector<size_t>& ends) {
    std::string text;
    for (const std::string& word : sample.texts) {
      if (!text.empty() || !ends.empty()) text += ' ';
      text += word;
      ends.push_back(text.size());
    }
    return text;
  }
  tok::Encoding measured(int64_t index, TextSample& sample) const override {
    source_->read(index, sample);
    std::vector<size_t> ends;
    return tokenizer_.encode(joined(sample, ends));
  }

  void number_tags() {
    std::set<std::string> found;
    std::mutex mutex;
    for_each_sample(source_->size(), options_.threads, [&](int64_t i) {
      if (bad_.contains(i)) return;
      TextSample sample;
      source_->read(i, sample);
      const std::set<std::string> own(sample.tags.begin(), sample.tags.end());
      const std::lock_guard lock(mutex);
      found.insert(own.begin(), own.end());
    });
    const bool numbers =
        std::all_of(found.begin(), found.end(), [](const std::string& tag) { return is_whole(tag); });
    if (numbers && options_.tag_names.empty()) return;
    names_ = options_.tag_names.empty() ? in_class_order({found.begin(), found.end()}) : options_.tag_names;
    std::vector<std::string> unknown;
    for (const std::string& tag : found)
      if (std::find(names_.begin(), names_.end(), tag) == names_.end()) unknown.push_back(tag);
    if (!unknown.empty())
      throw input_error("{}: unknown class{} {}; {} has the classes {}", source_->labels_where(),
                        unknown.size() == 1 ? "" : "es", some_of(unknown), options_.tag_names_source,
                        some_of(names_));
    for (size_t i = 0; i < names_.size(); ++i) numbers_.emplace(names_[i], static_cast<int32_t>(i));
  }

  static bool is_whole(const std::string& tag) {
    const size_t digits = tag.starts_with('-') ? 1 : 0;
    return tag.size() > digits && tag.size() < digits + 9 &&
           std::all_of(tag.begin() + static_cast<std::ptrdiff_t>(digits), tag.end(),
                       [](char c) { return c >= '0' && c <= '9'; });
  }

  int32_t number_of(const std::string& tag, int64_t index) const {
    if (names_.empty()) return std::stoi(tag);
    const auto it = numbers_.find(tag);
    HT_ASSERT(it != numbers_.end(), "{}: {}", source_->name(index), tag);
    return it->second;
  }

  std::map<std::string, int32_t> numbers_;
};

// Each token is followed by the next one, which is learned.
void next_tokens(TokenRow& row) {
  row.labels.assign(row.ids.size(), kNoTarget);
  for (size_t i = 0; i + 1 < row.ids.size(); ++i) row.labels[i] = row.ids[i + 1];
}

// A prompt, and a completion that is learned.
class PromptTokens final : public Counted {
 public:
  PromptTokens(std::shared_ptr<const TextSource> source, const TokenOptions& options)
      : Counted(std::move(source), options) {
    count();
    if (!tokenizer_.end_id())
      notes_.emplace_back("the tokenizer has no token that ends a text: completions end without one");
  }
  void encode(int64_t index, TokenRow& row) const override {
    check_good(index);
    TextSample sample;
    tok::Encoding encoding = whole(index, sample);
    const size_t most = std::min(encoding.ids.size(), static_cast<size_t>(options_.reading.most));
    // The prompt is what begins in it; the token that crosses its end counts as given.
    std::vector<bool> given(most);
    bool completion = false;
    for (size_t i = 0; i < most; ++i) {
      const tok::Span span = encoding.spans[i];
      if (encoding.special[i] == 0 && span.end > span.begin && span.begin >= sample.prompt) completion = true;
      given[i] = !completion;
    }
    encoding.ids.resize(most);
    encoding.types.resize(most);
    encoding.special.resize(most);
    give(std::move(encoding), row);
    next_tokens(row);
    for (size_t i = 0; i + 1 < most; ++i)
      if (given[i + 1]) row.labels[i] = kNoTarget;
  }

 private:
  tok::Encoding whole(int64_t index, TextSample& sample) const {
    source_->read(index, sample);
    tok::Encoding encoding = encoded(sample, 0);
    const std::optional<int32_t> end = tokenizer_.end_id();
    if (end && (encoding.ids.empty() || encoding.ids.back() != *end)) {
      encoding.ids.push_back(*end);
      encoding.types.push_back(encoding.types.empty() ? 0 : encoding.types.back());
      encoding.special.push_back(1);
      encoding.spans.push_back({});
    }
    return encoding;
  }
  tok::Encoding measured(int64_t index, TextSample& sample) const override { return whole(index, sample); }
};

// All texts one behind the other, with the end token between them, in blocks of one length. Each token's class is
// the next token, that of the next block where a block ends.
class PackedTokens final : public TokenSource {
 public:
  PackedTokens(std::shared_ptr<const TextSource> source, const TokenOptions& options)
      : source_(std::move(source)),
        kept_(options.reading.tokenizer),
        tokenizer_(*kept_),
        block_(options.reading.block) {
    HT_ASSERT(block_ > 0, "{}", block_);
    const std::optional<int32_t> end = tokenizer_.end_id();
    find_first_tokens();
    const auto size = static_cast<size_t>(source_->size());
    std::vector<uint32_t> counts(size);
    TextFindings findings;
    for_each_sample(source_->size(), options.threads, [&](int64_t i) {
      if (source_->bad().contains(i)) return;
      TextSample sample;
      const std::vector<int32_t> ids = piece(i, sample);
      check_known_tokens(options.reading, ids, source_->name(i));
      findings.look_at(i, sample, TextSource::Form::kPrompts);  // pieces may be empty
      counts[static_cast<size_t>(i)] = static_cast<uint32_t>(ids.size());
    });
    notes_ = findings.notes(*source_, source_->size());
    begins_.reserve(size + 1);
    begins_.push_back(0);
    int64_t texts = 0;
    for (size_t i = 0; i < size; ++i) {
      begins_.push_back(begins_.back() + counts[i]);
      texts += source_->begins(static_cast<int64_t>(i)) ? 1 : 0;
    }
    const int64_t all = begins_.back();
    blocks_ = (all - 1) / block_;
    notes_.push_back(fmt::format("{} tokens of {} texts in {} blocks of {}; the {} behind them fill no block",
                                 all, texts, blocks_, block_,
                                 std::max<int64_t>(0, all - blocks_ * block_ - 1)));
    if (!end)
      notes_.emplace_back(
          "the tokenizer has no token that ends a text: texts follow one another without one");
    if (!source_->bad().empty())
      notes_.push_back(fmt::format("warning: {} bad texts are left out (--skip-bad); the first: {}",
                                   source_->bad().size(), source_->bad().begin()->second));
    if (blocks_ < 1)
      throw input_error("{}: its {} tokens fill no block of {} and one more; give a smaller --block-tokens",
                        source_->name(0), all, block_);
  }
  int64_t size() const override { return blocks_; }
  std::string name(int64_t index) const override {
    return fmt::format("{} (block {})", source_->name(piece_at(index * block_)), index);
  }
  int64_t length(int64_t) const override { return block_; }

  void encode(int64_t index, TokenRow& row) const override {
    HT_ASSERT(index >= 0 && index < blocks_, "block {} of {}", index, blocks_);
    const int64_t first = index * block_;
    const int64_t end = first + block_ + 1;
    std::vector<int32_t> ids;
    for (int64_t p = piece_at(first); static_cast<int64_t>(ids.size()) < end - first; ++p) {
      TextSample sample;
      const std::vector<int32_t> tokens = piece(p, sample);
      const int64_t begin = begins_[static_cast<size_t>(p)];
      HT_ASSERT(begin + static_cast<int64_t>(tokens.size()) == begins_[static_cast<size_t>(p) + 1], "{}",
                source_->name(p));
      const int64_t from = std::max<int64_t>(0, first - begin);
      const int64_t to = std::min<int64_t>(static_cast<int64_t>(tokens.size()), end - begin);
      if (from < to) ids.insert(ids.end(), tokens.begin() + from, tokens.begin() + to);
    }
    row.labels.assign(ids.begin() + 1, ids.end());
    ids.pop_back();
    row.types.assign(ids.size(), 0);
    row.special.assign(ids.size(), 0);
    row.ids = std::move(ids);
  }

 private:
  // Tokens that the template puts in front of a text.
  void find_first_tokens() {
    const tok::Encoding empty = tokenizer_.encode("a");
    for (size_t i = 0; i < empty.ids.size() && empty.special[i] != 0; ++i) first_.push_back(empty.ids[i]);
  }

  std::vector<int32_t> piece(int64_t index, TextSample& sample) const {
    if (source_->bad().contains(index)) return {};
    source_->read(index, sample);
    std::vector<int32_t> ids;
    if (source_->begins(index)) ids = first_;
    for (const std::string& text : sample.texts) {
      const tok::Encoding encoding = tokenizer_.encode(text, {.add_special = false});
      ids.insert(ids.end(), encoding.ids.begin(), encoding.ids.end());
    }
    const bool ends = index + 1 == source_->size() || source_->begins(index + 1);
    if (ends && tokenizer_.end_id()) ids.push_back(*tokenizer_.end_id());
    return ids;
  }

  // That which has this token of all.
  int64_t piece_at(int64_t token) const {
    return std::upper_bound(begins_.begin(), begins_.end(), token) - begins_.begin() - 1;
  }

  std::shared_ptr<const TextSource> source_;
  std::shared_ptr<const tok::Tokenizer> kept_;
  const tok::Tokenizer& tokenizer_;
  int64_t block_;
  int64_t blocks_ = 0;
  std::vector<int32_t> first_;
  std::vector<int64_t> begins_;  // tokens before each piece, and all
};

}  // namespace

std::unique_ptr<TokenSource> make_tokens(std::shared_ptr<const TextSource> source,
                                         const TokenOptions& options) {
  using Form = TextSource::Form;
  switch (options.task) {
    case TextTask::kTags:
      HT_ASSERT(source->form() == Form::kWords);
      return std::make_unique<WordTokens>(std::move(source), options);
    case TextTask::kCausal:
      if (source->form() == Form::kPrompts) return std::make_unique<PromptTokens>(std::move(source), options);
      return std::make_unique<PackedTokens>(std::move(source), options);
    case TextTask::kLabels:
    case TextTask::kMasked:
      return std::make_unique<TextTokens>(std::move(source), options);
    case TextTask::kEmbeddings:
      HT_ASSERT(source->form() == Form::kTexts);
      return std::make_unique<SeparateTexts>(std::move(source), options);
    case TextTask::kAuto:
      break;
  }
  HT_ASSERT(false, "{}", name_of(options.task));
  return nullptr;
}

}  // namespace halftone::data
