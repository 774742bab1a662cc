#include "collectors/owned_source.h"

#include <atomic>
#include <set>
#include <utility>

#include "collectors/owners_file.h"
#include "platform/files.h"

namespace nodemeter {

namespace {

// What status has room for: the first fault, under the file's own name. The log has all of it.
std::string short_fault(const std::string& message, const std::filesystem::path& file) {
  const std::string first = message.substr(0, message.find('\n'));
  const std::string path = file.string();
  return first.rfind(path, 0) == 0 ? file.filename().string() + first.substr(path.size()) : first;
}

class OwnedSource final : public Source {
 public:
  OwnedSource(OwnersOptions options, std::unique_ptr<Source> inner, Log& log)
      : options_(std::move(options)), inner_(std::move(inner)), log_(log), watch_(options_.file) {}

  Status open() {
    Status loaded = load(options_.file);
    if (loaded || options_.kept.empty()) return loaded;
    const Status kept = load(options_.kept);
    if (!kept) return loaded;
    refuse(loaded.error(), "what it said before holds");
    return Done{};
  }

  Result<Sample> read_all() override {
    const bool asked = reload_.exchange(false);
    if (watch_.changed() || asked || unreadable_) reread();
    Result<Sample> sample = inner_->read_all();
    if (sample) overlay(*sample);
    return sample;
  }

  bool take_urgency() override {
    const bool urgent = inner_->take_urgency();  // Taken in any case.
    return reload_.load() || urgent;
  }

  void reload() override {
    reload_.store(true);
    inner_->reload();
  }

  [[nodiscard]] std::string description() const override { return inner_->description(); }
  [[nodiscard]] OwnersState owners_state() const override { return state_; }

 private:
  Status load(const std::filesystem::path& file) {
    const Result<std::string> text = read_file(file, kOwnersFileMax);
    if (!text) return text.error();
    Result<OwnersFile> owners = OwnersFile::parse(*text, file.string(), options_.patterns_allowed);
    if (!owners) return owners.error();
    owners_ = std::move(owners).value();
    state_.entries = owners_.size();
    state_.fault.clear();
    unreadable_ = false;
    if (file != options_.kept && !options_.kept.empty()) {
      const Status kept = replace_file(options_.kept, *text, true);
      if (!kept) log_.warning("the owners cannot be kept for a restart", {{"why", kept.error().message}});
    }
    return Done{};
  }

  void reread() {
    const Status loaded = load(options_.file);
    if (!loaded) return refuse(loaded.error(), "the owners before stay in force");
    log_.info("owners are read again", {{"file", options_.file.string()}, {"entries", std::to_string(state_.entries)}});
  }

  void refuse(const Error& error, const std::string& then) {
    unreadable_ = error.code != ErrorCode::kInvalidInput;  // Rights change without a trace in size and time.
    const std::string fault = short_fault(error.message, options_.file);
    if (std::exchange(state_.fault, fault) == fault) return;
    log_.error("the owners file cannot be used: " + then, {{"why", error.message}});
  }

  void overlay(Sample& sample) {
    std::set<VmId> conflicts;
    // An event may be all that is ever seen of a VM. One without an owner leaves it as it was, so it gets one only if
    // the file alone can tell.
    for (VmEvent& event : sample.events) {
      const OwnerEntry* const entry = owners_.find(event.vm, event.name);
      if (entry == nullptr || (!event.owner && !entry->subscription)) continue;
      const auto known = shown_.find(event.vm);
      const Owner shown = event.owner ? *event.owner : known == shown_.end() ? Owner{} : known->second;
      event.owner = overlaid(shown, *entry);
    }
    std::map<VmId, Owner> shown;
    for (VmReading& vm : sample.vms) {
      const OwnerEntry* const entry = owners_.find(vm.vm, vm.name);
      if (entry == nullptr) continue;
      if (is_conflict(vm.owner, *entry)) conflicts.insert(vm.vm);
      Owner owner = overlaid(vm.owner, *entry);
      shown.emplace(vm.vm, std::exchange(vm.owner, std::move(owner)));
    }
    shown_ = std::move(shown);
    tell(conflicts);
  }

  // Each conflict once, when it appears.
  void tell(const std::set<VmId>& conflicts) {
    for (const VmId& vm : conflicts) {
      if (conflicts_.contains(vm)) continue;
      log_.warning("the owners file and the hypervisor name different owners: the file decides", {{"vm", vm.text()}});
    }
    conflicts_ = conflicts;
    state_.conflicts = conflicts.size();
  }

  const OwnersOptions options_;
  const std::unique_ptr<Source> inner_;
  Log& log_;
  FileWatch watch_;
  std::atomic<bool> reload_{false};
  bool unreadable_ = false;  // At the last attempt.
  OwnersFile owners_;
  OwnersState state_;
  std::set<VmId> conflicts_;
  std::map<VmId, Owner> shown_;  // What the hypervisor said at the last sample, of VMs that have an entry.
};

}  // namespace

Result<std::unique_ptr<Source>> open_owned_source(const OwnersOptions& options, std::unique_ptr<Source> inner,
                                                  Log& log) {
  auto source = std::make_unique<OwnedSource>(options, std::move(inner), log);
  if (Status opened = source->open(); !opened) return opened.error();
  return std::unique_ptr<Source>(std::move(source));
}

}  // namespace nodemeter
