// Goal: rows of Hyper-V's classes become machines with what they are given, and nothing else becomes a machine.
// Method: rows made from the documented classes, with values as seen on real hosts.

#include <catch2/catch.hpp>

#include "collectors/hyperv_inventory.h"

using namespace nodemeter;

namespace {

constexpr const char* kGuid = "4AB43180-FCFA-46FD-A5A0-55069A2AA367";

WmiRow machine(const std::string& state) {
  WmiRow row;
  row.set("Name", kGuid);
  row.set("ElementName", "web: 1");
  row.set("EnabledState", state);
  row.set("OperationalStatus", WmiRow::Values{"2"});
  row.set("ProcessID", "4711");
  row.set("OnTimeInMilliseconds", "86400000");
  return row;
}

Power power_in(const std::string& state) { return parse_machine(machine(state))->power; }

bool allocated(const std::string& state, const std::string& replication) {
  WmiRow row = machine(state);
  row.set("ReplicationMode", replication);
  return parse_machine(row)->allocated;
}

WmiRow setting(const std::string& device) {
  WmiRow row;
  row.set("InstanceID", std::string("Microsoft:") + kGuid + device);
  return row;
}

WmiRow disk(const std::string& place, const std::string& type, const std::string& path) {
  WmiRow row = setting("\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\" + place);
  row.set("ResourceSubType", "Microsoft:Hyper-V:" + type);
  row.set("HostResource", path);
  return row;
}

}  // namespace

TEST_CASE("a machine's row tells its id, name, process and on-time", "[hyperv]") {
  const std::optional<HypervMachine> read = parse_machine(machine("2"));
  REQUIRE(read);
  CHECK(read->vm.text() == "4ab43180-fcfa-46fd-a5a0-55069a2aa367");
  CHECK(read->name == "web: 1");
  CHECK(read->process == 4711);
  CHECK(read->on == Milliseconds{86'400'000});
  CHECK_FALSE(read->migrating);
  WmiRow moving = machine("2");
  moving.set("OperationalStatus", WmiRow::Values{"2", "32774"});
  CHECK(parse_machine(moving)->migrating);
}

TEST_CASE("the host's own row is no machine", "[hyperv]") {
  WmiRow host;
  host.set("Name", "NODE-01");
  host.set("ElementName", "NODE-01");
  host.set("EnabledState", "2");
  CHECK_FALSE(parse_machine(host));
  CHECK_FALSE(parse_machine(WmiRow{}));
}

TEST_CASE("power follows the codes of both versions of WMI's classes", "[hyperv]") {
  CHECK(power_in("2") == Power::kRunning);
  CHECK(power_in("3") == Power::kOff);
  CHECK(power_in("6") == Power::kOff);  // Saved: it has no memory.
  CHECK(power_in("32769") == Power::kOff);
  CHECK(power_in("9") == Power::kPaused);
  CHECK(power_in("32768") == Power::kPaused);
  for (const char* on_its_way : {"4", "10", "32773", "32776", "32777"}) CHECK(power_in(on_its_way) == Power::kRunning);
  // A state that says nothing: the process does.
  CHECK(power_in("0") == Power::kRunning);
  WmiRow unknown = machine("0");
  unknown.set("ProcessID", "0");
  CHECK(parse_machine(unknown)->power == Power::kOff);
}

TEST_CASE("a replica is allocated once it has taken over, a test replica never", "[hyperv]") {
  CHECK(allocated("3", "0"));
  CHECK(allocated("3", "1"));
  CHECK_FALSE(allocated("3", "2"));
  CHECK(allocated("2", "2"));
  CHECK_FALSE(allocated("3", "4"));
  CHECK_FALSE(allocated("2", "3"));
}

TEST_CASE("settings are joined by GUID; ISO images, floppies, checkpoints and templates are not devices", "[hyperv]") {
  WmiTables tables;
  WmiRow processor = setting("\\b637f346-6a0e-4dec-af52-bd70cb80a21d\\0");
  processor.set("VirtualQuantity", "4");
  WmiRow memory = setting("\\4764334d-e001-4176-82ee-5594ec9b530e");
  memory.set("VirtualQuantity", "8192");
  memory.set("AllocationUnits", "byte * 2^20");
  memory.set("DynamicMemoryEnabled", "true");
  WmiRow notes = setting("");
  notes.set("Notes", WmiRow::Values{"{\"subscription\":", "\"11111111-2222-3333-4444-555555555555\"}"});
  WmiRow checkpoint = processor;
  checkpoint.set("InstanceID",
                 "Microsoft:00000000-0000-0000-0000-0000000000AB\\b637f346-6a0e-4dec-af52-bd70cb80a21d\\0");
  checkpoint.set("VirtualQuantity", "64");
  WmiRow definition = processor;
  definition.set("InstanceID", "Microsoft:Definition\\b637f346-6a0e-4dec-af52-bd70cb80a21d\\Default");
  tables[hyperv_class::kProcessor] = {definition, processor, checkpoint};
  tables[hyperv_class::kMemory] = {memory};
  tables[hyperv_class::kSettings] = {notes};
  tables[hyperv_class::kStorage] = {disk("0\\1\\L", "Virtual Hard Disk", "D:\\data.vhdx"),
                                    disk("0\\0\\L", "Virtual Hard Disk", "C:\\ClusterStorage\\Volume1\\os.vhdx"),
                                    disk("1\\0\\L", "Virtual CD/DVD Disk", "C:\\setup.iso"),
                                    disk("2\\0\\L", "Virtual Floppy Disk", "C:\\a.vfd")};
  tables[hyperv_class::kSyntheticNic] = {setting("\\3E6E9C29-55F6-44C7-AC81-A10E8039000E")};
  tables[hyperv_class::kLegacyNic] = {setting("\\0C6D9C29-55F6-44C7-AC81-A10E8039000F\\0")};
  const auto all = parse_settings(tables);
  REQUIRE(all.ok());
  const auto found = all->find(*VmId::parse(kGuid));
  REQUIRE(found != all->end());
  const HypervSettings& vm = found->second;
  CHECK(vm.vcores == 4);
  CHECK(vm.memory_mib == 8192);
  CHECK(vm.dynamic_memory);
  REQUIRE(vm.disks.size() == 2);
  CHECK(vm.disks[0].id == "83f8638b-8dca-4152-9eda-2ca8b33039b4/0/0/l");
  CHECK(vm.disks[0].path == "C:\\ClusterStorage\\Volume1\\os.vhdx");
  REQUIRE(vm.nics.size() == 2);
  CHECK(vm.nics[0].adapter == "0");
  CHECK(vm.nics[1].adapter == "3e6e9c29-55f6-44c7-ac81-a10e8039000e");
  CHECK(owner_from_notes(vm.notes).known);
  CHECK(vm.whole());
  // Without a class of devices all of them would seem to be gone; without its own rows a machine would be free.
  WmiTables cut = tables;
  cut.erase(hyperv_class::kStorage);
  CHECK(parse_settings(cut).error().code == ErrorCode::kUnavailable);
  tables[hyperv_class::kMemory].clear();
  CHECK_FALSE(parse_settings(tables)->at(*VmId::parse(kGuid)).whole());
}

TEST_CASE("notes are an owner if all of them is one, and nobody's otherwise", "[hyperv]") {
  const std::string right = R"({"subscription":"11111111-2222-3333-4444-555555555555","name":"web","tags":{"a":"b"},
                                "windows_licence":true,"billable":false})";
  const Owner owner = owner_from_notes(right);
  CHECK(owner.known);
  CHECK(owner.name == "web");
  CHECK(owner.windows_licence);
  CHECK_FALSE(owner.billable);
  CHECK(owner.tags.at("a") == "b");
  for (const std::string& wrong :
       {std::string("made by hand"), std::string(), std::string("{"), std::string("{}"), std::string("[1]"),
        std::string(R"({"name":"web"})"), std::string(R"({"subscription":"x"})"), right + "x",
        std::string(R"({"subscription":"11111111-2222-3333-4444-555555555555","owner":1})"),
        std::string(R"({"subscription":"11111111-2222-3333-4444-555555555555","name":7})"),
        right + std::string(kNotesBytesMax, ' ')}) {
    CHECK(owner_from_notes(wrong) == Owner{});
  }
}

TEST_CASE("a disk's virtual size stands in the embedded instance", "[hyperv]") {
  const std::string xml =
      R"(<INSTANCE CLASSNAME="Msvm_VirtualHardDiskSettingData"><PROPERTY NAME="BlockSize" TYPE="uint32"><VALUE>33554432)"
      R"(</VALUE></PROPERTY><PROPERTY NAME="MaxInternalSize" TYPE="uint64"><VALUE>136365211648</VALUE></PROPERTY>)"
      R"(<PROPERTY NAME="Path" TYPE="string"><VALUE>C:\a.vhdx</VALUE></PROPERTY></INSTANCE>)";
  CHECK(parse_virtual_disk_size(xml) == 136'365'211'648u);
  for (const char* wrong : {"", "<INSTANCE>", "<INSTANCE/>",
                            "<INSTANCE><PROPERTY NAME=\"MaxInternalSize\"><VALUE>big</VALUE></PROPERTY></INSTANCE>"}) {
    CHECK_FALSE(parse_virtual_disk_size(wrong));
  }
}
