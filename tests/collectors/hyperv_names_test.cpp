// Goal: what a counter instance or a setting is called leads to its machine and device, or to nobody.
// Method: names as seen on real hosts, and names made to mislead.

#include <catch2/catch.hpp>

#include "collectors/hyperv_counters.h"
#include "collectors/hyperv_names.h"

using namespace nodemeter;

namespace {

std::string processor(std::string_view instance) {
  const std::optional<ProcessorInstance> parsed = parse_processor_instance(instance);
  if (!parsed) return "none";
  return std::string(parsed->vm_name) + "|" + std::to_string(parsed->number) + (parsed->numbered_twice ? "|twice" : "");
}

std::string adapter(std::string_view instance) {
  const std::optional<AdapterInstance> parsed = parse_adapter_instance(instance);
  return parsed ? parsed->vm.text() + " " + parsed->adapter : "none";
}

}  // namespace

TEST_CASE("a processor's instance is parsed from the right, whatever its machine is called", "[hyperv]") {
  CHECK(processor("Opnsense:Hv VP 0") == "Opnsense|0");
  CHECK(processor("a: b:Hv VP 1:Hv VP 12") == "a: b:Hv VP 1|12");
  CHECK(processor("web:Hv VP 3#1") == "web|3|twice");
  for (const char* other : {"_Total", "", ":Hv VP 0", "web:Hv VP", "web:Hv VP ", "web:Hv VP x", "web:Hv VP -1",
                            "web:Hv VP 4294967296", "web:Hv VP 1 2", "Root VP 0", "Hv LP 0", "*"}) {
    CHECK(processor(other) == "none");
  }
}

TEST_CASE("an adapter's instance leads to its machine by GUID", "[hyperv]") {
  CHECK(adapter("Opnsense_Netzwerkkarte_4AB43180-FCFA-46FD-A5A0-55069A2AA367--A5C2FAFC-5C96-42DF-94CE-5A8C87C7E5CE") ==
        "4ab43180-fcfa-46fd-a5a0-55069a2aa367 a5c2fafc-5c96-42df-94ce-5a8c87c7e5ce");
  CHECK(parse_adapter_instance("a_n_4AB43180-FCFA-46FD-A5A0-55069A2AA367--0#1")->numbered_twice);
  // A legacy adapter has an index.
  CHECK(adapter("SV101_Aeltere Netzwerkkarte_398CBF99-B122-4351-AF61-22B1AF493715--1") ==
        "398cbf99-b122-4351-af61-22b1af493715 1");
  // A name that looks like an instance changes nothing: the end decides.
  CHECK(adapter("x_398CBF99-B122-4351-AF61-22B1AF493715--7_n_4AB43180-FCFA-46FD-A5A0-55069A2AA367--0") ==
        "4ab43180-fcfa-46fd-a5a0-55069a2aa367 0");
  for (const char* other : {"_Total", "Default Switch_C08CB7B8-9B3C-408E-8E30-5E16A3AEB444",
                            "Intel[R] I350__DEVICE_{8A1B4A1E-2F3C-4D55-9C3B-1B2A3C4D5E6F}", "--0", "x--1",
                            "a_4AB43180-FCFA-46FD-A5A0-55069A2AA367--", "a_4AB43180-FCFA-46FD-A5A0-55069A2AA367--x",
                            "a4AB43180-FCFA-46FD-A5A0-55069A2AA367--0", "a_00000000-0000-0000-0000-000000000000--0"}) {
    CHECK(adapter(other) == "none");
  }
}

TEST_CASE("a disk's instance is compared with its path as the provider escapes it", "[hyperv]") {
  CHECK(storage_key_of_path("C:\\ProgramData\\Virtual Hard Disks\\Opn-sense.VHDX") ==
        storage_key_of_instance("C:-ProgramData-Virtual Hard Disks-Opn-sense.vhdx"));
  CHECK(storage_key_of_path("\\\\?\\C:\\vm\\a.vmgs") == storage_key_of_instance("--?-C:-vm-a.vmgs"));
  CHECK(storage_key_of_path("C:\\vm\\a.vhdx") == storage_key_of_instance("--?-C:-vm-a.vhdx"));
  // A cluster's shared volume is a path like others.
  CHECK(storage_key_of_path("C:\\ClusterStorage\\Volume1\\a.vhdx") == "c:-clusterstorage-volume1-a.vhdx");
  CHECK(storage_key_of_path("\\\\server\\share\\a.vhdx") == storage_key_of_instance("--server-share-a.vhdx"));
  CHECK(storage_key_of_path("C:\\vm\\a.vhdx") != storage_key_of_path("C:\\vm\\a_1B2A.avhdx"));
}

TEST_CASE("settings belong to the machine that their id begins with", "[hyperv]") {
  const auto id =
      parse_setting_id("Microsoft:0560E6AA-9B2D-45E5-92CD-4FF618D09BEC\\83F8638B-8DCA-4152-9EDA-2CA8B33039B4\\0\\0\\L");
  REQUIRE(id);
  CHECK(id->vm.text() == "0560e6aa-9b2d-45e5-92cd-4ff618d09bec");
  CHECK(id->device == "83f8638b-8dca-4152-9eda-2ca8b33039b4/0/0/l");
  CHECK(parse_setting_id("Microsoft:0560E6AA-9B2D-45E5-92CD-4FF618D09BEC")->device.empty());
  for (const char* other :
       {"", "Microsoft:", "Microsoft:Definition\\4764334D-E001-4176-82EE-5594EC9B530E\\Default",
        "Microsoft:0560E6AA-9B2D-45E5-92CD-4FF618D09BEC/x", "0560E6AA-9B2D-45E5-92CD-4FF618D09BEC"}) {
    CHECK_FALSE(parse_setting_id(other));
  }
}

TEST_CASE("parentheses become brackets in instance names; of other signs nobody knows", "[hyperv]") {
  CHECK(name_fits_instance("sv101 (linux)", "sv101 [linux]"));
  CHECK(name_fits_instance("plain", "plain"));
  CHECK_FALSE(name_fits_instance("plain", "plain2"));
  CHECK_FALSE(name_fits_instance("a-b", "a_b"));
  CHECK(name_fits_instance("a/b", "a-b"));
  CHECK(name_fits_instance("a#b", "a_b"));
  CHECK_FALSE(name_fits_instance("a/b", "axb"));
}
