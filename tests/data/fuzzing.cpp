#include "data/fuzzing.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "data/array.h"
#include "data/class_map.h"
#include "data/columns.h"
#include "data/dataset.h"
#include "data/files.h"
#include "data/image.h"
#include "data/image_table.h"
#include "data/mask.h"
#include "data/spec.h"
#include "data/transform.h"
#include "text/tokenizer.h"

namespace halftone::data {
namespace {

// One folder a process, with the companions that some files need beside them.
const TemporaryFolder& folder() {
  static const TemporaryFolder instance;
  static const bool once = [] {
    instance.write("f-labels-idx1-ubyte", idx(0x08, {4}, std::string("\0\1\2\0", 4)));
    instance.write("y.npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0})));
    return true;
  }();
  static_cast<void>(once);
  return instance;
}

bool has_fields(const std::string& reader) {
  return reader.ends_with("_fields");
}

constexpr std::string_view kNpyMagic = "\x93NUMPY";

// The folder with these arrays, each in a file of its own; what stands before the first is dropped.
std::string npy_folder(const std::string& bytes) {
  static const std::vector<std::string> names = {"x", "y", "ids", "mask", "labels2", "weight"};
  const std::filesystem::path path = std::filesystem::path(folder().path()) / "fields";
  std::filesystem::remove_all(path);
  std::filesystem::create_directory(path);
  size_t at = bytes.find(kNpyMagic);
  for (const std::string& name : names) {
    if (at == std::string::npos) break;
    const size_t next = bytes.find(kNpyMagic, at + 1);
    folder().write("fields/" + name + ".npy", bytes.substr(at, next == std::string::npos ? next : next - at));
    at = next;
  }
  return path.string();
}

// Kinds of images but JPEG and PNG.
bool is_image_reader(const std::string& reader) {
  return reader == "webp" || reader == "gif" || reader == "bmp" || reader == "tiff";
}

bool is_text_reader(const std::string& reader) {
  return reader == "jsonl" || reader == "txt" || reader == "csv_text" || reader == "conll";
}

std::string file_name(const std::string& reader) {
  if (reader == "csv_text") return "text.csv";
  if (has_fields(reader)) return "fields." + reader.substr(0, reader.find('_'));
  if (reader == "idx") return "f-images-idx3-ubyte";
  if (reader == "npy") return "x.npy";
  return "f." + (reader == "cifar" ? "bin" : reader);
}

int read_image(const std::string& bytes) {
  int read = 0;
  for (const int64_t channels : {1, 3}) {
    try {
      Image image;
      decode_image(bytes, channels, "fuzzed", image);
      HT_ASSERT(static_cast<int64_t>(image.pixels.size()) == image.height * image.width * channels);
      has_more_pictures(bytes);
      const ImageHeader header = read_image_header(bytes, "fuzzed");
      HT_ASSERT(header.height == image.height && header.width == image.width);
      ++read;
    } catch (const Error&) {
    }
  }
  return read;
}

int read_mask(const std::string& bytes) {
  try {
    const Mask mask = decode_mask(bytes, "fuzzed");
    HT_ASSERT(static_cast<int64_t>(mask.classes.size()) == mask.height * mask.width);
    return 1;
  } catch (const Error&) {
    return 0;
  }
}

int read_image_table(const std::string& bytes) {
  static const bool once = [] {
    for (const char* name : {"1.jpg", "2.jpg"}) folder().write(name, read_file(fixture("images/photo.jpg")));
    return true;
  }();
  static_cast<void>(once);
  const std::string path = folder().write("images.csv", bytes);
  int read = 0;
  for (const char* separator : {"", "space", "|"}) {
    OpenOptions options;
    options.threads = 1;
    options.label_separator = separator;
    options.skip_bad = *separator == '|';
    try {
      if (!names_images(path, options)) continue;
      const auto set = open_image_table({path, "", {}, {}}, options);
      Sample sample;
      for (int64_t i = 0; i < std::min<int64_t>(set->size(), 3); ++i) {
        try {
          set->read(i, sample);
          ++read;
        } catch (const Error&) {
        }
      }
    } catch (const Error&) {
    }
  }
  return read;
}

int read_classes(const std::string& bytes) {
  int read = 0;
  const auto use = [&read](const std::vector<std::string>& names) {
    HT_ASSERT(std::set<std::string>(names.begin(), names.end()).size() == names.size());
    HT_ASSERT(names_from_json(to_json(names)).size() <= names.size());
    HT_ASSERT(in_class_order(names).size() == names.size());
    counts_as_numbers(names);
    are_other_numbers(names);
    some_of(names);
    read += names.empty() ? 0 : 1;
  };
  try {
    const ClassMap map = read_class_file(folder().write("classes.txt", bytes));
    HT_ASSERT(!map.empty());
    use(map.names);
  } catch (const Error&) {
  }
  use(names_from_json(bytes));
  std::string why;
  const std::vector<std::string> names = names_from_metadata(bytes, &why);
  HT_ASSERT(names.empty() == !why.empty());
  use(names);
  return read;
}

// A choice as networks with several inputs and losses make it, by the arrays' names and types alone.
ArrayChoice choose(const std::vector<ArrayHeader>& arrays, const std::string& path) {
  ArrayChoice choice;
  for (const ArrayHeader& array : arrays) {
    const char first = array.name.empty() ? 'x' : array.name.front();
    const Shape sample = array.shape.empty() ? Shape{} : Shape(array.shape.begin() + 1, array.shape.end());
    const bool floats = is_float(array.type);
    if (first == 'x' && choice.x.empty() && (floats || array.type == Element::kU8)) {
      choice.x = array.stored;
      choice.x_name = array.name;
    } else if (first == 'y' && choice.y.empty()) {
      choice.y = array.stored;
      choice.y_name = array.name;
    } else if (first == 'l') {
      choice.more.push_back({array.stored, {array.name, FieldRole::kLabel, DType::kI32, sample}});
    } else if (first == 'w') {
      if (elements(sample) != 1) throw input_error("{}: {} is no weight", path, array.name);
      choice.more.push_back({array.stored, {array.name, FieldRole::kWeight, DType::kF32, {}}});
    } else {
      const bool truth = array.type == Element::kBool || array.type == Element::kU8;
      const DType type = floats || first == 'f' ? DType::kF32
                         : truth                ? DType::kU8
                         : first == 'i'         ? DType::kI64
                                                : DType::kI32;
      choice.more.push_back({array.stored, {array.name, FieldRole::kInput, type, sample, truth}});
    }
  }
  const bool input = std::any_of(choice.more.begin(), choice.more.end(), [](const ArrayChoice::More& m) {
    return m.field.role == FieldRole::kInput;
  });
  if (choice.x.empty() && !input) throw input_error("{}: no array feeds an input", path);
  return choice;
}

// The same of a table: floats for one input, categories as whole numbers for another, the label of the table.
ColumnChoice choose_from_table(const TableColumns& table, const std::string& path) {
  ColumnGroup floats;
  ColumnGroup codes;
  ColumnGroup labels;
  floats.name = floats.input = "x";
  codes.name = codes.input = "ids";
  labels.name = "y";
  codes.as = ColumnGroup::As::kIntegers;
  labels.as = ColumnGroup::As::kLabels;
  labels.columns = table.labels;
  labels.default_labels = true;
  int64_t width = 0;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    if (!table.columns[c].usable || std::count(table.labels.begin(), table.labels.end(), c) > 0) continue;
    (table.columns[c].codes ? codes : floats).columns.push_back(c);
    width += table.columns[c].codes ? 0 : table.columns[c].width;
  }
  floats.shape = {width};
  codes.shape = {static_cast<int64_t>(codes.columns.size())};
  if (floats.columns.empty() || labels.columns.empty())
    throw input_error("{}: no column feeds an input, or the loss", path);
  ColumnChoice choice;
  choice.arrays.x = choice.arrays.x_name = "x";
  choice.arrays.y = choice.arrays.y_name = "y";
  choice.groups = {floats, labels};
  if (!codes.columns.empty()) {
    choice.arrays.more.push_back({"ids", {"ids", FieldRole::kInput, DType::kI64, codes.shape}});
    choice.groups.push_back(codes);
  }
  return choice;
}

void check_plan(const ColumnPlan& plan) {
  const ColumnPlan again = plan_from_json(to_json(plan), "fuzzed");
  HT_ASSERT(again.prepared == plan.prepared && again.inputs == plan.inputs && again.labels == plan.labels);
}

int read_columns(const std::string& bytes) {
  try {
    check_plan(plan_from_json(bytes, "fuzzed"));
    return 1;
  } catch (const Error&) {
    return 0;
  }
}

int read_fields(const std::string& path, bool positions) {
  OpenOptions options;
  options.threads = 1;
  options.choose_arrays = choose;
  options.choose_columns = choose_from_table;
  options.columns.standardize = {"all"};
  (positions ? options.columns.codes : options.columns.one_hot) = {"0"};
  options.skip_bad = positions;
  const auto as_positions = [](const LabelForm& form) {
    return LabelReading{LabelKind::kPositions, 5, form.shape, -100};
  };
  if (positions)
    options.read_positions = [&](const LabelForm& form, const DataInfo&) {
      return std::optional(as_positions(form));
    };
  options.read_field = [&](const std::string&, const LabelForm& form,
                           bool numbers_known) -> std::optional<LabelReading> {
    if (!numbers_known) return positions ? std::optional(as_positions(form)) : std::nullopt;
    if (form.width == 1 && form.whole) return LabelReading{LabelKind::kClass, 4};
    return LabelReading{LabelKind::kTarget};
  };
  int read = 0;
  try {
    const std::unique_ptr<Dataset> set = open_dataset(path, options);
    const std::vector<Field> fields = set->info().fields();
    HT_ASSERT(set->size() > 0 && !fields.empty());
    check_plan(set->info().columns);
    Sample sample;
    for (int64_t i = 0; i < std::min<int64_t>(set->size(), 16); ++i) {
      try {
        set->read(i, sample);
        HT_ASSERT(sample.more.size() == set->info().more.size());
        ++read;
      } catch (const Error&) {
        HT_ASSERT(!options.skip_bad, "a bad sample was not skipped");
      }
    }
  } catch (const Error&) {
  }
  return read;
}

int read_set(const std::string& path, const OpenOptions& options) {
  int read = 0;
  try {
    const std::unique_ptr<Dataset> set = open_dataset(path, options);
    const Transform transform(set->info(), {});
    Transform::Scratch scratch;
    Sample sample;
    const Draws draws{1, 2, 3};
    std::vector<float> out(static_cast<size_t>(elements(set->info().shape)));
    HT_ASSERT(set->size() > 0);
    for (int64_t i = 0; i < std::min<int64_t>(set->size(), 16); ++i) {
      try {
        set->read(i, sample);
        transform.apply(sample, &draws, scratch, out.data());
        if (set->info().labels == LabelKind::kClass)
          HT_ASSERT(sample.label >= 0 && sample.label < set->info().classes);
        ++read;
      } catch (const Error&) {
        HT_ASSERT(!options.skip_bad, "a bad sample was not skipped");
      }
    }
  } catch (const Error&) {
  }
  return read;
}

// Each task, with labels of any kind and as a network of ten classes takes them.
int read_text(const std::string& path) {
  static const std::shared_ptr<const text::Tokenizer> tokenizer = text::Tokenizer::open(
      folder().write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n##b\ngood\n.\n"));
  int read = 0;
  for (const TextTask task : {TextTask::kAuto, TextTask::kLabels, TextTask::kCausal, TextTask::kMasked})
    for (const bool skip_bad : {false, true}) {
      OpenOptions options;
      options.threads = 1;
      options.skip_bad = skip_bad;
      options.text.task = task;
      options.text.positions = true;
      if (path.ends_with(".csv")) options.text.columns = {"text"};
      options.text.read = [](const std::string&, TextTask) {
        TextReading reading;
        reading.tokenizer = tokenizer;
        reading.most = 24;
        reading.block = 3;
        return reading;
      };
      try {
        const std::unique_ptr<Dataset> set = open_dataset(path, options);
        HT_ASSERT(set->size() > 0 && set->info().more.size() == 4);
        Sample sample;
        for (int64_t i = 0; i < std::min<int64_t>(set->size(), 16); ++i) {
          try {
            set->read_drawn(i, {1, 2, 3}, sample);
            HT_ASSERT(sample.more.size() == 4);
            ++read;
          } catch (const Error&) {
            HT_ASSERT(!skip_bad, "a bad sample was not skipped");
          }
        }
      } catch (const Error&) {
      }
    }
  return read;
}

int read_spec(const std::string& text) {
  try {
    const Spec spec = parse_spec(text);
    if (spec.range) {
      const auto [begin, end] = resolve_range(*spec.range, 1000, spec.path);
      HT_ASSERT(0 <= begin && begin < end && end <= 1000);
    }
    return 1;
  } catch (const Error&) {
    return 0;
  }
}

std::vector<std::string> npz_seeds() {
  const std::vector<Member> members = {{"x.npy", npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, 5, 6}))},
                                       {"y.npy", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0}))}};
  const std::vector<Member> splits = {{"x_train.npy", npy("|u1", "(2, 2, 2)", "abcdefgh")},
                                      {"y_train.npy", npy("|b1", "(2, 1)", std::string("\0\1", 2))}};
  return {zip(members, false), zip(members, true), zip(splits, true)};
}

