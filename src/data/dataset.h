// Sets of samples with random access, and how a SPEC on the command line becomes one.
//
// SPEC = PATH, PATH[SPLIT], PATH[RANGE] or PATH[SPLIT][RANGE]; PATH[val=P%], PATH[train=P%], or these behind a SPLIT
//   PATH   a folder or a file; its kind is recognised by its contents:
//            class folders      PATH/CLASS/… with images, one folder a class, classes in the byte order of
//            their names;
//                               or PATH/SPLIT/CLASS/… . Images directly in PATH: a set without labels.
//            IDX                a folder with train-images-idx3-ubyte[.gz] and the like, or an images file
//            whose labels file
//                               stands beside it (the same name with "labels" for "images" and idx1 for idx3)
//            CIFAR-10, -100     binary version: a .bin file, or the folder of them
//            .npy, .npz         x and y arrays: two keys of one .npz, or two .npy files beside each other
//            .safetensors       likewise
//            several of these   a folder of .npz or .safetensors files with the same arrays, or of folders of .npy; samples may
//            have other sizes in each (size classes)
//            .csv, .tsv         numbers, one line a sample; or, where a column of text is named, texts
//            .jsonl             a JSON object a line, with a text
//            .conll             words with tags, one a line
//            .txt               a line, or the whole file, a sample; or a folder of such files, by class
//            one image, a pattern of images (photos/*.jpg), or -: paths on standard input, one a line. Without
//            labels
//   SPLIT  train, val, test or what the folder has (synonyms: training; valid, validation; testing, t10k)
//   RANGE  a:b, samples a (inclusive) to b (exclusive) of the set, each a count, a negative count from the
//   end, or a
//          percentage (rounded down), each may be missing: [:50%] and [50%:] are the two halves, [:1000] the
//          first thousand.
//   val=P%    the share that --val P% holds out, spread evenly over each class (share.h); train=P%: the others
// A PATH that exists as written, brackets included, is taken literally.
//
// Order of the samples (what RANGE counts): as in the file; for class folders the classes are mixed in
// proportion: file r of the n in its class (byte order of relative paths) has position (r + 1/2) / n,
// positions ascending, the lower class first among equals. So every range holds all classes in about their
// overall proportions. Samples of several sizes: those of a class stand together, the largest class first, in
// the order of their files' names; RANGE counts them mixed in proportion likewise.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/class_map.h"
#include "data/columns.h"
#include "data/decode_budget.h"
#include "data/field.h"
#include "data/text_options.h"
#include "tensor/shape.h"

