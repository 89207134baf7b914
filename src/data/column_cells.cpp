#include "data/column_cells.h"

#include <fmt/format.h>

#include "data/number.h"
#include "data/text.h"
#include "halftone/printable.h"

namespace halftone::data {

std::string option_of(Preparation kind) {
  return kind == Preparation::kStandardized ? "--standardize"
         : kind == Preparation::kOneHot     ? "--one-hot"
                                            : "--codes";
}

std::string why_no_category(const Cell& cell) {
  if (cell.quoted ? cell.text.empty() : is_missing_name(cell.text))
    return fmt::format(
        "the value is missing{}",
        cell.text.empty() ? "" : fmt::format(" (\"{}\"; in quotes it is a category)", shown(cell.text)));
  if (!is_utf8(cell.text))
    return fmt::format("\"{}\" is not UTF-8; save the table as UTF-8", shown(cell.text));
  return {};
}

}  // namespace halftone::data