// Images, labels, token ids with their mask, positions of a second loss, weights of samples.
std::vector<Member> fields() {
  return {{"x", npy("|u1", "(2, 3, 2, 2)", noise(24, 5))},
          {"y", npy("<i8", "(2,)", bytes_of<int64_t>({1, 0}))},
          {"ids", npy("<i4", "(2, 3)", bytes_of<int32_t>({1, 2, 3, 4, 5, 6}))},
          {"mask", npy("|b1", "(2, 3)", std::string("\1\1\0\1\0\0", 6))},
          {"labels2", npy("<i8", "(2, 2)", bytes_of<int64_t>({0, 3, -100, 1}))},
          {"weight", npy("<f4", "(2, 1)", bytes_of<float>({1, 0.5F}))}};
}
// Token ids and targets alone.
std::vector<Member> few_fields() {
  return {{"ids", npy("<i8", "(2, 3)", bytes_of<int64_t>({1, 2, 3, 4, 5, 6}))},
          {"f", npy("<f2", "(2, 1)", std::string(4, '\x3C'))},
          {"l", npy("<f8", "(2, 2)", bytes_of<double>({0, 1, 2, 3.5}))}};
}

std::vector<std::string> fields_seeds(const std::string& reader) {
  if (reader == "csv_fields")
    return {"town,a,y\nRome,1,0\nOslo,2.5,1\nRome,-3e1,0\n", "7;1,5;x\n8;2;\"y, z\"\n7;3;x\n",
            "k\t1\t0\nl\t2\t1\nk\t3\t1\n"};
  std::vector<std::string> seeds;
  for (const std::vector<Member>& arrays : {fields(), few_fields()}) {
    std::vector<Member> files;
    std::string joined;
    for (const auto& [name, contents] : arrays) {
      files.push_back({name + ".npy", contents});
      joined += contents;
    }
    if (reader == "npy_fields") seeds.push_back(joined);
    if (reader == "npz_fields") seeds.push_back(zip(files, !seeds.empty()));
  }
  if (reader == "safetensors_fields") {
    const auto entry = [](const std::string& name, const std::string& type, const std::string& shape,
                          int begin, int end) {
      return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, type, shape,
                         begin, end);
    };
    seeds.push_back(
        safetensors("{" + entry("x", "F32", "[2,2]", 0, 16) + "," + entry("y", "U8", "[2]", 16, 18) + "," +
                        entry("ids", "I64", "[2,1]", 18, 34) + "," + entry("labels", "I32", "[2]", 34, 42) +
                        "," + entry("w", "BF16", "[2]", 42, 46) + "}",
                    bytes_of<float>({1, 2, 3, 4}) + std::string("\0\1", 2) + bytes_of<int64_t>({7, 9}) +
                        bytes_of<int32_t>({3, 0}) + std::string("\x80\x3F\0\0", 4)));
    seeds.push_back(
        safetensors("{" + entry("ids", "I16", "[1,2]", 0, 4) + "," + entry("y", "I64", "[1,2]", 4, 20) + "}",
                    std::string("\1\0\2\0", 4) + bytes_of<int64_t>({1, -100})));
  }
  return seeds;
}

}  // namespace

