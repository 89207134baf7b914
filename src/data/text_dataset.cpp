#include "data/text_dataset.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "data/folder.h"
#include "data/image_folder.h"
#include "data/labels.h"
#include "data/text.h"
#include "data/text_findings.h"
#include "data/text_labels.h"
#include "data/text_source.h"
#include "data/text_tokens.h"
#include "data/transform.h"
#include "num/random.h"
#include "text/tokenizer.h"

namespace halftone::data {
namespace {

namespace fs = std::filesystem;

bool ends_in(const std::string& path, const char* ending) {
  return lower_case(path).ends_with(ending);
}

// What an input of the network takes of a sample.
enum class Part : uint8_t { kIds, kMask, kTypes, kPositions };

constexpr std::array<std::pair<const char*, Part>, 4> kParts = {{{kTokenIds, Part::kIds},
                                                                 {kTokenMask, Part::kMask},
                                                                 {kTokenTypes, Part::kTypes},
                                                                 {kTokenPositions, Part::kPositions}}};

class TextDataset final : public Dataset {
 public:
  TextDataset(const std::shared_ptr<TextSource>& source, const std::string& path, TextTask task,
              TextReading reading, const std::optional<Range>& range, const OpenOptions& options)
      : task_(task), form_(source->form()), reading_(std::move(reading)), tokenizer_(*reading_.tokenizer) {
    info_.kind = source->kind();
    info_.source = path;
    info_.has_samples = false;
    info_.labels_name = kTokenLabels;
    info_.notes = source->notes();
    TokenOptions how;
    how.task = task;
    how.reading = reading_;
    how.tag_names = options.class_map.names;
    how.tag_names_source = options.class_map.source;
    how.skip_bad = options.skip_bad;
    how.threads = options.threads;
    how.range = range;
    tokens_ = make_tokens(source, how);
    info_.notes.insert(info_.notes.end(), tokens_->notes().begin(), tokens_->notes().end());
    info_.texts = tokens_->texts();
    // What it pads with is masked; without such a token any does.
    others_ = reading_.vocabulary > 0 ? std::min(reading_.vocabulary, tokenizer_.size()) : tokenizer_.size();
    padding_ = tokenizer_.padding_id().value_or(tokenizer_.end_id().value_or(0));
    if (task_ == TextTask::kMasked)
      check_known_tokens(reading_, {tokenizer_.mask_id().value()}, path + ", --task masked-lm");
    choose_samples(range);
    choose_lengths();
    choose_fields(options);
    if (task_ == TextTask::kLabels || task_ == TextTask::kEmbeddings) {
      set_labels(*source, options);
    } else {
      set_positions(*source, options);
    }
    add_classes();
  }

  int64_t size() const override { return static_cast<int64_t>(order_.size()); }
  std::string name(int64_t index) const override { return tokens_->name(at(index)); }
  int64_t position(int64_t index) const override { return at(index); }
  size_t size_class(int64_t index) const override {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    const auto after = std::upper_bound(firsts_.begin(), firsts_.end(), index);
    return static_cast<size_t>(after - firsts_.begin()) - 1;
  }
  void read(int64_t index, Sample& sample) const override {
    read_drawn(index, {0, 0, static_cast<uint64_t>(at(index))}, sample);
  }

  void read_drawn(int64_t index, const Draws& draws, Sample& sample) const override {
    labels_.get(at(index), sample);
    std::vector<TokenRow> rows;
    tokens_->encode_all(at(index), rows);
    const int64_t length = lengths_[size_class(index)];
    const auto count = static_cast<size_t>(length);
    for (const TokenRow& row : rows) {
      check_known_tokens(reading_, row.ids, name(index));
      HT_ASSERT(row.ids.size() <= count && !row.ids.empty(), "{}: {} of {} tokens", name(index),
                row.ids.size(), count);
    }
    if (task_ == TextTask::kMasked) hide(draws, rows[0]);
    sample.more.resize(parts_.size());
    for (size_t i = 0; i < parts_.size(); ++i) {
      const MoreField& field = info_.more[i];
      sample.more[i].assign(rows.size() * count * static_cast<size_t>(size_bytes(field.dtype)), std::byte{0});
      for (size_t r = 0; r < rows.size(); ++r)
        for (size_t t = 0; t < count; ++t)
          put(value(parts_[i], rows[r], t), field.dtype, r * count + t, sample.more[i]);
    }
    if (task_ == TextTask::kLabels || task_ == TextTask::kEmbeddings) return;
    const TokenRow& row = rows[0];
    sample.labels.assign(count, -1);
    for (size_t t = 0; t < row.labels.size(); ++t)
      if (row.labels[t] != kNoTarget)
        sample.labels[t] = position_label(row.labels[t], info_.reading,
                                          [&] { return fmt::format("{}, token {}", name(index), t); });
  }

