// Numbers as text, one line a sample: .csv or .tsv.
//
// Fields are separated by tabs, else semicolons, else commas (whichever the first line has) and may be
// quoted. Empty lines and lines that begin with # are passed over. The first line is a header if any field of
// it, the label's aside, is no number. The label's column may hold text: then its values in byte order are
// the classes.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

bool is_csv_file(const std::string& path);

// Errors name file, line and column: not a finite number, another count of fields; no such label column.
std::unique_ptr<Dataset> open_csv(const Spec& spec, const DataOptions& options);

}  // namespace halftone::data