const std::vector<std::string> kFuzzedReaders = {
    "image",      "idx",     "npy",     "npz",        "safetensors", "csv",
    "cifar",      "spec",    "classes", "npy_fields", "npz_fields",  "safetensors_fields",
    "csv_fields", "columns", "jsonl",   "txt",        "csv_text",    "conll",
    "webp",       "gif",     "bmp",     "tiff",       "mask",        "image_table"};

std::vector<std::string> seeds_of(const std::string& reader) {
  if (reader == "image") {
    std::vector<std::string> seeds;
    for (const char* name :
         {"photo.jpg", "422.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg", "restart.jpg", "palette.png",
          "palette-transparent.png", "bits.png", "grey2.png", "grey16.png", "rgb16.png", "interlaced.png"})
      seeds.push_back(read_file(fixture(std::string("images/") + name)));
    return seeds;
  }
  if (reader == "mask") {
    std::vector<std::string> seeds;
    for (const char* name : {"palette.png", "grey.png", "bits.png", "grey2.png", "grey4.png", "grey16.png"})
      seeds.push_back(read_file(fixture(std::string("images/") + name)));
    return seeds;
  }
  if (reader == "image_table")
    return {"file,cat,dog\n1.jpg,1,0\n2.jpg,0,1\n", "1.jpg;a b\n2.jpg;a\n", "l\tf\nb\t1.jpg\na|b\t2.jpg\n"};
  if (is_image_reader(reader)) {
    std::vector<std::string> seeds;
    for (const auto& entry : std::filesystem::directory_iterator(fixture("formats")))
      if (entry.path().extension().string().substr(1, 3) == reader.substr(0, 3))
        seeds.push_back(read_file(entry.path().string()));
    std::sort(seeds.begin(), seeds.end());
    return seeds;
  }
  if (reader == "idx") {
    const std::string images = idx(0x08, {4, 2, 3}, noise(24, 1));
    return {images, gzip(images), gzip(images.substr(0, 9)) + gzip(images.substr(9)),
            idx(0x0D, {4, 1}, std::string("\x3F\xC0\0\0\xC0\0\0\0\x3F\xC0\0\0\xC0\0\0\0", 16)),
            idx(0x0B, {4, 2}, noise(16, 2))};
  }
  if (reader == "npy")
    return {npy("<f4", "(2, 3)", bytes_of<float>({1, 2, 3, 4, 5, 6})),
            npy("|u1", "(2, 2, 2, 3)", noise(24, 3)), npy(">i2", "(2, 4)", noise(16, 4)),
            npy("<f2", "(2, 1, 2, 2)", std::string(16, '\x3C'))};
  if (reader == "npz") return npz_seeds();
  if (reader == "safetensors")
    return {
        safetensors(R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                    R"("y":{"dtype":"I64","shape":[2],"data_offsets":[24,40]}})",
                    bytes_of<float>({1, 2, 3, 4, 5, 6}) + bytes_of<int64_t>({1, 0})),
        safetensors(R"({"images":{"dtype":"U8","shape":[2,2,2],"data_offsets":[0,8]}})", "abcdefgh")};
  if (reader == "csv")
    return {"a,b,c\n1,2.5,0\n-3e1,4,1\n", "1;2;0\n# no\n3;+4;1\n", "\"x\"\"y\"\tb\r\n1\t0.5\r\n2\t1\r\n",
            "1,2,cat\n3,4,dog\n5,6,cat"};
  if (reader == "cifar") return {std::string("\1") + noise(3072, 1), std::string("\1\2") + noise(3072, 2)};
  if (reader == "classes")
    return {"cat\ndog\nold car\n",
            "10\r\n9\r\n2\r\n",
            std::string("\xFF\xFE"
                        "a\0\n\0b\0\n\0",
                        10),
            R"(["cat", "d\u00f6g"])",
            R"({"0": "cat", "1": "dog"})",
            "{0: 'cat', 1: \"it's\", 2: 'a\\'b'}",
            "('cat', 'dog',)"};
  if (reader == "jsonl")
    return {
        "{\"text\": \"a good b.\", \"label\": \"x\"}\n{\"text\": \"ab\", \"label\": \"y\"}\n",
        "{\"text\": \"a\", \"label\": 0.5}\r\n\n{\"text\": \"\\u00e9 \\ud83d\\ude00 b\", \"label\": -1e3}",
        "{\"tokens\": [\"a\", \"good\"], \"tags\": [\"N\", \"O\"]}\n{\"tokens\": [], \"tags\": []}\n",
        "{\"prompt\": \"a b\", \"completion\": \" good.\"}\n"};
  if (reader == "txt")
    return {"a good b.\n\nab a b\n", "a\r\nb a b a b\r\n",
            std::string("\xFF\xFE"
                        "a\0 \0b\0\n\0a\0",
                        12)};
  if (reader == "conll") return {"a N\ngood O\n\nb N\n", "a\tx\t0\r\nb\ty\t-100\r\n\r\n\r\nb\tx\t3\r\n"};
  if (reader == "csv_text")
    return {"text,label\na good b.,x\n\"a, \"\"b\"\"\n a\",y\n", "id\ttext\tlabel\n1\ta\t0\n2\t# b\t1.5\n",
            "label;text\n0;a b\n1;good\n"};
  if (reader == "columns")
    return {
        R"({"inputs": {"x": ["a", "b"]}, "labels": ["y"], "columns": [{"name": "a", "as": "standardize", "mean": 0.5, "deviation": 2}]})",
        R"({"inputs": {}, "labels": [], "columns": [{"name": "b", "as": "one-hot", "categories": ["u", "v"]},
                {"name": "c", "as": "codes", "categories": ["1", "2"]}]})"};
  if (has_fields(reader)) return fields_seeds(reader);
  HT_ASSERT(reader == "spec", "no reader {}", reader);
  return {"path[train][:50%]", "path[10:-1]", "a[b", "a[12.5%:99.9%]", "[x]"};
}

int read_all(const std::string& reader, const std::string& bytes) {
  if (reader == "image" || is_image_reader(reader)) return read_image(bytes);
  if (reader == "mask") return read_mask(bytes);
  if (reader == "image_table") return read_image_table(bytes);
  if (reader == "spec") return read_spec(bytes);
  if (reader == "classes") return read_classes(bytes);
  if (reader == "columns") return read_columns(bytes);
  const std::string path =
      reader == "npy_fields" ? npy_folder(bytes) : folder().write(file_name(reader), bytes);
  if (is_text_reader(reader)) return read_text(path);
  if (has_fields(reader)) return read_fields(path, false) + read_fields(path, true);
  OpenOptions plain;
  plain.threads = 1;
  OpenOptions wanted = plain;
  wanted.sample_shape = {3, 4, 4};
  wanted.classes = 3;
  wanted.skip_bad = true;
  OpenOptions flat = plain;
  flat.sample_shape = {6};
  return read_set(path, plain) + read_set(path, wanted) + read_set(path, flat);
}

}  // namespace halftone::data