 private:
  int64_t at(int64_t index) const {
    HT_ASSERT(index >= 0 && index < size(), "sample {} of {}", index, size());
    return order_[static_cast<size_t>(index)];
  }

  // The shape of an input's rows of one sample.
  Shape rows_of(int64_t length) const {
    return info_.texts == 1 ? Shape{length} : Shape{info_.texts, length};
  }

  // Tokens of a sample of the source that are read.
  int64_t taken(int64_t i) const {
    return is_packed() ? reading_.block : std::min(tokens_->length(i), reading_.most);
  }

  bool is_packed() const { return task_ == TextTask::kCausal && form_ != TextSource::Form::kPrompts; }

  int32_t value(Part part, const TokenRow& row, size_t t) const {
    const bool there = t < row.ids.size();
    switch (part) {
      case Part::kIds:
        return there ? row.ids[t] : padding_;
      case Part::kMask:
        return there ? 1 : 0;
      case Part::kTypes:
        return there ? row.types[t] : 0;
      case Part::kPositions:
        return static_cast<int32_t>(t);
    }
    return 0;
  }

  static void put(int32_t value, DType type, size_t t, std::vector<std::byte>& to) {
    const auto store = [&](auto number) {
      std::memcpy(to.data() + t * sizeof(number), &number, sizeof(number));
    };
    switch (type) {
      case DType::kI64:
        return store(static_cast<int64_t>(value));
      case DType::kI32:
        return store(value);
      case DType::kU8:
        return store(static_cast<uint8_t>(value));
      case DType::kF32:
        return store(static_cast<float>(value));
      default:
        HT_ASSERT(false, "{}", halftone::name_of(type));
    }
  }

  // 15 % of a sample's own tokens are to be found again, at least one: of these 80 % are hidden by the mask token, 10 %
  // become another token, 10 % stay.
  void hide(const Draws& draws, TokenRow& row) const {
    constexpr double kShare = 0.15;
    constexpr double kHidden = 0.8;
    constexpr double kOther = 0.9;
    constexpr double kAll = 0x1p32;
    const num::RandomKey key = num::random_key(draws.seed, kMaskStream);
    row.labels.assign(row.ids.size(), kNoTarget);
    const int32_t mask = tokenizer_.mask_id().value();
    std::vector<size_t> own;
    for (size_t t = 0; t < row.ids.size(); ++t)
      if (row.special[t] == 0) own.push_back(t);
    if (own.empty()) return;
    const auto words_of = [&](size_t t) { return num::philox(key, draws.sample << 24U | t, draws.epoch); };
    const auto take = [&](size_t t) {
      const auto words = words_of(t);
      row.labels[t] = row.ids[t];
      const double kind = words[1] / kAll;
      if (kind < kHidden) {
        row.ids[t] = mask;
      } else if (kind < kOther) {
        row.ids[t] =
            static_cast<int32_t>(static_cast<uint64_t>(words[2]) * static_cast<uint64_t>(others_) >> 32U);
      }
    };
    bool any = false;
    for (const size_t t : own)
      if (words_of(t)[0] / kAll < kShare) {
        take(t);
        any = true;
      }
    if (!any) take(own[static_cast<uint64_t>(words_of(own[0])[3]) * own.size() >> 32U]);
  }

  void choose_samples(const std::optional<Range>& range) {
    int64_t begin = 0;
    int64_t end = tokens_->size();
    if (range) {
      std::tie(begin, end) = resolve_range(*range, end, info_.source);
      info_.source += fmt::format("[{}:{}]", begin, end);
    }
    order_.resize(static_cast<size_t>(end - begin));
    std::iota(order_.begin(), order_.end(), begin);
    if (is_packed()) return;
    int64_t cut = 0;
    int64_t all = 0;
    for (const int64_t i : order_) {
      cut += tokens_->length(i) > reading_.most ? 1 : 0;
      all += taken(i);
    }
    info_.notes.push_back(
        info_.texts == 1
            ? fmt::format("{} tokens", all)
            : fmt::format("{} texts a sample; {} tokens in the longest of each", info_.texts, all));
    if (cut > 0)
      info_.notes.push_back(
          fmt::format("warning: {} of {} samples are longer than {} tokens and are cut off there ({})", cut,
                      order_.size(), reading_.most, reading_.most_reason));
  }

