#include "tests/sim/hyperv_face.h"

// The stand-ins need windows.h before anything else of Windows.
#include "collectors/pdh_counters_windows.h"
#include "collectors/wmi_session_windows.h"
#include "tests/windows/fake_wmi.h"
#include "tests/windows/pdh_in_place.h"

namespace nodemeter {

namespace {

constexpr std::uint32_t kPdhInvalidData = 0xC0000BC6;

// Of the whole process, as COM's class objects are. Answers for the host that was shown last.
class StandIns {
 public:
  static StandIns& get() {
    static StandIns all;
    return all;
  }
  void show(std::shared_ptr<HypervFace::Host> host) {
    const std::lock_guard lock(wmi_.mutex);
    host_ = std::move(host);
    wmi_.connects = host_->service ? S_OK : static_cast<HRESULT>(RPC_E_DISCONNECTED);
    if (host_->counters) {
      fake::PdhInPlace::show(host_->columns);
    } else {
      fake::PdhInPlace::refuse(kPdhInvalidData);
    }
  }

 private:
  StandIns() : in_place_(wmi_) {
    wmi_.rows = [this](const std::string& class_name) -> std::optional<WmiRows> {
      if (class_name == "Msvm_ImageManagementService") {
        WmiRow service;
        service.set("__PATH", "the service");
        return WmiRows{service};
      }
      return host_->tables[class_name];
    };
    wmi_.disk_settings = [this](const std::string& path) -> std::optional<std::string> {
      const auto found = host_->sizes.find(path);
      if (found == host_->sizes.end()) return std::nullopt;
      return fake::disk_settings_of(found->second);
    };
  }

  fake::Wmi wmi_;
  const fake::InPlace in_place_;
  const fake::PdhInPlace pdh_;
  std::shared_ptr<HypervFace::Host> host_;
};

class ComReader final : public HypervReader {
 public:
  ComReader(std::shared_ptr<HypervFace::Host> host, const Clock& clock) : host_(std::move(host)), clock_(clock) {}

  Result<Rows> rows(const std::vector<WmiQuery>& queries) override {
    StandIns::get().show(host_);
    if (!host_->service) session_.reset();
    if (Status connected = connect(); !connected) return connected.error();
    Rows rows;
    rows.asked = rows.answered = clock_.now().monotonic;
    for (const WmiQuery& query : queries) {
      Result<WmiRows> found = session_->rows(query);
      if (!found) return found.error();
      rows.tables[query.class_name] = std::move(*found);
    }
    return rows;
  }
  Result<Counters> counters() override {
    StandIns::get().show(host_);
    if (!query_) {
      Result<std::unique_ptr<CounterQuery>> opened = open_pdh_counters(hyperv_counter_paths());
      if (!opened) return opened.error();
      query_ = std::move(*opened);
    }
    Counters counters;
    counters.asked = counters.answered = clock_.now().monotonic;
    Result<std::vector<CounterColumn>> columns = query_->read();
    if (!columns) return columns.error();
    counters.columns = std::move(*columns);
    return counters;
  }
  std::map<std::string, std::uint64_t> disk_sizes(const std::vector<std::string>& paths) override {
    StandIns::get().show(host_);
    std::map<std::string, std::uint64_t> sizes;
    for (std::size_t i = 0; connect() && i < paths.size(); ++i) {
      const Result<std::string> settings = session_->virtual_disk_settings(paths[i]);
      const auto bytes = settings ? parse_virtual_disk_size(*settings) : std::nullopt;
      if (bytes) sizes.emplace(paths[i], *bytes);
    }
    return sizes;
  }

 private:
  Status connect() {
    if (session_) return Done{};
    Result<std::unique_ptr<WmiSession>> opened = open_wmi_session(kHypervNamespace);
    if (!opened) return opened.error();
    session_ = std::move(*opened);
    return Done{};
  }

  const std::shared_ptr<HypervFace::Host> host_;
  const Clock& clock_;
  std::unique_ptr<WmiSession> session_;
  std::unique_ptr<CounterQuery> query_;
};

}  // namespace

std::unique_ptr<HypervReader> open_face_reader(std::shared_ptr<HypervFace::Host> host, const Clock& clock) {
  return std::make_unique<ComReader>(std::move(host), clock);
}

}  // namespace nodemeter
