// Which columns of a table feed which input, and which loss.
#pragma once

#include <string>
#include <vector>

#include "api/fields.h"
#include "api/session.h"
#include "data/columns.h"
#include "halftone/halftone.h"

namespace halftone::api {

// Whether a table is read by its columns: where samples and one label do not say it, where options name
// columns, or where the network was trained on columns (`kept`).
bool needs_columns(const onnx::Model& model, const NetworkOptions& network, const DataOptions& options,
                   const data::ColumnPlan& kept);

bool has_column_options(const DataOptions& options);

// What the options say of columns, as the reader of tables takes it.
data::ColumnOptions column_options(const NetworkOptions& network, const DataOptions& options);

// Whether a loss reads labels that no option names: --label-column, or the last column.
bool reads_default_labels(const NetworkOptions& network);

// Decides for the columns of a table, and binds sizes that the network leaves open. Inputs: by --input
// NAME=COLUMNS; else as `kept` has them; else the column of the input's name; else, for the only input that
// is left, all columns that are left (of two, the one of whole numbers takes those of --codes). Errors
// (input, usage) name the columns that are there and what is wanted.
data::ColumnChoice choose_columns(onnx::Model& model, onnx::Model* loss_graph, const NetworkOptions& network,
                                  const DataOptions& options, const data::ColumnPlan& kept,
                                  const data::TableColumns& columns, const std::string& path, const Log& log,
                                  FieldPlan& plan);

// What an opened set says of its columns, for the sets that are read after it. Warns where the network was
// trained on columns that became something else, and the set is no table.
void keep_columns(Labelling& labelling, const data::DataInfo& info, const Log& log);

// What the network carries (its metadata); empty: nothing.
data::ColumnPlan column_plan_of(const onnx::Model& model);
// The metadata_props entry for a network that was trained on these columns; empty when there is nothing to
// add.
std::map<std::string, std::string> column_metadata(const onnx::Model& model, const data::ColumnPlan& plan);
// The names of its classes, and this.
std::map<std::string, std::string> data_metadata(const onnx::Model& model, const Data& data);
// --columns-file, else the network's.
data::ColumnPlan kept_columns(const DataOptions& options, const onnx::Model& model);

}  // namespace halftone::api
