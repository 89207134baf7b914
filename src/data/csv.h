// Numbers as text, one record a sample: .csv or .tsv.
//
// How cells are delimited is in delimited.h, how the kind of table is recognised in table.h. Cells are
// decimal numbers within fp32; the label's column may hold text: then its values in byte order are the
// classes.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

bool is_csv_file(const std::string& path);

// Errors name file, line and column (both counted from 1): a value that is missing or not a finite number,
// another count of cells, a quote that is not closed; a table whose kind cannot be decided; no such label
// column.
std::unique_ptr<Dataset> open_csv(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
