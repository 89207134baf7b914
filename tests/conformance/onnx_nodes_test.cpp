// The ONNX project's node tests (tests/fixtures/onnx_nodes): one operator, its inputs, the outputs that the
// specification gives, for every version of the operator between opsets 7 and 24.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "exec/program.h"
#include "kern/dispatch.h"
#include "onnx/import.h"
#include "pass/layout.h"

namespace halftone {
namespace {

struct Case {
  std::string name;
  std::string op;
  int inputs = 0;
  int outputs = 0;
  std::vector<int> opsets;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

std::string folder() {
  return std::string(HALFTONE_TESTS_DIR) + "/fixtures/onnx_nodes/";
}

std::vector<Case> cases() {
  std::ifstream file(folder() + "cases.txt");
  std::vector<Case> list;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Case c;
    std::string opsets;
    words >> c.name >> c.op >> c.inputs >> c.outputs >> opsets;
    std::istringstream numbers(opsets);
    for (std::string n; std::getline(numbers, n, ',');) c.opsets.push_back(std::stoi(n));
    list.push_back(c);
  }
  return list;
}

// A .npy of version 1.0 in C order, which these files are, of float32, integers or booleans.
Tensor read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (bytes.size() < 10 || bytes.substr(1, 5) != "NUMPY") throw std::runtime_error("cannot read " + path);
  const size_t header =
      10 + static_cast<unsigned char>(bytes[8]) + 256U * static_cast<unsigned char>(bytes[9]);
  static const std::map<std::string, DType> kTypes = {{"'<f4'", DType::kF32},
                                                      {"'<i8'", DType::kI64},
                                                      {"'<i4'", DType::kI32},
                                                      {"'|u1'", DType::kU8},
                                                      {"'|b1'", DType::kU8}};
  const auto type =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const auto& t) { return bytes.find(t.first) < header; });
  if (type == kTypes.end()) throw std::runtime_error(path + " has another type");
  const size_t open = bytes.find('(', bytes.find("'shape'"));
  std::istringstream dims(bytes.substr(open + 1, bytes.find(')', open) - open - 1));
  Shape shape;
  for (std::string d; std::getline(dims, d, ',');)
    if (d.find_first_of("0123456789") != std::string::npos) shape.push_back(std::stoll(d));
  Tensor t(type->second, shape);
  if (bytes.size() - header != static_cast<size_t>(t.bytes())) throw std::runtime_error(path + " is cut");
  std::memcpy(t.data(), bytes.data() + header, bytes.size() - header);
  return t;
}

// What Halftone refuses on purpose, by the reason it has to give.
const std::map<std::string, std::string>& refusals() {
  static const std::map<std::string, std::string> map = [] {
    std::map<std::string, std::string> m;
    for (const char* name :
         {"gridsample_volumetric_bilinear_align_corners_0", "gridsample_volumetric_bilinear_align_corners_1",
          "gridsample_volumetric_nearest_align_corners_0", "gridsample_volumetric_nearest_align_corners_1"})
      m[name] = "only images [N, C, H, W] are supported";
    // Running statistics are our state: a training batch norm needs them as tensors of the file, not as
    // inputs.
    for (const char* name : {"batchnorm_epsilon_training_mode", "batchnorm_example_training_mode"})
      m[name] = "its running statistics (input 3) are not tensors of the file";
    // The node passes its input on, so the network computes nothing.
    for (const char* name :
         {"clip_default_inbounds", "clip_default_inbounds_expanded", "dropout_default", "dropout_default_old",
          "dropout_default_ratio", "dropout_random_old", "identity", "training_dropout_zero_ratio"})
      m[name] = "output 'y' is the input 'x' itself";
    // A constant.
    for (const char* name : {"eyelike_populate_off_main_diagonal", "eyelike_without_dtype"})
      m[name] = "output 'y' does not depend on any input";
    m["transpose_all_permutations_0"] = "output 'transposed' is the input 'data' itself";
    for (const char* name : {"reduce_sum_empty_axes_input_noop", "reduce_sum_empty_axes_input_noop_example"})
      m[name] = "output 'reduced' is the input 'data' itself";
    for (const char* name : {"min_one_input", "max_one_input", "mean_one_input", "sum_one_input"})
      m[name] = "is the input 'data_0' itself";
    // Samples without elements.
    m["tril_zero"] = "the size of axis 1 of input 'x' is open";
    m["triu_zero"] = "the batch is 0";
    // A float power of an integer, which 16 bits may not hold exactly.
    for (const char* name : {"pow_types_int32_float32", "pow_types_int64_float32"})
      m[name] = "different types";
    for (const char* name : {"reduce_l1_empty_set", "reduce_l2_empty_set", "reduce_log_sum_empty_set",
                             "reduce_log_sum_empty_set_non_reduced_axis_zero", "reduce_log_sum_exp_empty_set",
                             "reduce_max_empty_set", "reduce_min_empty_set", "reduce_prod_empty_set",
                             "reduce_sum_square_empty_set", "reduce_l1_empty_set_expanded",
                             "reduce_log_sum_empty_set_expanded", "reduce_sum_square_empty_set_expanded"})
      m[name] = "the size of axis 1 of input 'data' is open";
    for (const char* name :
         {"reduce_sum_empty_set", "reduce_sum_empty_set_non_reduced_axis_zero", "reduce_max_empty_set_bool"})
      m[name] = "the size of axis 1 of input 'data' is open";
    for (const char* name :
         {"reshape_allowzero_reordered", "split_zero_size_splits_opset13", "split_zero_size_splits_opset18"})
      m[name] = "the batch is 0";
    return m;
  }();
  return map;
}

class OnnxNode : public testing::TestWithParam<Case> {};

