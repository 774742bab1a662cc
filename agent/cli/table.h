// Text tables for people and CSV for spreadsheets. Pure.

#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nodemeter::cli {

struct Column {
  std::string title;
  bool right = false;  // Numbers stand to the right.
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // Cells are shown as they are: text from outside goes through display_text() first. Requires one per column.
  void add(std::vector<std::string> cells);

  // Aligned lines, the header first (bold if `colour`). No spaces at the end of a line.
  [[nodiscard]] std::string text(bool colour = false) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// What a person counts as characters: code points. Wide characters count once, so such a column may lean.
std::size_t width_of(std::string_view text);

// One field of RFC 4180. A field that a spreadsheet would take for a formula (it begins with = + - @, a tab or a
// carriage return) is shown with an apostrophe before it; that is for text only, so numbers go in as they are.
std::string csv_text(std::string_view value);

// Fields, already quoted, to a line with CR LF.
std::string csv_line(const std::vector<std::string>& fields);

}  // namespace nodemeter::cli