  void choose_lengths() {
    std::vector<int64_t> lengths;
    for (const int64_t i : order_) lengths.push_back(taken(i));
    if (reading_.length > 0 || is_packed()) {
      lengths_ = {is_packed() ? reading_.block : reading_.length};
      firsts_ = {0};
      return;
    }
    // Few samples of a length leave many out of training, whose batches have one length.
    const int64_t least = reading_.training ? 8 * reading_.batch : reading_.batch;
    lengths_ = padded_lengths(lengths, reading_.most, least);
    std::vector<std::vector<int64_t>> of_class(lengths_.size());
    for (size_t i = 0; i < order_.size(); ++i) {
      const auto fits = std::lower_bound(lengths_.begin(), lengths_.end(), lengths[i]);
      of_class[static_cast<size_t>(fits - lengths_.begin())].push_back(order_[i]);
    }
    // The largest class first (dataset.h).
    std::reverse(lengths_.begin(), lengths_.end());
    std::reverse(of_class.begin(), of_class.end());
    order_.clear();
    for (const std::vector<int64_t>& samples : of_class) {
      firsts_.push_back(static_cast<int64_t>(order_.size()));
      order_.insert(order_.end(), samples.begin(), samples.end());
    }
    sized_ = true;
    double padded = 0;
    double all = 0;
    for (size_t i = 0; i < order_.size(); ++i) {
      padded += static_cast<double>(lengths_[size_class(static_cast<int64_t>(i))]);
      all += static_cast<double>(taken(order_[i]));
    }
    info_.notes.push_back(fmt::format("padded to {} tokens: {:.0f} % of them are padding",
                                      fmt::join(lengths_.rbegin(), lengths_.rend(), ", "),
                                      100 * (1 - all / padded)));
  }

  void choose_fields(const OpenOptions& options) {
    const Shape all{size(), lengths_[0]};
    std::vector<ArrayHeader> arrays;
    for (const auto& [part, kind] : kParts)
      arrays.push_back({part, part, kind == Part::kMask ? Element::kBool : Element::kI64, all});
    arrays.push_back({kTokenLabels, kTokenLabels, Element::kI64, {size()}});
    ArrayChoice choice;
    if (options.text.choose) {
      choice = options.text.choose(arrays, info_.source);
    } else {
      for (const auto& [part, kind] : kParts)
        choice.more.push_back({part, {part, FieldRole::kInput, DType::kI64, {lengths_[0]}}});
    }
    HT_ASSERT(choice.x.empty(), "{}", choice.x);
    for (const ArrayChoice::More& more : choice.more) {
      const auto part =
          std::find_if(kParts.begin(), kParts.end(), [&](const auto& p) { return more.stored == p.first; });
      HT_ASSERT(part != kParts.end(), "{}", more.stored);
      MoreField field;
      static_cast<Field&>(field) = more.field;
      field.shape = rows_of(lengths_[0]);
      info_.more.push_back(std::move(field));
      parts_.push_back(part->second);
    }
    info_.shape = {lengths_[0]};
    if (lengths_.size() > 1 || lengths_[0] > shortest()) note_padding();
  }

  int64_t shortest() const {
    int64_t least = lengths_[0];
    for (const int64_t i : order_) least = std::min(least, taken(i));
    return least;
  }

  void note_padding() {
    check_known_tokens(reading_, {padding_}, info_.source + ", padding behind a text");
    if (std::find(parts_.begin(), parts_.end(), Part::kMask) == parts_.end())
      info_.notes.emplace_back(
          "warning: the network has no input for the attention mask, so that it reads padding as if it were "
          "text");
    if (!tokenizer_.padding_id())
      info_.notes.push_back(fmt::format(
          "the tokenizer has no padding token; the places behind a text have the id {}", padding_));
  }

