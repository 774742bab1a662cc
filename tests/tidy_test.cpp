// Goal: the rules of this repository that a compiler does not check.
// Method: read every tracked source as text. Layers include downwards only; a vendor stays in its files; every test and
// fuzz target is in the build by its name; nothing unfinished or local to one machine is left behind.

#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct Source {
  std::string path;  // Relative to the root, with forward slashes.
  std::string text;
};

std::vector<Source> sources() {
  std::vector<Source> all;
  const fs::path root = SOURCE_ROOT;
  for (const char* folder : {"platform", "collectors", "store", "uploader", "agent", "tests"}) {
    for (const auto& file : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = file.path().extension().string();
      if (extension != ".cpp" && extension != ".h") continue;
      std::ostringstream text;
      text << std::ifstream(file.path()).rdbuf();
      all.push_back({fs::relative(file.path(), root).generic_string(), text.str()});
    }
  }
  std::sort(all.begin(), all.end(), [](const Source& a, const Source& b) { return a.path < b.path; });
  return all;
}

std::vector<std::string> includes(const Source& source) {
  static const std::regex kInclude("^#include [<\"]([^>\"]+)[>\"]", std::regex::multiline);
  std::vector<std::string> found;
  for (std::sregex_iterator it(source.text.begin(), source.text.end(), kInclude), end; it != end; ++it) {
    found.push_back((*it)[1]);
  }
  return found;
}

std::string layer_of(const std::string& path) { return path.substr(0, path.find('/')); }

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) all += line + "\n";
  return all;
}

// A page that decides cases: tables whose first cell is the case and whose last one names its tests, separated by ";".
struct DecidedCases {
  std::set<std::string> cases;
  std::vector<std::string> faults;
};

DecidedCases decided_cases(const std::string& path) {
  static const std::regex kTestName("TEST_CASE\\(\\s*\"((?:[^\"\\\\]|\\\\.)*)\"");
  std::set<std::string> tests;
  for (const Source& source : sources()) {
    if (layer_of(source.path) != "tests") continue;
    for (std::sregex_iterator it(source.text.begin(), source.text.end(), kTestName), end; it != end; ++it) {
      tests.insert((*it)[1]);
    }
  }
  DecidedCases decided;
  std::ifstream page(fs::path(SOURCE_ROOT) / path);
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("| ", 0) != 0 || line.rfind(" test |") == line.size() - 7) continue;
    decided.cases.insert(line.substr(2, line.find(" |", 2) - 2));
    const std::string row = line.substr(0, line.size() - 1);
    std::string names = row.substr(row.rfind('|') + 1);
    if (names.find_first_not_of(' ') == std::string::npos) decided.faults.push_back("no test: " + line);
    for (std::size_t from = 0, to = 0; to != std::string::npos; from = to + 1) {
      to = names.find(';', from);
      std::string name = names.substr(from, to == std::string::npos ? to : to - from);
      name.erase(0, name.find_first_not_of(' '));
      name.erase(name.find_last_not_of(' ') + 1);
      if (tests.count(name) == 0) decided.faults.push_back("no such test: " + name);
    }
  }
  return decided;
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(fs::path(SOURCE_ROOT) / path).rdbuf();
  return text.str();
}

// Everything in `found` as text, so that a failure names each offender.
#define CHECK_NONE(found) CHECK(joined(found) == "")

}  // namespace

TEST_CASE("includes go down the layers only", "[tidy]") {
  const std::map<std::string, std::set<std::string>> allowed{
      {"platform", {"platform"}},
      {"collectors", {"platform", "collectors"}},
      {"store", {"platform", "store"}},
      {"uploader", {"platform", "store", "uploader"}},
      {"agent", {"platform", "collectors", "store", "uploader", "agent"}},
  };
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    const auto rule = allowed.find(layer_of(source.path));
    if (rule == allowed.end()) continue;
    for (const std::string& include : includes(source)) {
      const std::string layer = layer_of(include);
      const bool ours = allowed.count(layer) > 0 || layer == "tests";
      if (ours && rule->second.count(layer) == 0) found.push_back(source.path + " includes " + include);
      // The aggregator is the far end of the wire: nothing on the node knows it.
      const bool aggregator = include.rfind("uploader/aggregator/", 0) == 0;
      if (aggregator && source.path.rfind("uploader/aggregator/", 0) != 0)
        found.push_back(source.path + " includes " + include);
    }
  }
  CHECK_NONE(found);
}