void check(const Case& c, int opset, kern::Isa isa) {
  const onnx::Model model = onnx::Model::load(folder() + c.name + "/opset" + std::to_string(opset) + ".onnx");
  std::vector<Tensor> inputs;
  for (int i = 0; i < c.inputs; ++i)
    inputs.push_back(read_npy(folder() + c.name + "/input_" + std::to_string(i) + ".npy"));
  onnx::ImportOptions options;
  if (!inputs.empty() && !inputs[0].shape().empty()) options.batch = inputs[0].shape()[0];
  options.mode = c.name.find("training_mode") != std::string::npos ? ops::Mode::kTrain : ops::Mode::kEval;
  ir::Graph graph = onnx::import(model, options);
  ASSERT_EQ(graph.inputs.size(), inputs.size());
  pass::sink_transposes(graph, DType::kF32);
  const std::vector<ir::ValueId> in = graph.inputs;
  const std::vector<ir::ValueId> out = graph.outputs;
  std::map<std::string, std::shared_ptr<const Tensor>> persistent;
  for (const ir::Value& v : graph.values)
    if (v.kind == ir::ValueKind::kParameter || v.kind == ir::ValueKind::kState)
      persistent[v.name] = v.initial();
  exec::Store store;
  exec::Arena arena;
  par::Pool pool(2);
  exec::Program program(std::move(graph), kern::table(isa), kern::Multiply::kWide, pool, store, arena);
  for (auto& [name, tensor] : store.all()) {
    ASSERT_TRUE(persistent.count(name));
    const Tensor data = converted(*persistent[name], tensor.dtype());
    std::memcpy(tensor.data(), data.data(), static_cast<size_t>(data.bytes()));
  }
  program.attach();
  for (size_t i = 0; i < in.size(); ++i)
    if (program.data(in[i]) != nullptr && inputs[i].size() > 0)
      std::memcpy(program.data(in[i]), inputs[i].data(), static_cast<size_t>(inputs[i].bytes()));
  ops::StepState step;
  program.run(ir::Phase::kCompute, step);
  for (size_t k = 0; k < out.size() && k < static_cast<size_t>(c.outputs); ++k) {
    const Tensor expected = read_npy(folder() + c.name + "/output_" + std::to_string(k) + ".npy");
    const ir::Type& type = program.graph().value(out[k]).type;
    ASSERT_EQ(type.shape, expected.shape());
    ASSERT_EQ(type.dtype, expected.dtype());
    if (!is_float(type.dtype)) {
      ASSERT_EQ(std::memcmp(program.data(out[k]), expected.data(), static_cast<size_t>(expected.bytes())), 0)
          << "output " << k;
      continue;
    }
    const auto* got = static_cast<const float*>(program.data(out[k]));
    for (size_t i = 0; i < static_cast<size_t>(expected.size()); ++i) {
      const float wanted = expected.as<float>()[i];
      if (std::isnan(wanted) || std::isinf(wanted)) {
        ASSERT_TRUE(std::isnan(wanted) ? std::isnan(got[i]) : got[i] == wanted) << "element " << i;
      } else {
        // ONNX's own tolerance is 1e-3 and 1e-7; fp32 sums of these few terms are better than this.
        ASSERT_NEAR(got[i], wanted, 1e-5 * std::fabs(wanted) + 1e-6) << "output " << k << " element " << i;
      }
    }
  }
}

TEST_P(OnnxNode, GivesTheSpecifiedOutputs) {
  const Case& c = GetParam();
  for (const int opset : c.opsets) {
    const auto refused = refusals().find(c.name);
    for (const kern::Isa isa : kern::available()) {
      SCOPED_TRACE(c.name + " opset " + std::to_string(opset) + " " + std::string(kern::name_of(isa)));
      if (refused == refusals().end()) {
        ASSERT_NO_THROW(check(c, opset, isa));
        continue;
      }
      try {
        check(c, opset, isa);
        FAIL() << "was expected to be refused: " << refused->second;
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(refused->second), std::string::npos) << e.what();
      }
    }
  }
}
std::string case_name(const testing::TestParamInfo<Case>& test) {
  return test.param.name;
}
INSTANTIATE_TEST_SUITE_P(All, OnnxNode, testing::ValuesIn(cases()), case_name);

TEST(OnnxNodes, CoverEveryOperatorOfTheList) {
  std::map<std::string, int> count;
  for (const Case& c : cases()) ++count[c.op];
  for (const char* op : {"Add",
                         "AveragePool",
                         "BatchNormalization",
                         "Clip",
                         "Concat",
                         "Conv",
                         "Dropout",
                         "Gemm",
                         "MatMul",
                         "MaxPool",
                         "Pad",
                         "Reshape",
                         "Slice",
                         "Softmax",
                         "LogSoftmax",
                         "Split",
                         "Gather",
                         "GatherElements",
                         "GatherND",
                         "ScatterElements",
                         "ScatterND",
                         "OneHot",
                         "CumSum",
                         "Tile",
                         "Trilu",
                         "Compress",
                         "TopK",
                         "ArgMax",
                         "ArgMin",
                         "Where",
                         "Equal",
                         "Less",
                         "And",
                         "Not",
                         "IsNaN",
                         "IsInf",
                         "Sin",
                         "Cos",
                         "Selu",
                         "Celu",
                         "Hardmax",
                         "Min",
                         "Max",
                         "Mean",
                         "Sum",
                         "Mod",
                         "ReduceMax",
                         "ReduceMin",
                         "ReduceProd",
                         "ReduceL1",
                         "ReduceL2",
                         "ReduceSumSquare",
                         "ReduceLogSum",
                         "ReduceLogSumExp"})
    EXPECT_GT(count[op], 0) << op;
}

}  // namespace
}  // namespace halftone
