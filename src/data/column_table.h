// A table whose columns are fields: some feed inputs, some are labels, some become categories, some are left
// out.
#pragma once

#include <memory>
#include <string>

#include "data/dataset.h"
#include "data/spec.h"

namespace halftone::data {

// As options.choose_columns decides; what is measured of standardised columns and categories is of the
// samples in spec's range alone. Errors name file, line and column: those of open_csv; a column of text that
// nothing is said about; a category that the training data has not; options that name no column, or a column
// that they do not fit.
std::unique_ptr<Dataset> open_columns(const Spec& spec, const OpenOptions& options);

}  // namespace halftone::data