TEST_CASE("a vendor header stays in its files", "[tidy]") {
  const std::vector<std::pair<std::string, std::string>> homes{
      {"lmdb.h", "store/lmdb_environment.cpp"},
      {"msgpack.hpp", "store/entry_codec.cpp"},
      {"curl/curl.h", "uploader/(curl_(transport|global).*|aggregator/web_request.cpp)"},
      {"libvirt/libvirt.h", "collectors/libvirt_[a-z_]*\\.cpp"},
      {"libvirt/virterror.h", "collectors/libvirt_[a-z_]*\\.cpp"},
      {"sodium.h", "platform/digest.cpp"},
      {"xxhash.h", "platform/checksum.cpp"},
      {"httplib.h", "uploader/aggregator/server.*"},
      {"toml++/toml.h", "platform/config_text.cpp"},
      {"CLI/CLI.hpp", "(agent/cli/[a-z_]*.cpp|uploader/aggregator/(main|business_verbs).cpp)"},
  };
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    if (layer_of(source.path) == "tests") continue;
    for (const std::string& include : includes(source)) {
      for (const auto& [header, home] : homes) {
        if (include == header && !std::regex_match(source.path, std::regex(home)))
          found.push_back(source.path + " includes " + include);
      }
      if (include.rfind("boost/interprocess", 0) == 0 && source.path.rfind("platform/shared_region", 0) != 0) {
        found.push_back(source.path + " includes " + include);
      }
      const bool header_file = source.path.ends_with(".h");
      const bool vendor = include.find("lmdb") == 0 || include.find("msgpack") == 0 || include.find("curl/") == 0 ||
                          include.find("libvirt/") == 0 || include.find("windows.h") == 0;
      if (header_file && vendor) found.push_back(source.path + " hands " + include + " to its includers");
    }
  }
  CHECK_NONE(found);
}

TEST_CASE("an installed header includes installed headers only", "[tidy]") {
  const std::string packaging = text_of("platform/packaging.cmake");
  const std::size_t begin = packaging.find("set(nodemeter_headers");
  REQUIRE(begin != std::string::npos);
  std::istringstream list(packaging.substr(begin, packaging.find(')', begin) - begin));
  std::set<std::string> installed;
  for (std::string word; list >> word;) installed.insert(word);
  REQUIRE(installed.contains("agent/agent.h"));
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    if (!installed.contains(source.path)) continue;
    for (const std::string& include : includes(source)) {
      const bool own = fs::exists(fs::path(SOURCE_ROOT) / include);
      if (own && !installed.contains(include)) found.push_back(source.path + " includes " + include);
    }
  }
  CHECK_NONE(found);
}

TEST_CASE("every test file is named so that the build picks it up", "[tidy]") {
  const std::regex in_build(
      "tests/(main|tidy_test)\\.cpp|tests/[a-z_]+/[a-z_0-9]+(_test|_bench|_peer|_fuzz|_main|_conformance)\\.cpp|tests/"
      "(sim|corruption|crash|cli|agent|uploader|aggregator|store|collectors|platform)/[a-z_0-9]+\\.cpp");
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    if (layer_of(source.path) != "tests" || source.path.ends_with(".h")) continue;
    if (!std::regex_match(source.path, in_build)) found.push_back(source.path);
  }
  CHECK_NONE(found);
}

TEST_CASE("nothing unfinished, local or platform-bound is left in shared code", "[tidy]") {
  const std::regex local("(^|[^A-Za-z0-9_.])/(work|root|home)/[A-Za-z]");
  const std::regex open_end(
      "\\b(FI[X]ME|XX[X]|HA[C]K)\\b|TO[D]O(?!\\((soon|perf|someday)\\))");  // Does not find itself.
  // Lost wake-ups with some C++ libraries: mutex and condition_variable instead.
  const std::regex lost("std::(counting_semaphore|binary_semaphore|latch|barrier|condition_variable_any)");
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    if (std::regex_search(source.text, local)) found.push_back(source.path + " has a path of one machine");
    if (std::regex_search(source.text, open_end)) found.push_back(source.path + " has an open end");
    if (std::regex_search(source.text, lost)) found.push_back(source.path + " uses a primitive that loses wake-ups");
    const bool ours = layer_of(source.path) != "tests";
    if (ours && source.text.find("#ifdef _WIN32") != std::string::npos)
      found.push_back(source.path + " chooses a platform by #ifdef");
    if (ours && source.text.find("std::cout") != std::string::npos &&
        source.path.find("main.cpp") == std::string::npos) {
      found.push_back(source.path + " prints to standard output");
    }
  }
  CHECK_NONE(found);
}

