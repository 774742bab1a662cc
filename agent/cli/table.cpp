#include "agent/cli/table.h"

#include <algorithm>

#include "platform/contract.h"

namespace nodemeter::cli {

std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
}

void Table::add(std::vector<std::string> cells) {
  NM_ASSERT(cells.size() == columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::text(bool colour) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = width_of(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, width_of(row[i]));
    widths.push_back(width);
  }
  const auto cell = [&](std::size_t i, const std::string& value) {
    const std::string space(widths[i] - width_of(value), ' ');
    return columns_[i].right ? space + value : value + space;
  };
  const auto finish = [](std::string line) {
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
  };
  std::string header;
  for (std::size_t i = 0; i < columns_.size(); ++i) header += (i == 0 ? "" : "  ") + cell(i, columns_[i].title);
  header = finish(header);
  std::string text = (colour ? "\x1b[1m" + header + "\x1b[0m" : header) + "\n";
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += (i == 0 ? "" : "  ") + cell(i, row[i]);
    text += finish(line) + "\n";
  }
  return text;
}

std::string csv_text(std::string_view value) {
  std::string safe;
  // Leading spaces do not hide a formula: some spreadsheets trim them.
  const std::size_t first = value.find_first_not_of(' ');
  if (first != std::string_view::npos && std::string_view("=+-@\t\r").find(value[first]) != std::string_view::npos) {
    safe = "'";
  }
  safe += value;
  if (safe.find_first_of(",\"\r\n\t ") == std::string::npos) return safe;
  std::string quoted = "\"";
  for (const char c : safe) {
    if (c == '"') quoted.push_back('"');
    quoted.push_back(c);
  }
  return quoted + "\"";
}

std::string csv_line(const std::vector<std::string>& fields) {
  std::string line;
  for (std::size_t i = 0; i < fields.size(); ++i) line += (i == 0 ? "" : ",") + fields[i];
  return line + "\r\n";
}

}  // namespace nodemeter::cli
