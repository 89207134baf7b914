// Numbers as people write them into tables.
#pragma once

#include <string>
#include <string_view>

namespace halftone::data {

enum class NumberForm {
  kNone,       // no number
  kWhole,      // no decimal mark: 12, -3, 1e5
  kPoint,      // a decimal point: 1.5, .5, 2.
  kComma,      // a decimal comma: 1,5
  kEither,     // 1,234: a decimal comma or a thousands separator
  kThousands,  // thousands separators: 1,234,567 or 1,234.5 or 1.234,5
};

// Spaces around the text are no part of it.
NumberForm form_of(std::string_view text);

// False when the text is no number with this decimal mark ('.' or ','), or none within the range of fp32.
// What is too small for a double is 0.
bool read_number(std::string_view text, char decimal, double& value);

// What stands for a value that is not there: nothing, NA, nan, null and their like.
bool is_missing_number(std::string_view text);
// The same in a column of names, where fewer words can be meant so.
bool is_missing_name(std::string_view text);

// Why read_number is false, for a message: `"x" is not a finite number`.
std::string why_no_number(std::string_view text, char decimal);

}  // namespace halftone::data
