// A Hyper-V host in one library, for a program that knows nothing of it: it lies beside nodemeter.exe as pdh.dll, and
// is registered as COM's WbemLocator.
//
// Three machines that work evenly. Time begins when the library is asked first, which it notes in the file "began"
// beside it (Unix time in milliseconds), so that time goes on when the program is ended and started again. A pass over
// the counters freezes it: every counter of a machine is then a fixed multiple of the machine's own steps of 10 ms,
// which is what the test (hyperv_service_main.py) holds against the records.
//
//   web   runs since long before    2 vcores, disk, network
//   late  created at 8 s            1 vcore,  disk
//   db    turned off at 15 s        4 vcores, disk

#include <fstream>

#include "tests/collectors/hyperv_host.h"
#include "tests/windows/fake_wmi.h"
#include "tests/windows/pdh_in_place.h"

extern "C" void fake_pdh_host(const nodemeter::FakePdhHost* host);

namespace nodemeter {

namespace {

constexpr std::int64_t kStepMs = 10;
constexpr std::int64_t kWebBeganMs = -3'600'000;
constexpr std::int64_t kDbBeganMs = -1'000'000;
constexpr std::int64_t kLateCreatedMs = 8'000;
constexpr std::int64_t kDbOffMs = 15'000;
constexpr std::uint64_t kTicksPerStep = 50'000;  // Half of the 100 000 that a processor has in a step.

const VmId kWeb = FakeHost::id(1);
const VmId kLate = FakeHost::id(2);
const VmId kDb = FakeHost::id(3);

HMODULE this_library() {
  HMODULE module = nullptr;
  ::GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                       reinterpret_cast<LPCWSTR>(&this_library), &module);
  return module;
}

std::int64_t utc_ms() {
  return std::chrono::duration_cast<Milliseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::int64_t when_it_began() {
  std::wstring path(32'768, L'\0');
  path.resize(::GetModuleFileNameW(this_library(), path.data(), static_cast<DWORD>(path.size())));
  const auto file = std::filesystem::path(path).parent_path() / "began";
  std::int64_t began = 0;
  if (!(std::ifstream(file) >> began)) {
    began = utc_ms();
    std::ofstream(file) << began;
  }
  return began;
}

// Any thread: COM's and PDH's calls come from several.
class Node {
 public:
  static Node& get() {
    static Node node;
    return node;
  }

  fake::Wmi& wmi() { return wmi_; }

  void pass_over_counters() {
    const std::lock_guard lock(mutex_);
    move_on();
    show_columns();
  }

 private:
  Node() : began_(when_it_began()), host_(clock_) {
    const auto owned_by = [](char digit) {
      const std::string id = std::string(8, digit) + "-0000-4000-8000-000000000000";
      return R"({"subscription": ")" + id + R"(", "name": "from the notes"})";
    };
    host_.vms[kWeb] = {"web", Power::kRunning, 101, kWebBeganMs, 2, "C:\\ClusterStorage\\Volume1\\web.vhdx"};
    host_.vms[kWeb].has_nic = true;
    host_.vms[kWeb].notes = owned_by('a');
    host_.vms[kDb] = {"db", Power::kRunning, 103, kDbBeganMs, 4, "C:\\ClusterStorage\\Volume1\\db.vhdx"};
    host_.vms[kDb].notes = owned_by('b');
    now_ms_ = utc_ms() - began_;
    if (now_ms_ >= kLateCreatedMs) create_late();  // Told to an agent that ran then.
    if (now_ms_ >= kDbOffMs) turn_off_db();
    move_on();
    show_columns();
    wmi_.rows = [this](const std::string& class_name) { return rows(class_name); };
    wmi_.disk_settings = [](const std::string&) { return std::optional(fake::disk_settings_of(10 << 20)); };
  }

  void show_columns() { fake::PdhInPlace::show(host_.counters()->columns); }

  void create_late() {
    host_.vms[kLate] = {"late", Power::kRunning, 102, kLateCreatedMs, 1, "C:\\ClusterStorage\\Volume1\\late.vhdx"};
  }
  void turn_off_db() {
    host_.vms[kDb].power = Power::kOff;
    host_.vms[kDb].state_changed = "2";
  }

  void move_on() {
    now_ms_ = utc_ms() - began_;
    clock_.ms = now_ms_;
    for (auto& [id, vm] : host_.vms) {
      const auto steps = static_cast<std::uint64_t>((now_ms_ - vm.began_ms) / kStepMs);
      vm.ticks = steps * kTicksPerStep;
      vm.disk = {4096 * steps, 8192 * steps, steps, 2 * steps};
      vm.nic = {1500 * steps, 3000 * steps, 3 * steps, 4 * steps};
    }
  }

  // Called under the mutex of `wmi_`.
  std::optional<WmiRows> rows(const std::string& class_name) {
    const std::lock_guard lock(mutex_);
    move_on();
    if (now_ms_ >= kLateCreatedMs && !host_.vms.contains(kLate)) {
      create_late();
      wmi_.notices.push_back({WmiNotice::Kind::kCreated, host_.row(kLate), {}});
    }
    if (now_ms_ >= kDbOffMs && host_.vms[kDb].power != Power::kOff) {
      turn_off_db();
      wmi_.notices.push_back({WmiNotice::Kind::kChanged, host_.row(kDb), {}});
    }
    wmi_.changed.notify_all();
    if (class_name == "Msvm_ImageManagementService") {
      WmiRow service;
      service.set("__PATH", "the service");
      return WmiRows{service};
    }
    return host_.rows({{class_name, {}, ""}})->tables[class_name];
  }

  std::mutex mutex_;
  const std::int64_t began_;
  std::int64_t now_ms_ = 0;
  HandClock clock_;
  FakeHost host_;
  fake::Wmi wmi_;
};

const FakePdhHost kHost = {[] {
                             Node::get().pass_over_counters();
                             return fake::kPdhHost.collected();
                           },
                           [](const wchar_t* path, std::uint32_t& type) {
                             (void)Node::get();  // Shows what there is.
                             return fake::kPdhHost.offered(path, type);
                           },
                           fake::kPdhHost.count, fake::kPdhHost.value, fake::kPdhHost.provider};

}  // namespace

}  // namespace nodemeter

extern "C" HRESULT WINAPI DllGetClassObject(REFCLSID id, REFIID interface_id, void** object) {
  if (!IsEqualCLSID(id, CLSID_WbemLocator)) return CLASS_E_CLASSNOTAVAILABLE;
  auto* const factory = new nodemeter::fake::Factory(nodemeter::Node::get().wmi());
  const HRESULT result = factory->QueryInterface(interface_id, object);
  factory->Release();
  return result;
}

extern "C" BOOL WINAPI DllMain(HINSTANCE, DWORD reason, void*) {
  if (reason == DLL_PROCESS_ATTACH) fake_pdh_host(&nodemeter::kHost);
  return TRUE;
}