  void set_labels(TextSource& source, const OpenOptions& options) {
    if (!source.has_labels()) return;
    // Of all samples, whatever part of them is read: they have the same classes.
    const auto place = [this](int64_t i) { return tokens_->name(i); };
    TextLabels labels{.where = source.labels_where(),
                      .path = info_.source,
                      .cells = source.take_labels(),
                      .place = place,
                      .of_first_sample = "",
                      .bad = tokens_->bad()};
    const bool folders = source.kind() == "class folders of texts";
    RawLabels raw;
    if (folders) {
      raw.kind = LabelForm::Kind::kNames;
      raw.where = labels.where;
      raw.names = labels.cells;
      std::sort(raw.names.begin(), raw.names.end());
      raw.names.erase(std::unique(raw.names.begin(), raw.names.end()), raw.names.end());
      for (const std::string& cell : labels.cells)
        raw.name_of.push_back(static_cast<int32_t>(
            std::lower_bound(raw.names.begin(), raw.names.end(), cell) - raw.names.begin()));
      raw.bad = labels.bad;
    } else {
      raw = raw_labels(std::move(labels), options);
    }
    labels_ = resolve_labels(std::move(raw), options, place, info_);
  }

  void set_positions(const TextSource& source, const OpenOptions& options) {
    LabelForm form;
    form.kind = tokens_->names().empty() ? LabelForm::Kind::kIntegers : LabelForm::Kind::kNames;
    form.names = tokens_->names();
    form.where = task_ == TextTask::kTags ? source.labels_where() : info_.source;
    form.sample_name = [this](int64_t i) { return name(i); };
    form.width = lengths_[0];
    form.shape = {lengths_[0]};
    const int64_t classes = form.names.empty() ? tokenizer_.size() : static_cast<int64_t>(form.names.size());
    std::optional<LabelReading> reading = LabelReading{LabelKind::kPositions, classes, form.shape, kNoTarget};
    if (options.read_positions) reading = options.read_positions(form, info_);
    if (!reading)
      throw input_error(
          "{}: --task {} needs a network whose output has logits for each token, of shape [batch, tokens, "
          "{}]; halftone inspect "
          "shows its outputs, and --output names one",
          info_.source, data::name_of(task_),
          task_ == TextTask::kTags ? "classes" : "tokens of the vocabulary");
    info_.labels = LabelKind::kPositions;
    info_.reading = *reading;
    info_.classes = reading->classes;
    info_.class_names = form.names;
  }

  void add_classes() {
    if (!sized_) return;
    for (size_t c = 0; c < lengths_.size(); ++c) {
      SizeClass size;
      size.shape = {lengths_[c]};
      if (info_.labels == LabelKind::kPositions) size.labels = size.shape;
      if (info_.labels == LabelKind::kTarget) size.labels = {info_.target_size};
      size.more.assign(info_.more.size(), rows_of(lengths_[c]));
      if (firsts_[c] < this->size()) size.example = name(firsts_[c]);
      info_.size_classes.push_back(std::move(size));
    }
  }

  TextTask task_;
  TextSource::Form form_;
  TextReading reading_;
  const ::halftone::text::Tokenizer& tokenizer_;
  std::unique_ptr<TokenSource> tokens_;
  int32_t padding_ = 0;
  int64_t others_ = 0;            // what a hidden token may become (kMasked)
  std::vector<int64_t> order_;    // the samples, by size class
  std::vector<int64_t> lengths_;  // of the size classes, the largest first
  std::vector<int64_t> firsts_;   // of each class
  bool sized_ = false;
  std::vector<Part> parts_;  // as info_.more
  Labels labels_;
};

// Of a folder of texts: that of the split.
std::string folder_of(const Spec& spec, const OpenOptions& options) {
  std::vector<std::string> splits = text_splits(spec.path);
  if (splits.empty() && spec.split.empty()) return spec.path;
  const std::string split = choose_split(spec, options.splits, splits);
  for (const std::string& name : folders_in(spec.path))
    if (canonical_split(name) == split) return (fs::path(spec.path) / name).string();
  throw input_error("{} has no split {}", spec.path, split);
}

TextTask task_of(const TextOptions& text, const std::string& path, bool lines_or_documents, bool tagged,
                 bool prompts, bool labelled) {
  if (text.task != TextTask::kAuto) return text.task;
  if (tagged) return TextTask::kTags;
  if (prompts) return TextTask::kCausal;
  if (labelled) return TextTask::kLabels;
  if (!text.positions)
    throw input_error(
        "{}: it has no labels{}, and the network's output has no logits for each token; give --label-column, "
        "or data with labels",
        path, lines_or_documents ? " (text alone)" : "");
  throw input_error(
      "{}: it has no labels; say what is learned from the text: --task causal-lm (the next token) or --task "
      "masked-lm "
      "(hidden tokens)",
      path);
}

}  // namespace

bool is_json_lines_file(const std::string& path) {
  return ends_in(path, ".jsonl") || ends_in(path, ".ndjson");
}

bool is_conll_file(const std::string& path) {
  return ends_in(path, ".conll") || ends_in(path, ".bio") || ends_in(path, ".iob");
}

bool is_txt_file(const std::string& path) {
  return ends_in(path, ".txt");
}

bool is_text(const Dataset& set) {
  return dynamic_cast<const TextDataset*>(&set) != nullptr;
}

std::vector<std::string> text_splits(const std::string& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored) ? folder_splits(path) : std::vector<std::string>{};
}