namespace halftone::data {

// What a set's labels are in its files. The loss and the network's output decide how they are read
// (train/target.h); samples that are left out (skip_bad) do not count here.
struct LabelForm {
  enum class Kind : uint8_t {
    kNone,
    kNames,     // one class a sample, by name
    kIntegers,  // stored as whole numbers
    kText,      // numbers as text: the file does not say of which type
    kFloats,
  };
  Kind kind = Kind::kNone;
  std::string where;                                // the file, and the array or column in it
  std::function<std::string(int64_t)> sample_name;  // for messages
  std::vector<std::string> names;                   // kNames: class i is names[i]
  int64_t classes = 0;                              // classes that the format has (CIFAR); 0: it does not say
  // Of numbers:
  int64_t width = 1;  // a sample
  Shape shape;        // of one sample's, where they have axes
  bool whole = false;
  double smallest = 0, largest = 0;
  int64_t smallest_at = 0, largest_at = 0;  // a sample that has it
  int64_t fraction_at = 0;                  // a sample with a number that is not whole, if there is one
  bool distributions = false;               // width > 1; no number below 0, each sample's numbers add up to 1
  int64_t no_distribution_at = 0;           // a sample whose numbers do not
  double no_distribution_sum = 0;
  bool one_hot = false;  // one 1 in each sample, and zeros
  bool several_labels = false;  // whole numbers: each says by 1 or 0 whether the sample has that label
  // Of classes of positions: the number that marks what does not count in files of this kind; none: the usual one.
  std::optional<int64_t> ignored = std::nullopt;
  bool numbers() const { return kind == Kind::kIntegers || kind == Kind::kText || kind == Kind::kFloats; }
};

// Where the network's input has its channels.
enum class Layout { kAuto, kChannelsFirst, kChannelsLast };

struct DataInfo;

// How a set is opened and read. src/api makes them of the user's DataOptions, the network and the losses.
struct OpenOptions {
  // The shape of one sample as the network wants it: C,H,W for images; negative: whatever the data has.
  // Empty: the data's own. Images are brought to it (channels: dataset.read; height and width: Transform). A
  // rank of 1 or 2 is an image flattened.
  Shape sample_shape;
  // Where a sample_shape of three dimensions has its channels, and why, for people; kAuto: not known, so that
  // images whose channels could be at either end are an error, and others have them first.
  Layout network_layout = Layout::kChannelsFirst;
  std::string layout_reason;
  // For messages: options that give sample_shape's negative dimensions a size; where others have theirs from,
  // " (h = 8, ...)".
  std::string size_advice;
  std::string shape_note;
  // False: the samples alone are wanted. Labels are neither looked for nor read, and what has none is as good as
  // what has: a folder of images is all images in it and below, a table may have a column for the label or not.
  bool labels = true;
  // Decides how the labels are read; called once, when they are known and DataInfo::shape is, before any is
  // checked. It may throw. Empty: class folders, IDX, CIFAR and integers with one value a sample are classes,
  // floats are targets; a CSV column is classes if it has text, or whole numbers from 0 to at most min(1000,
  // samples) - 1, else targets.
  std::function<LabelReading(const LabelForm& form, const DataInfo& info)> read_labels;
  // Asked before `read_labels` of whole numbers with several a sample, which are not read for it: whether
  // each is the class of a position of the network's output. `form` says where they are, their kind, width
  // and shape.
  std::function<std::optional<LabelReading>(const LabelForm& form, const DataInfo& info)> read_positions;
  // Whole numbers with one a sample are asked about too: others of the run have several.
  bool one_position = false;
  // Several fields of named arrays; empty: samples and labels alone.
  ChooseArrays choose_arrays;
  // Columns of a table as fields; empty: all but the label's are the sample.
  ChooseColumns choose_columns;
  ColumnOptions columns;
  // The reading of a further field of labels, as read_positions (numbers_known false; none: read them first)
  // and read_labels are asked for the first.
  std::function<std::optional<LabelReading>(const std::string& field, const LabelForm& form,
                                            bool numbers_known)>
      read_field;
  // Labels of samples of another size, which are read as the first ones were, by a further field or the
  // first (empty). It throws where the loss does not take their numbers.
  std::function<void(const std::string& field, const LabelForm& form)> check_labels;
  // The network's classes; a label outside [0, classes) is an error. 0: unknown.
  int64_t classes = 0;
  // How classes with names are numbered; without names: in_class_order().
  ClassMap class_map;
  // When PATH has splits and SPEC names none: the first of these that is there.
  std::vector<std::string> splits = {"train"};
  // The network's input; an array of that name holds the samples where none is called as samples are. Empty:
  // not known.
  std::string input_name;
  // .npz, .safetensors: names of the arrays; empty: x/y, images/labels, data/labels and their like.
  // CIFAR-100: y_key "fine" (or empty) or "coarse".
  std::string x_key;
  std::string y_key;
  // CSV: the label's column, a name of the header or a number (0 the first, -1 the last), "none" for none;
  // empty: the last.
  std::string label_column;
  // CSV: whether the first line names the columns (auto, yes, no), the delimiter (auto, comma, semicolon,
  // tab, pipe) and the decimal mark (auto, point, comma).
  std::string csv_header = "auto";
  std::string csv_delimiter = "auto";
  std::string csv_decimal = "auto";
  // Tables of files: what is between the labels in one cell; empty: a cell is one label.
  std::string label_separator;
  // Text: how it becomes tokens. Not empty `columns`: a table is read as text.
  TextOptions text;
  // Leave bad samples out instead of stopping: every sample is read once when the set is opened, those that
  // fail are dropped and counted in info().skipped, so that the result depends on the files alone. An empty
  // class stays in the list of classes.
  bool skip_bad = false;
  // Pictures are turned as EXIF says (orientation.h).
  bool exif_orientation = true;
  // What Transform will make of pictures (TransformOptions): they are decoded and kept no larger than it
  // needs.
  int64_t resize = 0;
  bool random_crops = false;
  // Decoded images are kept in memory up to this many bytes, so that later epochs need not decode them again.
  int64_t cache_bytes = int64_t{1} << 30;
  // Threads for skip_bad's first reading; 0: as many as the process may use.
  int threads = 0;
};

// One sample of a data set, in the reader's memory. Reused from call to call to save allocations.
struct Sample {
  // Images: unsigned bytes with strides, pointing into `buffer` or into the data set, which outlives the
  // sample.
  struct Pixels {
    const uint8_t* data = nullptr;
    int64_t channels = 0, height = 0, width = 0;
    int64_t channel_stride = 0, row_stride = 0, column_stride = 0;
  };
  Pixels pixels;                             // if info().image
  std::vector<float> values;                 // otherwise: row-major, info().shape
  int32_t label = -1;                        // LabelKind::kClass
  std::vector<float> target;                 // LabelKind::kTarget
  std::vector<int32_t> labels;               // LabelKind::kPositions; ignored ones are -1
  std::vector<std::vector<std::byte>> more;  // of info().more, in the fields' types
  std::vector<uint8_t> buffer;
  DecodeLease lease;  // for `buffer`

