// Columns of a table as fields: held against tables and arrays that have the same numbers already.
#include "data/columns.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "api/small_run.h"

namespace halftone {
namespace {

using namespace test;

constexpr int kN = 24;  // samples

std::vector<float> wave(int64_t n, double step) {
  std::vector<float> out(static_cast<size_t>(n));
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(std::sin(step * static_cast<double>(i + 1)));
  return out;
}

std::string text_of(double x) {
  return fmt::format("{:.17g}", x);
}

class Columns : public testing::Test {
 protected:
  std::string write(const std::string& name, const ModelBuilder& b) const { return write(name, b.bytes()); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  // y = x W + c.
  std::string linear(int64_t inputs, int64_t outputs, const std::string& name = "net.onnx") const {
    ModelBuilder m;
    m.input("x", {"N", std::to_string(inputs)}).output("y", {"N", std::to_string(outputs)});
    m.initializer(floats("w", {inputs, outputs}, wave(inputs * outputs, 0.7)))
        .initializer(floats("c", {outputs}, wave(outputs, 0.3)));
    m.node("MatMul", {"x", "w"}, {"p"}).node("Add", {"p", "c"}, {"y"});
    return write(name, m);
  }
  // y = a W + E[ids].
  std::string with_ids(int64_t rows, int64_t rank = 1) const {
    ModelBuilder m;
    std::vector<std::string> dims{"M"};
    if (rank == 2) dims.emplace_back("1");
    m.input("a", {"N", "2"}).input("ids", dims, TensorProto::INT64).output("y", {"N", "3"});
    m.initializer(floats("w", {2, 3}, wave(6, 0.7))).initializer(floats("e", {rows, 3}, wave(rows * 3, 1.3)));
    m.node("MatMul", {"a", "w"}, {"p"}).node("Gather", {"e", "ids"}, {"g"});
    if (rank == 2) {
      m.node("ReduceSum", {"g", "one"}, {"s"}, {{"keepdims", 0}}).initializer(int64s("one", {1}));
    } else {
      m.node("Identity", {"g"}, {"s"});
    }
    m.node("Add", {"p", "s"}, {"y"});
    return write("ids.onnx", m);
  }

  EvalOptions eval(const std::string& model, const std::string& samples) const {
    EvalOptions o;
    o.network.model = model;
    o.network.precision = "fp32";
    o.network.batch = 5;
    o.network.threads = 1;
    o.data.data = samples;
    o.data.loader_threads = 1;
    return o;
  }
  static double loss(const EvalOptions& o) { return evaluate_model(o, kSilent).val_loss.value(); }
  TrainOptions train(const std::string& model, const std::string& samples, const std::string& out) const {
    TrainOptions o = options_for(folder_.path(), "fp16");
    o.network.model = model;
    o.data.data = samples;
    o.data.val = "none";
    o.out = folder_ / out;
    return o;
  }
  static void refused(const std::function<void()>& what, const std::string& part) {
    const std::string message = error_of(what);
    EXPECT_NE(message.find(part), std::string::npos) << part << ": " << message;
  }

  static constexpr const char* kCities[] = {"Rome", "Berlin", "Oslo"};
  static double age(int i) { return 20 + (i * 7) % 31; }
  static double height(int i) { return 1.5 + 0.01 * ((i * 5) % 37); }
  static int city(int i) { return (i * 2 + i / 5) % 3; }
  static int kind(int i) { return (i * 3 + i / 4) % 3; }

  // id, day, age, city, height, kind.
  std::string people(const std::string& name, int from = 0, int to = kN) const {
    std::string text = "id,day,age,city,height,kind\n";
    for (int i = from; i < to; ++i)
      text += fmt::format("p{},2024-01-{:02},{},{},{},k{}\n", i, 1 + i % 28, age(i), kCities[city(i)],
                          text_of(height(i)), kind(i));
    return write(name, text);
  }
  static std::pair<double, double> moments(double (*of)(int), int count) {
    double sum = 0;
    for (int i = 0; i < count; ++i) sum += of(i);
    const double mean = sum / count;
    double squares = 0;
    for (int i = 0; i < count; ++i) squares += (of(i) - mean) * (of(i) - mean);
    return {mean, std::sqrt(squares / count)};
  }
  // The same prepared by hand, with the numbers of the first `measured` samples: age, Berlin, Oslo, Rome,
  // height, kind.
  std::string prepared(const std::string& name, int measured, int from = 0, int to = kN) const {
    const auto [age_mean, age_dev] = moments(age, measured);
    const auto [height_mean, height_dev] = moments(height, measured);
    std::string text = "age,b,o,r,height,kind\n";
    for (int i = from; i < to; ++i) {
      const std::string at = kCities[city(i)];
      text += fmt::format("{},{},{},{},{},k{}\n", text_of((age(i) - age_mean) / age_dev),
                          at == "Berlin" ? 1 : 0, at == "Oslo" ? 1 : 0, at == "Rome" ? 1 : 0,
                          text_of((height(i) - height_mean) / height_dev), kind(i));
    }
    return write(name, text);
  }
  static void prepare(DataOptions& d) {
    d.exclude_columns = {"id,day"};
    d.standardize = {"age", "height"};
    d.one_hot = {"city"};
  }

  TemporaryFolder folder_;
};

TEST_F(Columns, BecomeTheNumbersThatOneWouldPrepareByHand) {
  const std::string model = linear(5, 3);
  TrainOptions by_hand = train(model, prepared("prepared.csv", kN), "hand");
  train_model(by_hand, kSilent);
  TrainOptions o = train(model, people("people.csv"), "run");
  prepare(o.data);
  train_model(o, kSilent);
  const auto expected = elements_of(by_hand.out, "model.onnx");
  EXPECT_NE(expected, elements_of(folder_.path(), "net.onnx"));
  EXPECT_EQ(elements_of(o.out, "model.onnx"), expected);
  // "all" is what feeds floats and is no category.
  o.data.standardize = {"all"};
  o.out = folder_ / "all";
  train_model(o, kSilent);
  EXPECT_EQ(elements_of(o.out, "model.onnx"), expected);
}

TEST_F(Columns, NumbersAreTheTrainingDatasFromThenOn) {
  const std::string model = linear(5, 3);
  constexpr int kTrained = 16;
  const std::string all = people("people.csv");
  TrainOptions o = train(model, all + fmt::format("[:{}]", kTrained), "run");
  o.data.val = all + fmt::format("[{}:]", kTrained);
  prepare(o.data);
  const double val_loss = train_model(o, kSilent).val_loss.value();
  // Validation, evaluation of the written file without an option, and of other files that are its own.
  const std::string rest = prepared("rest.csv", kTrained, kTrained, kN);
  const std::string written = o.out + "/model.onnx";
  const std::string carried = [&] {
    const ModelProto proto = proto_of(written);
    for (const auto& entry : proto.metadata_props())
      if (entry.key() == "halftone.columns") return entry.value();
    return std::string();
  }();
  const data::ColumnPlan plan = data::plan_from_json(carried, "model.onnx");
  ASSERT_EQ(plan.prepared.size(), 3U);
  EXPECT_EQ(plan.prepared[0].name, "age");
  EXPECT_DOUBLE_EQ(plan.prepared[0].mean, moments(age, kTrained).first);
  EXPECT_DOUBLE_EQ(plan.prepared[0].deviation, moments(age, kTrained).second);
  EXPECT_EQ(plan.prepared[1].categories, (Names{"Berlin", "Oslo", "Rome"}));
  EXPECT_EQ(plan.inputs.at("x"), (Names{"age", "city", "height"}));
  EXPECT_EQ(plan.labels, (Names{"kind"}));
  EXPECT_EQ(read_file(o.out + "/columns.json"), carried + "\n");

  // Bare weights, so that the classes are numbered by names too.
  EvalOptions by_hand = eval(written, rest);
  by_hand.network.precision = "fp16";
  by_hand.network.batch = 8;
  by_hand.data.columns_file = write("none.json", R"({"inputs": {}, "labels": [], "columns": []})");
  EXPECT_EQ(loss(by_hand), val_loss);
  EvalOptions again = by_hand;
  again.data.columns_file.clear();
  again.data.data = people("rest-raw.csv", kTrained, kN);
  EXPECT_EQ(loss(again), val_loss);
  // Columns in another order, and one more, are still known by their names.
  std::string shuffled = "height,kind,note,city,age\n";
  for (int i = kTrained; i < kN; ++i)
    shuffled += fmt::format("{},k{},nothing,{},{}\n", text_of(height(i)), kind(i), kCities[city(i)], age(i));
  again.data.data = write("shuffled.csv", shuffled);
  EXPECT_EQ(loss(again), val_loss);
  // One that is missing.
  again.data.data = write("short.csv", "age,height,kind\n30,1.7,k0\n31,1.8,k1\n");
  refused([&] { loss(again); }, "has no column called city");
  // A network that was not trained so carries nothing, and nothing is measured on what it is evaluated with.
  EvalOptions bare = eval(model, all);
  prepare(bare.data);
  refused([&] { loss(bare); }, "--one-hot city: the categories of the training data are needed");
  bare.data.columns_file = o.out + "/columns.json";
  EXPECT_GT(loss(bare), 0);
}

TEST_F(Columns, WithoutANameAreKnownByTheirNumbersAlone) {
  std::string bare;
  std::string named = "a,b,kind\n";
  for (int i = 0; i < kN; ++i) {
    const std::string line = fmt::format("{},{},{}\n", age(i), text_of(height(i)), kind(i));
    bare += line;
    named += line;
  }
  // The header may be new, or may have called both columns alike: their means and deviations are still the
  // training data's.
  const std::string twice = "a,a,kind\n" + bare;
  for (const std::string& text : {bare, twice}) {
    TrainOptions o = train(linear(2, 3), write("bare.csv", text), "run");
    o.overwrite = true;
    o.data.standardize = {"#0,#1"};
    train_model(o, kSilent);
    EvalOptions e = eval(o.out + "/model.onnx", o.data.data);
    const double expected = loss(e);
    e.data.data = write("named.csv", named);
    EXPECT_EQ(loss(e), expected);
    e.data.columns_file = write("none.json", R"({"inputs": {}, "labels": [], "columns": []})");
    EXPECT_NE(loss(e), expected);
  }
  // A name that is a number is a name.
  TrainOptions o = train(linear(2, 3), write("numbers.csv", "3,5,kind\n" + bare), "numbers");
  o.data.csv_header = "yes";
  o.data.standardize = {"all"};
  train_model(o, kSilent);
  EvalOptions e = eval(o.out + "/model.onnx", o.data.data);
  e.data.csv_header = "yes";
  const double expected = loss(e);
  std::string moved = "5,0,0,3,kind\n";
  for (int i = 0; i < kN; ++i) moved += fmt::format("{},7,8,{},{}\n", text_of(height(i)), age(i), kind(i));
  e.data.data = write("moved.csv", moved);
  EXPECT_EQ(loss(e), expected);
  e.data.data = write("missing.csv", "7,8,9,4,5,kind\n1,2,3,4,5,0\n2,3,4,5,6,1\n");
  refused([&] { loss(e); }, "missing.csv has no column called 3");
}

TEST_F(Columns, ReadByTheirPlaceAreInOneOrder) {
  std::string ab = "a,b,kind\n", ba = "b,a,kind\n", others = "c,d,kind\n";
  for (int i = 0; i < kN; ++i) {
    ab += fmt::format("{},{},{}\n", age(i), text_of(height(i)), kind(i));
    ba += fmt::format("{},{},{}\n", text_of(height(i)), age(i), kind(i));
    others += fmt::format("{},{},{}\n", age(i), text_of(height(i)), kind(i));
  }
  TrainOptions o = train(linear(2, 3), write("ab.csv", ab), "order");
  o.data.val = write("ba.csv", ba);
  refused([&] { train_model(o, kSilent); },
          "ba.csv: its columns are those of " + o.data.data + " in another order: 'b' is where that has 'a'");
  o.network.inputs = {"x=a,b"};
  const double named = train_model(o, kSilent).val_loss.value();
  o.network.inputs.clear();
  o.overwrite = true;
  for (const std::string& same : {write("again.csv", ab), write("others.csv", others)}) {
    o.data.val = same;
    std::string warnings;
    const auto keep_warnings = [&](const std::string& line) {
      if (line.find("other names") != std::string::npos) warnings += line;
    };
    EXPECT_EQ(train_model(o, keep_warnings).val_loss.value(), named);
    EXPECT_EQ(warnings, same.ends_with("again.csv")
                            ? ""
                            : "warning: " + same + ": its columns have other names than those of " +
                                  o.data.data +
                                  ": 'c' is where that has 'a'. Columns are read by their place");
  }
}

TEST_F(Columns, OfAnotherNetworkAreRefused) {
  TrainOptions o =
      train(linear(2, 3),
            write("t.csv", "a,b,kind\n1,2,0\n2,3,1\n0,1,2\n1,1,0\n2,0,1\n0,2,2\n1,0,0\n0,0,1\n"), "run");
  o.data.standardize = {"all"};
  train_model(o, kSilent);
  ModelBuilder m;
  m.input("z", {"N", "2"}).output("y", {"N", "3"});
  m.initializer(floats("w", {2, 3}, wave(6, 0.7)));
  m.node("MatMul", {"z", "w"}, {"y"});
  EvalOptions e = eval(write("z.onnx", m), o.data.data);
  e.data.columns_file = o.out + "/columns.json";
  refused([&] { loss(e); },
          "columns.json: it feeds columns to 'x', and does not say which feed the input 'z': is it of "
          "another network?");
  e.network.inputs = {"z=a,b"};
  EXPECT_GT(loss(e), 0);
}

TEST_F(Columns, AResumedRunGoesOnWithTheSameNumbers) {
  const std::string model = linear(5, 3);
  const auto options = [&](const std::string& out) {
    TrainOptions o = train(model, people("people.csv"), out);
    prepare(o.data);
    return o;
  };
  TrainOptions whole = options("whole");
  whole.steps = 6;
  whole.epochs = 4;
  train_model(whole, kSilent);
  TrainOptions parts = options("parts");
  parts.epochs = 4;
  train_model(parts, kSilent);
  parts.steps = 6;
  parts.resume = true;
  train_model(parts, kSilent);
  EXPECT_EQ(elements_of(parts.out, "model.onnx"), elements_of(whole.out, "model.onnx"));
  // Data with other numbers is another run.
  std::string text = read_file(folder_ / "people.csv");
  text.replace(text.find("p0,"), 2, "q0");  // of a column that is left out: nothing changes
  write("people.csv", text);
  parts.steps = 7;
  train_model(parts, kSilent);
  text.replace(text.find(",20,"), 4, ",90,");
  write("people.csv", text);
  parts.steps = 8;
  refused([&] { train_model(parts, kSilent); }, "training data was");
  // Numbers of the run that somebody changed.
  people("people.csv");
  std::string kept = read_file(parts.out + "/columns.json");
  const size_t at = kept.find("\"mean\":") + 7;
  kept.replace(at, 1, "9");
  std::ofstream(parts.out + "/columns.json", std::ios::binary) << kept;
  refused([&] { train_model(parts, kSilent); }, "columns was");
}

TEST_F(Columns, FeedSeveralInputs) {
  ModelBuilder m;
  m.input("a", {"N", "3"}).input("b", {"M", "2"}).output("y", {"N", "4"});
  m.initializer(floats("w", {3, 4}, wave(12, 0.7))).initializer(floats("v", {2, 4}, wave(8, 1.3)));
  m.node("MatMul", {"a", "w"}, {"p"}).node("MatMul", {"b", "v"}, {"q"}).node("Add", {"p", "q"}, {"y"});
  const std::string two = write("two.onnx", m);
  std::vector<float> both = wave(12, 0.7);
  const std::vector<float> v = wave(8, 1.3);
  both.insert(both.end(), v.begin(), v.end());
  ModelBuilder one;
  one.input("x", {"N", "5"})
      .output("y", {"N", "4"})
      .initializer(floats("w", {5, 4}, both))
      .node("MatMul", {"x", "w"}, {"y"});
  const std::string joined = write("joined.onnx", one);
  std::string text = "a0,a1,a2,b0,b1,label\n";
  std::string other = "b0,a0,id,a1,label,a2,b1\n";
  for (int i = 0; i < kN; ++i) {
    std::vector<std::string> x;
    for (int k = 0; k < 5; ++k) x.push_back(text_of(std::sin(0.3 * (i * 5 + k))));
    text += fmt::format("{},{},{},{},{},{}\n", x[0], x[1], x[2], x[3], x[4], i % 4);
    other += fmt::format("{},{},{},{},{},{},{}\n", x[3], x[0], i, x[1], i % 4, x[2], x[4]);
  }
  const std::string table = write("table.csv", text);
  const std::string mixed = write("mixed.csv", other);
  const double expected = loss(eval(joined, table));
  EvalOptions o = eval(two, table);
  refused([&] { loss(o); },
          "which columns feed the inputs 'a' and 'b'? Left are a0,a1,a2,b0,b1; give --input a=COLUMN,...");
  o.network.inputs = {"a=a0..a2"};  // the rest is left for the other
  EXPECT_NEAR(loss(o), expected, 1e-6);
  o.network.inputs = {"b=3,4"};
  EXPECT_NEAR(loss(o), expected, 1e-6);
  o.data.data = mixed;
  o.network.inputs = {"b=b0,b1", "a=a0,a1,a2"};
  o.network.loss = {"cross-entropy:label"};
  std::string log;
  const RunResult r = evaluate_model(o, [&](const std::string& line) { log += line + "\n"; });
  EXPECT_NEAR(*r.val_loss, expected, 1e-6);
  EXPECT_NE(log.find("columns that nothing takes: id"), std::string::npos) << log;
  o.network.inputs = {"b=b0,b1"};
  refused([&] { loss(o); }, "input 'a' takes 3 numbers a sample, but its columns a0,id,a1,a2 make 4 numbers");
  o.data.exclude_columns = {"id"};
  EXPECT_NEAR(loss(o), expected, 1e-6);
  o.network.inputs = {"b=b0,id", "a=a0,a1,a2"};
  refused([&] { loss(o); }, "--exclude-columns id of");
  o.network.inputs = {"b=b0,nothing"};
  refused([&] { loss(o); }, "has no column called nothing; its columns are b0, a0, id");
  o.network.inputs = {"b=b0,b0"};
  refused([&] { loss(o); }, "column 0 (b0) is there twice");
  o.network.inputs = {"b=b1..b0"};
  refused([&] { loss(o); }, "the column 0 stands before 6");
  o.network.inputs = {"b=b0,7"};
  refused([&] { loss(o); }, "has 7 columns, counted from 0: there is no 7");
  o.network.inputs = {"c=b0"};
  refused([&] { loss(o); }, "expected NAME=COLUMN,... with an input of the network");
}

TEST_F(Columns, CategoriesFeedAnEmbedding) {
  // By hand: the numbers of the categories.
  std::string text = "u,town,v,label\n";
  std::string numbers = "u,town,v,label\n";
  const Names order{"Berlin", "Oslo", "Rome"};
  for (int i = 0; i < kN; ++i) {
    const std::string name = kCities[city(i)];
    const auto code = std::find(order.begin(), order.end(), name) - order.begin();
    text += fmt::format("{},{},{},{}\n", text_of(std::sin(i)), name, text_of(std::cos(i)), kind(i));
    numbers += fmt::format("{},{},{},{}\n", text_of(std::sin(i)), code, text_of(std::cos(i)), kind(i));
  }
  const std::string table = write("table.csv", text);
  for (const int64_t rank : {1, 2}) {
    const std::string model = with_ids(3, rank);
    TrainOptions by_hand = train(model, write("numbers.csv", numbers), fmt::format("hand{}", rank));
    by_hand.network.inputs = {"ids=town", "a=u,v"};  // whole numbers as they are
    train_model(by_hand, kSilent);
    TrainOptions o = train(model, table, fmt::format("run{}", rank));
    o.data.codes = {"town"};  // leaves no choice
    train_model(o, kSilent);
    EXPECT_EQ(elements_of(o.out, "model.onnx"), elements_of(by_hand.out, "model.onnx"));
    EXPECT_NE(elements_of(o.out, "model.onnx").at("e"), elements_of(folder_.path(), "ids.onnx").at("e"));
    EvalOptions e = eval(o.out + "/model.onnx", write("other.csv", text + "0.5,Paris,0.5,1\n"));
    refused([&] { loss(e); }, fmt::format("other.csv, line {}, column 2 (town): \"Paris\" is none of the "
                                          "categories that the training data has: "
                                          "Berlin, Oslo, Rome",
                                          kN + 2));
    e.data.unknown_category = "zeros";  // which a code has not
    refused([&] { loss(e); }, "\"Paris\" is none of the categories");
    // A subset has the same numbers.
    e.data.data = write("rome.csv", "u,town,v,label\n0.1,Rome,0.2,0\n0.3,Rome,0.4,1\n");
    EvalOptions two =
        eval(by_hand.out + "/model.onnx", write("two.csv", "u,town,v,label\n0.1,2,0.2,0\n0.3,2,0.4,1\n"));
    EXPECT_EQ(loss(e), loss(two));
  }
}

TEST_F(Columns, AnUnknownCategoryIsAnErrorOrZeros) {
  TrainOptions o = train(linear(5, 3), people("people.csv"), "run");
  prepare(o.data);
  train_model(o, kSilent);
  EvalOptions e = eval(o.out + "/model.onnx",
                       write("paris.csv", "age,city,height,kind\n30,Rome,1.7,k0\n40,Paris,1.8,k1\n"));
  refused([&] { loss(e); },
          "paris.csv, line 3, column 2 (city): \"Paris\" is none of the categories that the training data "
          "has: Berlin, Oslo, "
          "Rome (--unknown-category zeros feeds zeros)");
  e.data.unknown_category = "zeros";
  std::string log;
  const double found = *evaluate_model(e, [&](const std::string& line) { log += line + "\n"; }).val_loss;
  EXPECT_NE(log.find("warning: "), std::string::npos) << log;
  EXPECT_NE(log.find("1 samples have a category of city"), std::string::npos) << log;
  const auto [age_mean, age_dev] = moments(age, kN);
  const auto [height_mean, height_dev] = moments(height, kN);
  std::string text = "age,b,o,r,height,kind\n";
  for (const auto& [a, r, h, k] : {std::tuple(30.0, 1, 1.7, 0), std::tuple(40.0, 0, 1.8, 1)})
    text += fmt::format("{},0,0,{},{},k{}\n", text_of((a - age_mean) / age_dev), r,
                        text_of((h - height_mean) / height_dev), k);
  EvalOptions by_hand = eval(o.out + "/model.onnx", write("hand.csv", text));
  by_hand.data.columns_file = write("none.json", R"({"inputs": {}, "labels": [], "columns": []})");
  EXPECT_EQ(found, loss(by_hand));
  e.data.unknown_category = "nothing";
  refused([&] { loss(e); }, "--unknown-category nothing is not known; it is error or zeros");
  e.data.unknown_category = "error";
  e.data.skip_bad = true;
  EXPECT_EQ(nlohmann::json::parse(evaluate_model(e, kSilent).summary_json)["bad_samples"], 1);
}

TEST_F(Columns, AreTargetsOfOneLossOrOfSeveral) {
  std::string text = "x0,x1,p,q,name,weight\n";
  for (int i = 0; i < kN; ++i)
    text += fmt::format("{},{},{},{},n{},{}\n", text_of(std::sin(i)), text_of(std::cos(i)),
                        text_of(std::sin(2 * i)), text_of(std::cos(3 * i)), i % 3, 1 + i % 2);
  const std::string table = write("table.csv", text);
  train::Safetensors arrays;
  Tensor x(DType::kF32, {kN, 2});
  Tensor y(DType::kF32, {kN, 2});
  Tensor name(DType::kI64, {kN});
  Tensor weight(DType::kF32, {kN});
  for (size_t i = 0; i < kN; ++i) {
    const auto n = static_cast<double>(i);
    x.as<float>()[2 * i] = static_cast<float>(std::sin(n));
    x.as<float>()[2 * i + 1] = static_cast<float>(std::cos(n));
    y.as<float>()[2 * i] = static_cast<float>(std::sin(2 * n));
    y.as<float>()[2 * i + 1] = static_cast<float>(std::cos(3 * n));
    name.as<int64_t>()[i] = static_cast<int64_t>(i % 3);
    weight.as<float>()[i] = static_cast<float>(1 + i % 2);
  }
  arrays.tensors.emplace("x", std::move(x));
  arrays.tensors.emplace("y", std::move(y));
  arrays.tensors.emplace("name", std::move(name));
  arrays.tensors.emplace("weight", std::move(weight));
  const std::string same = folder_ / "same.safetensors";
  train::write_safetensors(same, arrays);

  const std::string two = linear(2, 2);
  EvalOptions expected = eval(two, same);
  expected.network.loss = {"mse:y"};
  EvalOptions o = eval(two, table);
  o.data.exclude_columns = {"name,weight"};
  o.data.label_column = "p,q";
  EXPECT_EQ(loss(o), loss(expected));
  o.data.label_column = "q,p";
  EXPECT_NE(loss(o), loss(expected));
  o.data.label_column.clear();
  o.network.loss = {"mse:p..q"};
  EXPECT_EQ(loss(o), loss(expected));
  o.data.label_column = "p";
  refused([&] { loss(o); }, "--label-column p: no loss reads it");

  // Two outputs, a column of text for one and two of numbers for the other, and weights.
  ModelBuilder m;
  m.input("x", {"N", "2"}).output("cls", {"N", "3"}).output("box", {"N", "2"});
  m.initializer(floats("w", {2, 3}, wave(6, 0.7))).initializer(floats("v", {2, 2}, wave(4, 1.3)));
  m.node("MatMul", {"x", "w"}, {"cls"}).node("MatMul", {"x", "v"}, {"box"});
  const std::string net = write("several.onnx", m);
  EvalOptions several = eval(net, table);
  several.network.loss = {"cls=cross-entropy:name", "box=mse:p,q*0.5"};
  several.data.exclude_columns = {"weight"};
  EvalOptions arrays_of = eval(net, same);
  arrays_of.network.loss = {"cls=cross-entropy:name", "box=mse:y*0.5"};
  EXPECT_EQ(loss(several), loss(arrays_of));
  several.data.exclude_columns.clear();
  several.network.sample_weight = arrays_of.network.sample_weight = "weight";
  several.network.loss = {"cls=cross-entropy:name"};
  arrays_of.network.loss = {"cls=cross-entropy:name"};
  several.network.inputs = {"x=x0,x1"};
  EXPECT_EQ(loss(several), loss(arrays_of));
  // Names of a further loss are not kept; numbers are.
  several.network.sample_weight.clear();
  several.network.loss = {"box=mse:p,q*0.5", "cls=cross-entropy:name"};
  refused([&] { loss(several); },
          "only the first loss takes the names of classes; --codes numbers its texts");
  TrainOptions t = train(net, table, "run");
  t.network = several.network;
  t.network.precision = "fp32";
  t.data.codes = {"name"};
  t.data.val = table;
  const double trained = *train_model(t, kSilent).val_loss;
  several.network.model = t.out + "/model.onnx";
  EXPECT_NEAR(loss(several), trained, 1e-6);

  // A loss graph takes columns by the names of its inputs.
  ModelBuilder g;
  g.input("box", {"N", "2"}).input("p", {"N", "1"}).input("other", {"N"}).open_output("loss");
  g.node("Sub", {"box", "p"}, {"d"})
      .node("Mul", {"d", "d"}, {"s"})
      .node("ReduceMean", {"s"}, {"r"}, {{"keepdims", 0}});
  g.node("ReduceMean", {"other"}, {"o"}, {{"keepdims", 0}}).node("Add", {"r", "o"}, {"loss"});
  EvalOptions graph = eval(net, table);
  graph.network.loss_graph = write("loss.onnx", g);
  graph.network.inputs = {"x=x0,x1", "other=q"};
  double mean_q = 0;
  for (int i = 0; i < kN; ++i) mean_q += std::cos(3 * i) / kN;
  graph.network.inputs = {"x=x0,x1", "other=p"};
  const double with_p = loss(graph);
  graph.network.inputs = {"x=x0,x1", "other=q"};
  double mean_p = 0;
  for (int i = 0; i < kN; ++i) mean_p += std::sin(2 * i) / kN;
  // Batches of 5 and a last one of 4: means of means.
  EXPECT_NEAR(loss(graph) - with_p, mean_q - mean_p, 1e-5);
}

TEST_F(Columns, WhatIsNotUnderstoodIsRefusedWithItsPlace) {
  const std::string model = linear(2, 3);
  const auto table = [&](const std::string& text) { return write("t.csv", text); };
  const auto refuse = [&](DataOptions d, const std::string& part) {
    TrainOptions o = train(model, d.data, "refused");
    d.val = "none";
    d.loader_threads = 1;
    o.data = d;
    o.overwrite = true;
    o.network.batch = 2;
    refused([&] { train_model(o, kSilent); }, part);
  };
  DataOptions d;
  // Text without an instruction, with and without other columns that have one.
  d.data = table("age,city,y\n30,Rome,0\n31,Oslo,1\n");
  refuse(d,
         "t.csv, line 2, column 2 (city): \"Rome\" is not a finite number; --one-hot city or --codes city "
         "reads the column as categories, "
         "--exclude-columns city leaves it out");
  d.standardize = {"age"};
  refuse(d,
         "t.csv, line 2, column 2 (city): \"Rome\" is not a finite number; --one-hot city or --codes city");
  d.standardize = {"height"};
  refuse(d, "--standardize height: " + d.data + " has no column called height; its columns are age, city, y");
  d.standardize = {"city"};
  refuse(d, "line 2, column 2 (city): \"Rome\" is not a finite number");
  d.standardize.clear();
  d.codes = {"city"};
  refuse(d, "--codes city, which is for inputs of whole numbers and for labels (--one-hot is for floats)");
  d.codes.clear();
  d.one_hot = {"city"};
  refuse(d, "input 'x' takes 2 numbers a sample, but its columns age,city make 3 numbers");
  d.exclude_columns = {"city"};
  refuse(d, "--one-hot city: column city is left out by --exclude-columns");
  d.one_hot.clear();
  d.exclude_columns.clear();
  d.standardize = {"y"};
  refuse(d, "--standardize y, which is for inputs of floats");
  d.standardize = {"age"};
  d.exclude_columns = {"y"};
  refuse(d, "--exclude-columns y of " + d.data + ": the loss takes the column y");
  d = {};
  d.data = table("a,b,y\n1,2,0\n1,3,1\n");
  d.standardize = {"a"};
  refuse(d, "--standardize a: the column has one value, 1, in all samples");
  d.standardize = {"a", "all"};
  refuse(d, "the column has one value");
  d.standardize = {"b"};
  d.one_hot = {"b"};
  refuse(d, "a column is one of them");
  d = {};
  d.data = table("a,b,y\n1,2,0\n1.0,3,1\n2,3,1\n");
  d.one_hot = {"a"};
  refuse(d, "the categories \"1\" and \"1.0\" are one number, written in two ways");
  d.data = table("a,b,y\nu,2,0\n,3,1\n");
  refuse(d, "t.csv, line 3, column 1 (a): the value is missing");
  d.data = table("a,b,y\nu,2,0\nNA,3,1\n");
  refuse(d, "t.csv, line 3, column 1 (a): the value is missing (\"NA\"; in quotes it is a category)");
  d.data = table("a,a,y\n1,2,0\n1,3,1\n");
  refuse(d, "2 columns of " + d.data +
                " are called a; say which by its number, counted from 0: the first is #0");
  d = {};
  d.data = table("1,2,0\n3,4,1\n");
  d.exclude_columns = {"city"};
  refuse(d, "has no column called city; its first line is a sample and names none");
  // An option that would do nothing.
  ModelBuilder m;
  m.input("x", {"N", "1"})
      .output("y", {"N", "3"})
      .initializer(floats("w", {1, 3}, wave(3, 0.7)))
      .node("MatMul", {"x", "w"}, {"y"});
  TrainOptions o = train(write("one.onnx", m), table("a,b,y\n1,2,0\n2,3,1\n"), "refused");
  o.network.inputs = {"x=a"};
  o.data.standardize = {"b"};
  o.overwrite = true;
  refused([&] { train_model(o, kSilent); },
          "--standardize b: neither an input nor a loss takes the column b");
  // A number may be a column's, or a constant.
  o.data.standardize = {"0"};
  o.network.model = with_ids(3);
  o.data.data = table("1,2,0\n2,3,1\n1,1,0\n0,2,2\n");
  o.network.inputs = {"ids=1"};
  refused([&] { train_model(o, kSilent); }, "1 is a number, and also a column of " + o.data.data +
                                                "; write #1 for the column, or 1.0 for the number");
  // Whole numbers are wanted.
  o.data.standardize.clear();
  o.data.data = table("u,v,c,y\n1,2,0.5,0\n2,3,1,1\n1,1,1,0\n0,2,1,2\n");
  o.network.inputs = {"ids=c"};
  refused([&] { train_model(o, kSilent); },
          "t.csv, line 2, column 3 (c): 0.5 is no whole number, which input 'ids' takes; --codes c numbers");
  o.data.columns_file = write(
      "bad.json",
      R"({"inputs": {}, "labels": [], "columns": [{"name": "a", "as": "standardize", "mean": 1, "deviation": 0}]})");
  refused([&] { train_model(o, kSilent); },
          "what it says of the columns of tables is damaged: the mean 1 and deviation 0 of a");
  o.data.columns_file = write("bad.json", "{}");
  refused([&] { train_model(o, kSilent); }, "is damaged");
}

TEST_F(Columns, ATableWithoutOptionsIsReadAsEver) {
  const std::string table =
      write("t.csv", "a,b,label\n1,2,0\n2,3,1\n0,1,2\n1,1,0\n2,0,1\n0,2,2\n1,0,0\n0,0,1\n");
  TrainOptions o = train(linear(2, 3), table, "plain");
  train_model(o, kSilent);
  EXPECT_EQ(proto_of(o.out + "/model.onnx").metadata_props_size(), 0);
  EXPECT_FALSE(std::ifstream(o.out + "/columns.json").good());
  // The same by the names that every table has.
  TrainOptions named = train(o.network.model, table, "named");
  named.network.inputs = {"x=samples"};
  named.network.loss = {"cross-entropy:label"};
  train_model(named, kSilent);
  EXPECT_EQ(read_file(named.out + "/model.onnx"), read_file(o.out + "/model.onnx"));
}

}  // namespace
}  // namespace halftone