std::unique_ptr<Dataset> open_text(const Spec& spec, const OpenOptions& options) {
  const TextOptions& text = options.text;
  const bool folder = fs::is_directory(spec.path);
  if (!folder && !spec.split.empty())
    throw input_error("{} is one file, so there is no [{}] in it", spec.path, spec.split);
  if (!text.read) throw input_error("{}: it is text, which needs a tokenizer", spec.path);
  const std::string path = folder ? folder_of(spec, options) : spec.path;
  const bool embeds = text.task == TextTask::kEmbeddings;
  // Scores of pairs are asked for by name.
  const bool scored = embeds && !options.label_column.empty() && options.label_column != "none";
  const bool wants_labels =
      options.labels && (text.task == TextTask::kAuto || text.task == TextTask::kLabels ||
                         text.task == TextTask::kTags || scored);
  const bool plain = folder || is_txt_file(path);
  if (plain && !text.columns.empty())
    throw usage_error("--text {}: {} has no columns", fmt::join(text.columns, ","), path);
  if (!plain && text.unit != "auto")
    throw usage_error("--text-sample {}: it is for .txt; a sample of {} is a line of it", text.unit, path);
  if (is_conll_file(path) && !(text.columns.empty() && options.label_column.empty()))
    throw usage_error(
        "{}: its first column is the word and its last the tag; --text and --label-column are for tables",
        path);
  if (embeds && options.labels && (plain || text.columns.size() < 2))
    throw usage_error(
        "{}: --task embeddings compares the texts of a sample; expected a table or .jsonl, and two or three "
        "of its "
        "columns: --text A,B[,C]",
        path);
  const TextWants wants{wants_labels};
  // A file of documents is a document for those who learn what comes next.
  const bool documents =
      folder || text.unit == "document" || (text.unit == "auto" && text.task == TextTask::kCausal);
  if (folder && text.unit == "line")
    throw usage_error("--text-sample line: it is for a file; each file of the folder {} is a sample", path);
  std::shared_ptr<TextSource> source;
  if (is_json_lines_file(path)) {
    source = open_json_lines(path, options, wants);
  } else if (is_conll_file(path)) {
    source = open_conll(path, options);
  } else if (!plain) {
    source = open_text_table(path, options, wants);
  } else if (documents) {
    source = open_text_documents(path, options, wants, text.task == TextTask::kCausal);
  } else {
    source = open_text_lines(path, options);
  }
  using Form = TextSource::Form;
  const TextTask task = task_of(text, path, plain, source->form() == Form::kWords,
                                source->form() == Form::kPrompts, source->has_labels() || !options.labels);
  if (embeds && source->form() != Form::kTexts)
    throw input_error("{}: --task embeddings needs texts; its samples are {}", path,
                      source->form() == Form::kWords ? "lists of words" : "prompts");
  if (!options.labels && task != TextTask::kLabels && task != TextTask::kEmbeddings)
    throw input_error("{}: predictions are made of texts; its samples are {}", path,
                      task == TextTask::kTags ? "lists of words" : "prompts");
  if ((task == TextTask::kTags) != (source->form() == Form::kWords))
    throw input_error("{}: --task {} {}", path, name_of(task),
                      task == TextTask::kTags ? "needs .jsonl with a list of words and a list of their tags"
                                              : "needs text, but its samples are lists of words");
  if (task == TextTask::kLabels && options.labels && !source->has_labels() && options.label_column != "none")
    throw input_error("{}: it has no labels; expected a column, a key or class folders{}", path,
                      plain ? "" : " (--label-column)");
  return std::make_unique<TextDataset>(source, path, task, text.read(path, task), spec.range, options);
}

}  // namespace halftone::data