  // Gives back what a large picture took, whose pixels are not needed any more.
  void release_large() {
    if (buffer.capacity() <= static_cast<size_t>(kUncountedBytes)) return;
    pixels = {};
    buffer = {};
    lease = DecodeLease();
  }
};

// A field beside the samples and their labels.
struct MoreField : Field {
  LabelReading reading;  // of kLabel and kTarget
};

// The shapes of one sample's fields, where a set has samples of several sizes.
struct SizeClass {
  Shape shape, geometry;    // as DataInfo's
  Shape labels;             // of positions and targets, as the file has them; else empty
  std::vector<Shape> more;  // one for each of DataInfo::more; labels likewise
  std::string example;      // a sample of it, for messages
};

// Which random bits a sample gets; none for evaluation.
struct Draws {
  uint64_t seed = 0;
  uint64_t epoch = 0;
  uint64_t sample = 0;
};

struct DataInfo {
  std::string kind;    // "class folders of images", "IDX", …
  std::string source;  // the path, with the split and range chosen
  // Of one sample as a batch holds it, fully known. For images `geometry` is C,H,W and shape the same or its
  // flattening; an image that read() gives has geometry's channels, but its own height and width.
  Shape shape;
  Shape geometry;
  bool channels_last = false;  // shape is H,W,C and so are a batch's samples, and values that read() gives
  bool image = false;          // bytes, to be scaled to 0..1; otherwise float values as they are in the file
  // Without samples of its own (integers alone, such as token ids) all inputs are in `more`, and `shape` is
  // the first one's.
  bool has_samples = true;
  // Of token ids: so many texts of one length are a sample, each a row of every input; `more` has the shapes
  // [texts, tokens] then, `shape` that of one text.
  int64_t texts = 1;
  bool files = false;        // each sample is a file, and Dataset::name its path
  std::string samples_name;  // of their field; empty: "image" or "samples"
  std::string labels_name;   // empty: "label"
  std::vector<MoreField> more;
  // Samples of several sizes: all shapes here are those of the first class. Empty: all samples have these
  // shapes. A class may have no samples in a part of a set.
  std::vector<SizeClass> size_classes;
  LabelReading reading;  // of the labels
  ColumnPlan columns;    // of a table whose columns are fields
  std::vector<std::string>
      features;  // of a table whose columns are the sample, in their order; empty without a header
  LabelKind labels = LabelKind::kNone;
  int64_t classes = 0;                   // kClass: options.classes, or what the data shows
  std::vector<std::string> class_names;  // class i is class_names[i]; empty when the data has no names
  int64_t target_size = 0;               // kTarget
  int64_t turned = 0;                    // pictures that EXIF turns; of many, of those looked at
  int64_t decode_bytes = 0;              // what decoding a picture takes, by the first one
  int64_t skipped = 0;                   // bad samples left out (skip_bad)
  std::vector<std::string> skipped_why;  // the first ten of them, with reasons
  std::vector<std::string> notes;  // what a user should know: sizes that get resized, files ignored, …

  // What a batch has, in this order: the samples, their labels and these one's weights, then `more`, each
  // field of labels followed by its weights.
  std::vector<Field> fields() const;
  // The same of a set whose samples all have the sizes of one class.
  DataInfo of_size_class(size_t size_class) const;
};

class Dataset {
 public:
  virtual ~Dataset() = default;
  const DataInfo& info() const { return info_; }
  virtual int64_t size() const = 0;
  // Sample `index`, in [0, size()). May be called by many threads at once, each with its own sample.
  // Error(kInput) names the file (and the sample in it) when it is broken.
  virtual void read(int64_t index, Sample& sample) const = 0;
  // The same for training, by sets that draw what a sample is. Others give the one that they have.
  virtual void read_drawn(int64_t index, const Draws& /*draws*/, Sample& sample) const {
    read(index, sample);
  }
  // For messages: the file, and where in it.
  virtual std::string name(int64_t index) const = 0;
  // The sample's place, counted from 0, in all that PATH and SPLIT name: before a RANGE is taken, and bad samples
  // are left out.
  virtual int64_t position(int64_t index) const { return index; }
  // Of info().size_classes; 0 where all samples have one size. Those of a class stand together where nobody
  // chose among them.
  virtual size_t size_class(int64_t /*index*/) const { return 0; }
  // LabelKind::kClass: a sample's class (-1: ignored or bad), where it is known without decoding the sample; none: read()
  // says it.
  virtual std::optional<int32_t> class_of(int64_t /*index*/) const { return std::nullopt; }

 protected:
  DataInfo info_;
};

// How many samples each size class has: at least one number.
std::vector<int64_t> samples_of_classes(const Dataset& set);

// Errors (kInput) name path, what was found and what would be understood; (kUsage) for options that don't
// fit.
std::unique_ptr<Dataset> open_dataset(const std::string& spec, const OpenOptions& options);

// The names of the splits that a SPEC's path has, canonical (train, val, test) where they are synonyms; empty
// if it has none.
std::vector<std::string> splits_of(const std::string& spec);

// Which options mean something for the kind of data that `spec` names; none where it is not there.
struct FileOptions {
  bool keys = false;          // --x-key, --y-key
  bool csv = false;           // of tables
  bool columns = false;       // --text and --label-column: of tables and JSON lines
  bool text_sample = false;   // of plain text
};
FileOptions file_options_of(const std::string& spec);


}  // namespace halftone::data
