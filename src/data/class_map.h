// One numbering of classes by name, for training, validation and evaluation alike.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::data {

struct ClassMap {
  std::vector<std::string> names;  // class i is names[i]; empty: there is no map
  std::string source;              // where it comes from, for messages
  bool asked = false;              // by --classes-file: it names the classes of labels that are numbers too
  bool empty() const { return names.empty(); }
};

// Names (each once) in the order in which classes are numbered when nothing else says so: byte order, or,
// when every name is a number, by value (2 before 10; equal ones in byte order).
std::vector<std::string> in_class_order(std::vector<std::string> names);
// Whether every name is a number and their order by value is not their byte order.
bool counts_as_numbers(const std::vector<std::string>& in_order);

// Whether every name is a whole number, and not all are their own places: labels that are numbers are names
// then.
bool are_other_numbers(const std::vector<std::string>& names);

// One name a line, class 0 first. UTF-8, or UTF-16 with a byte order mark; lines end in LF, CR LF or CR;
// empty lines at the file's end are ignored. Errors, by line: an empty line, a name twice (blanks around it
// apart), a carriage return within a line; no name; JSON.
ClassMap read_class_file(const std::string& path);
std::string class_file_text(const std::vector<std::string>& names);

// A JSON array of names, and back; empty when `text` is no such array.
std::string to_json(const std::vector<std::string>& names);
std::vector<std::string> names_from_json(std::string_view text);
// What exporters write into a file's metadata: a JSON array, a JSON object {"0": "name", ...} or the same as
// Python prints it, {0: 'name', ...}. Empty when it is none of these, or its numbers are not 0, 1, 2, ...:
// then `why` says so.
std::vector<std::string> names_from_metadata(std::string_view text, std::string* why = nullptr);

// A few of the names, for messages: "a, b, c, ... (12 altogether)".
std::string some_of(const std::vector<std::string>& names, size_t most = 10);

}  // namespace halftone::data
