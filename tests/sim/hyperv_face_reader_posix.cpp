#include "tests/sim/hyperv_face.h"

namespace nodemeter {

namespace {

class FaceReader final : public HypervReader {
 public:
  FaceReader(std::shared_ptr<HypervFace::Host> host, const Clock& clock) : host_(std::move(host)), clock_(clock) {}

  Result<Rows> rows(const std::vector<WmiQuery>& queries) override {
    if (!host_->service) return Error{ErrorCode::kUnavailable, "the simulated WMI is away"};
    Rows rows;
    rows.asked = rows.answered = clock_.now().monotonic;
    for (const WmiQuery& query : queries) rows.tables[query.class_name] = host_->tables[query.class_name];
    return rows;
  }
  Result<Counters> counters() override {
    if (!host_->counters) return Error{ErrorCode::kUnavailable, "the simulated counters are away"};
    Counters counters;
    counters.asked = counters.answered = clock_.now().monotonic;
    counters.columns = host_->columns;
    return counters;
  }
  std::map<std::string, std::uint64_t> disk_sizes(const std::vector<std::string>& paths) override {
    std::map<std::string, std::uint64_t> sizes;
    for (const std::string& path : paths) {
      if (const auto found = host_->sizes.find(path); found != host_->sizes.end()) sizes.insert(*found);
    }
    return sizes;
  }

 private:
  const std::shared_ptr<HypervFace::Host> host_;
  const Clock& clock_;
};

}  // namespace

std::unique_ptr<HypervReader> open_face_reader(std::shared_ptr<HypervFace::Host> host, const Clock& clock) {
  return std::make_unique<FaceReader>(std::move(host), clock);
}

}  // namespace nodemeter
