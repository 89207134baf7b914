#include "data/delimited.h"

namespace halftone::data {

void Records::pass_line_end() {
  if (at_end()) return;
  const bool pair = text_[at_] == '\r' && at_ + 1 < text_.size() && text_[at_ + 1] == '\n';
  at_ += pair ? 2 : 1;
  ++line_;
}

void Records::pass_spaces() {
  while (!at_end() && (text_[at_] == ' ' || (text_[at_] == '\t' && delimiter_ != '\t'))) ++at_;
}

void Records::pass_comment() {
  constexpr size_t kMostCounts = 64;  // different counts of cells that are kept
  ++comments_;
  size_t cells = 1;
  for (; !at_line_end(); ++at_)
    if (text_[at_] == delimiter_) ++cells;
  if (comment_like_.size() < kMostCounts) comment_like_.emplace(cells, line_);
  pass_line_end();
}

int64_t Records::comment_like(size_t cells) const {
  const auto it = comment_like_.find(cells);
  return it == comment_like_.end() ? 0 : it->second;
}

void Records::quoted_cell(Record& record, Cell& cell) {
  const auto wrong = [&](const char* why, bool open) {
    if (!record.wrong.empty()) return;
    record.wrong = why;
    record.wrong_line = open ? cell.line : line_;
    record.wrong_cell = record.count - 1;
    record.fatal = open;
  };
  cell.quoted = true;
  ++at_;
  while (true) {
    const size_t from = at_;
    while (!at_end() && text_[at_] != '"' && text_[at_] != '\n' && text_[at_] != '\r') ++at_;
    cell.text.append(text_.substr(from, at_ - from));
    if (at_end()) return wrong("the quote that begins here is never closed", true);
    if (text_[at_] != '"') {
      const size_t end = at_;
      pass_line_end();
      cell.text.append(text_.substr(end, at_ - end));
      continue;
    }
    ++at_;
    if (at_end() || text_[at_] != '"') break;
    cell.text += '"';
    ++at_;
  }
  pass_spaces();
  if (at_line_end() || text_[at_] == delimiter_) return;
  wrong("text follows the closing quote", false);
  while (!at_line_end() && text_[at_] != delimiter_) ++at_;
}

void Records::plain_cell(Cell& cell) {
  const size_t from = at_;
  while (!at_line_end() && text_[at_] != delimiter_) ++at_;
  std::string_view text = text_.substr(from, at_ - from);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  cell.text.assign(text);
}

bool Records::next(Record& record) {
  record.count = 0;
  record.wrong.clear();
  record.fatal = false;
  while (true) {
    if (at_end()) return false;
    if (has_comments_ && text_[at_] == '#') {
      pass_comment();
      continue;
    }
    pass_spaces();
    if (at_end()) return false;
    if (!at_line_end()) break;
    pass_line_end();
  }
  record.line = line_;
  while (true) {
    if (record.count == kMostCells) {
      record.wrong = "the line has more cells than are read";
      record.wrong_line = line_;
      record.wrong_cell = record.count;
      record.fatal = true;
      return true;
    }
    if (record.count == record.cells.size()) record.cells.emplace_back();
    Cell& cell = record.cells[record.count++];
    cell.text.clear();
    cell.quoted = false;
    pass_spaces();
    cell.line = line_;
    if (!at_end() && text_[at_] == '"') {
      quoted_cell(record, cell);
    } else {
      plain_cell(cell);
    }
    if (at_line_end()) break;
    ++at_;  // the delimiter
  }
  pass_line_end();
  return true;
}

}  // namespace halftone::data
