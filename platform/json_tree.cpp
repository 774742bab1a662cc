#include "platform/json_tree.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "platform/text.h"

namespace nodemeter {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kDepthMax = 16;
constexpr std::size_t kNameShownMax = 64;

// Where the parser is: at the last character that it has read. Behind a number that is the one after it.
struct Position {
  const char* counted;
  const char* at;
  std::uint32_t counted_line = 1;

  std::uint32_t line() {
    counted_line += static_cast<std::uint32_t>(std::count(counted, at, '\n'));
    counted = at;
    return counted_line;
  }
};

// Reads the text, and keeps the position up to date.
struct Cursor {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* next;
  Position* position;

  reference operator*() const {
    position->at = next;
    return *next;
  }
  Cursor& operator++() {
    ++next;
    return *this;
  }
  Cursor operator++(int) {
    const Cursor before = *this;
    ++next;
    return before;
  }
  friend bool operator!=(const Cursor& a, const Cursor& b) { return a.next != b.next; }
};

class TreeBuilder final : public nlohmann::json_sax<Json> {
 public:
  TreeBuilder(Position& position, std::vector<ConfigFault>& faults) : position_(position), faults_(faults) {}

  bool null() override { return add(JsonTree::Kind::kNull, ""); }
  bool boolean(bool value) override { return add(JsonTree::Kind::kFlag, value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return add(JsonTree::Kind::kNumber, std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return add(JsonTree::Kind::kNumber, std::to_string(value)); }
  bool number_float(number_float_t, const string_t& written) override { return add(JsonTree::Kind::kNumber, written); }
  bool string(string_t& value) override { return add(JsonTree::Kind::kText, value); }
  bool binary(binary_t&) override { return false; }  // JSON has none.

  bool start_object(std::size_t) override { return open(JsonTree::Kind::kObject); }
  bool start_array(std::size_t) override { return open(JsonTree::Kind::kList); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    JsonTree value;
    value.line = position_.line();
    value.name = std::move(name);
    open_.back().items.push_back(std::move(value));
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    faults_.push_back({position_.line(), "", "this is not JSON"});
    return false;
  }

  JsonTree take() { return std::move(root_); }

 private:
  bool add(JsonTree::Kind kind, std::string text) {
    JsonTree value;
    value.kind = kind;
    value.line = position_.line();
    value.text = std::move(text);
    put(std::move(value));
    return true;
  }

  bool open(JsonTree::Kind kind) {
    if (open_.size() == kDepthMax) {
      faults_.push_back({position_.line(), "", "more than " + std::to_string(kDepthMax) + " brackets in each other"});
      return false;
    }
    JsonTree value;
    value.kind = kind;
    value.line = position_.line();
    open_.push_back(std::move(value));
    return true;
  }

  bool close() {
    JsonTree value = std::move(open_.back());
    open_.pop_back();
    find_repeated(value);
    put(std::move(value));
    return true;
  }

  // Sorted, because a file may have many thousand members.
  void find_repeated(const JsonTree& object) {
    if (object.kind != JsonTree::Kind::kObject) return;
    std::vector<const JsonTree*> members;
    for (const JsonTree& member : object.items) members.push_back(&member);
    std::stable_sort(members.begin(), members.end(),
                     [](const JsonTree* a, const JsonTree* b) { return a->name < b->name; });
    for (std::size_t i = 1; i < members.size(); ++i) {
      if (members[i]->name != members[i - 1]->name) continue;
      faults_.push_back({members[i]->line, display_text(members[i]->name, kNameShownMax),
                         "is given twice; also in line " + std::to_string(members[i - 1]->line)});
    }
  }

  void put(JsonTree value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().kind == JsonTree::Kind::kList) {
      open_.back().items.push_back(std::move(value));
    } else {
      JsonTree& member = open_.back().items.back();  // Whose name came before.
      value.line = member.line;
      value.name = std::move(member.name);
      member = std::move(value);
    }
  }

  Position& position_;
  std::vector<ConfigFault>& faults_;
  std::vector<JsonTree> open_;
  JsonTree root_;
};

}  // namespace

const JsonTree* JsonTree::find(std::string_view member) const {
  if (kind != Kind::kObject) return nullptr;
  const auto found = std::find_if(items.begin(), items.end(), [&](const JsonTree& m) { return m.name == member; });
  return found == items.end() ? nullptr : &*found;
}

std::optional<JsonTree> parse_json_tree(std::string_view text, std::vector<ConfigFault>& faults) {
  Position position{text.data(), text.data()};
  TreeBuilder builder(position, faults);
  const std::size_t before = faults.size();
  const Cursor begin{text.data(), &position};
  const Cursor end{text.data() + text.size(), &position};
  const bool parsed = Json::sax_parse(begin, end, &builder);
  if (!parsed || faults.size() != before) return std::nullopt;
  return builder.take();
}

void find_unknown_members(const JsonTree& object, const std::string& where, const ConfigWords& known,
                          std::vector<ConfigFault>& faults) {
  for (const JsonTree& member : object.items) {
    if (std::find(known.begin(), known.end(), member.name) != known.end()) continue;
    const std::optional<std::string> near = nearest_word(member.name, known);
    faults.push_back({member.line, (where.empty() ? "" : where + ".") + display_text(member.name, kNameShownMax),
                      "is not known here" + (near ? "; did you mean \"" + *near + "\"?" : std::string())});
  }
}

Error faults_error(const std::string& file, std::vector<ConfigFault> faults) {
  std::stable_sort(faults.begin(), faults.end(),
                   [](const ConfigFault& a, const ConfigFault& b) { return a.line < b.line; });
  std::string text;
  for (const ConfigFault& fault : faults) text += (text.empty() ? "" : "\n") + fault_text(file, fault);
  return Error{ErrorCode::kInvalidInput, text};
}

}  // namespace nodemeter
