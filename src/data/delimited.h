// Delimited text (RFC 4180) taken apart into records and cells, whatever the cells mean.
//
// A record ends at a line end (LF, CR LF or CR) outside quotes. A cell that begins with " ends at the next "
// that is not doubled; "" inside is one ". Inside quotes delimiters and line ends are text. Spaces around
// cells are no part of them. Lines without anything and lines that begin with # are passed over; the latter
// are counted.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::data {

struct Cell {
  std::string text;
  bool quoted = false;
  int64_t line = 1;  // where it begins
};

// Of a record: images as tables have some hundred thousand, and a cell takes far more memory than the comma
// that makes it.
constexpr size_t kMostCells = size_t{1} << 20;

struct Record {
  // The first `count` are the record's; the others are memory for the next one.
  std::vector<Cell> cells;
  size_t count = 0;
  int64_t line = 1;
  // What is wrong with it, where one of its quotes is; empty: nothing.
  std::string wrong;
  int64_t wrong_line = 0;
  size_t wrong_cell = 0;
  // It is a quote that nothing closes, or there are too many cells: where the record ends is not known.
  bool fatal = false;
};

class Records {
 public:
  // Both must outlive it. comments: whether lines that begin with # are.
  Records(std::string_view text, char delimiter, bool comments = true)
      : text_(text), delimiter_(delimiter), has_comments_(comments) {}
  // False at the end of the text.
  bool next(Record& record);
  // Where the text behind the last record begins, and its line.
  size_t position() const { return at_; }
  int64_t line() const { return line_; }
  int64_t comments() const { return comments_; }
  // The first line that begins with # and would have so many cells; 0: none was seen.
  int64_t comment_like(size_t cells) const;

 private:
  bool at_end() const { return at_ == text_.size(); }
  bool at_line_end() const { return at_end() || text_[at_] == '\n' || text_[at_] == '\r'; }
  void pass_line_end();
  void pass_spaces();
  void pass_comment();
  void quoted_cell(Record& record, Cell& cell);
  void plain_cell(Cell& cell);

  std::string_view text_;
  char delimiter_;
  bool has_comments_;
  size_t at_ = 0;
  int64_t line_ = 1;
  int64_t comments_ = 0;
  std::map<size_t, int64_t> comment_like_;  // the first line with so many cells
};

}  // namespace halftone::data
