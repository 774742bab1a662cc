// The command line of `registration` and `commerce`: options, what the configuration adds to them, and the verb.

#pragma once

#include <iosfwd>
#include <memory>
#include <optional>

namespace CLI {
class App;
}

namespace nodemeter {

class BusinessVerbs {
 public:
  // Adds its verbs to `app`, which must outlive the object.
  explicit BusinessVerbs(CLI::App& app);
  BusinessVerbs(const BusinessVerbs&) = delete;
  BusinessVerbs& operator=(const BusinessVerbs&) = delete;
  ~BusinessVerbs();

  // After parsing: runs the verb that was asked for, and gives its exit code. Nothing: it was none of these. Reads the
  // real clock and holds libcurl meanwhile: call it from main(), without other threads.
  std::optional<int> run(std::ostream& out, std::ostream& err);

 private:
  struct Lines;
  std::unique_ptr<Lines> lines_;
};

}  // namespace nodemeter
