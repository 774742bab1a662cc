// The network and the receiver of a world: loses, delays, repeats, refuses, answers nonsense, forgets what it had.
//
// It keeps its own books of every request, so that the judges need not believe the sender. Times are the node's true
// milliseconds since the plan's start.

#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "platform/clock.h"
#include "tests/sim/plan.h"
#include "uploader/transport.h"

namespace nodemeter {

class FarEnd final : public Transport {
 public:
  explicit FarEnd(const Plan& plan) : plan_(plan) {}

  void at(std::int64_t now);  // Time moves on; what was on its way may arrive.
  void apply(const PlanOp& op);
  void calm();  // The end of all faults but rows that are refused for good.

  void begin(UploadRequest request) override;
  std::optional<UploadResponse> poll() override;
  void cancel() override { answer_.reset(); }

  // Rows by sequence number; repeats are the same bytes.
  using Rows = std::map<std::uint64_t, std::string>;
  [[nodiscard]] const Rows& rows() const { return rows_; }
  [[nodiscard]] const std::vector<std::string>& complaints() const { return complaints_; }
  [[nodiscard]] std::uint64_t acknowledged() const { return acknowledged_; }  // Highest that was ever said.
  [[nodiscard]] std::uint64_t requests() const { return requests_; }
  [[nodiscard]] bool refuses(std::uint64_t sequence) const { return refused_rows_.contains(sequence); }
  // A row may have been set aside rightly although it is acceptable now.
  [[nodiscard]] bool ever_refused(std::uint64_t sequence) const;
  [[nodiscard]] bool misses_any_below(std::uint64_t sequence) const;

 private:
  struct Spell {
    Op op;
    std::int64_t until;
    std::int64_t b;
  };
  struct Delayed {
    std::int64_t at;
    std::string body;
  };

  std::optional<UploadResponse> judge_rows(const std::string& body, std::uint64_t first, std::uint64_t last);
  void check(const UploadRequest& request, std::uint64_t first, std::uint64_t last);
  void store(const std::string& body);
  void answer(UploadResponse response, std::int64_t after);
  UploadResponse acknowledgement(std::uint64_t first, std::uint64_t last);
  bool meddle(const UploadRequest& request, const Spell& spell);
  void complain(const std::string& what);

  const Plan& plan_;
  std::int64_t now_ = 0;
  std::uint64_t requests_ = 0;
  std::vector<Spell> spells_;
  std::vector<Delayed> delayed_;
  std::vector<std::string> old_;  // Some bodies seen before.
  std::optional<std::pair<std::int64_t, UploadResponse>> answer_;
  Rows rows_;
  Rows backup_;
  std::set<std::uint64_t> refused_rows_;
  std::set<std::uint64_t> refused_alone_;
  std::map<std::string, std::string> bodies_;  // By token: a digest.
  std::map<std::uint64_t, std::string> seen_;  // Digest of every row that was ever shown, stored or not.
  std::uint64_t acknowledged_ = 0;
  std::vector<std::string> complaints_;
};

}  // namespace nodemeter