TEST_CASE("every case and every mark that METERING.md decides names tests, and they exist", "[tidy]") {
  static const std::regex kMark("inline constexpr std::uint32_t k[A-Za-z]+ = 1u << ([0-9]+);");
  const DecidedCases page = decided_cases("agent/METERING.md");
  std::vector<std::string> found = page.faults;
  CHECK(page.cases.size() > 90);
  const std::string marks = text_of("store/entry.h");
  for (std::sregex_iterator it(marks.begin(), marks.end(), kMark), end; it != end; ++it) {
    if (page.cases.count((*it)[1]) == 0) found.push_back("mark without a row: bit " + (*it)[1].str());
  }
  CHECK_NONE(found);
}

TEST_CASE("every answer and every exception code that ANSWERS.md decides names tests, and they exist", "[tidy]") {
  static const std::regex kCode("\\{([0-9]+), Verdict::");
  static const std::regex kNumber("[0-9]+");
  const DecidedCases page = decided_cases("uploader/ANSWERS.md");
  std::vector<std::string> found = page.faults;
  CHECK(page.cases.size() > 40);
  std::set<std::string> codes;
  for (const std::string& name : page.cases) {
    if (name.rfind("code ", 0) != 0) continue;
    for (std::sregex_iterator it(name.begin(), name.end(), kNumber), end; it != end; ++it) codes.insert(it->str());
  }
  const std::string source = text_of("uploader/answer.cpp");
  std::size_t decided = 0;
  for (std::sregex_iterator it(source.begin(), source.end(), kCode), end; it != end; ++it, ++decided) {
    if (codes.count((*it)[1]) == 0) found.push_back("exception code without a row: " + (*it)[1].str());
  }
  CHECK(decided > 50);
  CHECK_NONE(found);
}

TEST_CASE("every request, argument and error of USAGE_API.md names tests, and they exist", "[tidy]") {
  const DecidedCases page = decided_cases("uploader/aggregator/USAGE_API.md");
  CHECK(page.cases.size() > 35);
  CHECK_NONE(page.faults);
}

TEST_CASE("vcpkg.json is JSON, of this version, and has what the build looks for in it", "[tidy]") {
  const auto manifest = nlohmann::json::parse(text_of("vcpkg.json"), nullptr, false);
  REQUIRE(manifest.is_object());
  CHECK(text_of("CMakeLists.txt").find("VERSION " + manifest.at("version").get<std::string>() + " ") !=
        std::string::npos);
  std::set<std::string> ports;
  for (const auto& dependency : manifest.at("dependencies")) {
    ports.insert(dependency.is_string() ? dependency.get<std::string>() : dependency.at("name").get<std::string>());
  }
  CHECK(ports.size() == manifest.at("dependencies").size());
  // The names under which CMake finds a port, as far as they are not the port's own.
  const std::map<std::string, std::string> port_of{{"CURL", "curl"},
                                                   {"EXPAT", "expat"},
                                                   {"ZLIB", "zlib"},
                                                   {"unofficial-lmdb", "lmdb"},
                                                   {"unofficial-sodium", "libsodium"}};
  static const std::regex kPackage("find_package\\(([A-Za-z-]+)");
  const std::string build = text_of("platform/windows/dependencies.cmake");
  std::vector<std::string> found;
  for (std::sregex_iterator it(build.begin(), build.end(), kPackage), end; it != end; ++it) {
    const std::string name = (*it)[1];
    if (name == "nodemeter-dependencies") continue;  // With mingw-w64.
    const auto port = port_of.find(name);
    if (ports.count(port == port_of.end() ? name : port->second) == 0) found.push_back(name + " is in no port");
  }
  CHECK_NONE(found);
}

TEST_CASE("every header opens with its reason", "[tidy]") {
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    if (layer_of(source.path) == "tests" || !source.path.ends_with(".h")) continue;
    if (source.text.rfind("//", 0) != 0) found.push_back(source.path);
  }
  CHECK_NONE(found);
}

TEST_CASE("large files do not grow", "[tidy]") {
  // A ratchet, not a wall: whoever needs more looks for the seam first, then raises the number with a reason.
  constexpr long kLinesMax = 700;
  std::vector<std::string> found;
  for (const Source& source : sources()) {
    const long lines = std::count(source.text.begin(), source.text.end(), '\n');
    if (lines > kLinesMax) found.push_back(source.path + " has " + std::to_string(lines) + " lines");
  }
  CHECK_NONE(found);
}
