// Goal: what a definition says is read exactly, and a definition that somebody tampered with costs nobody else
// anything.

#include <catch2/catch.hpp>
#include <string>

#include "collectors/domain_xml.h"
#include "collectors/owner_metadata.h"

using namespace nodemeter;

namespace {

const std::string kUuid = "6f1a6d4e-8a6c-4e54-9d5b-0d8b8a3f6a01";

std::string domain(const std::string& inside) {
  return "<domain type='kvm'><name>web</name><uuid>" + kUuid +
         "</uuid><memory unit='KiB'>2097152</memory><currentMemory unit='KiB'>1048577</currentMemory>"
         "<vcpu placement='static' current='2'>4</vcpu>" +
         inside + "</domain>";
}

std::string owner(const std::string& inside) { return domain("<metadata>" + inside + "</metadata>"); }

const std::string kSubscription = "11111111-2222-4333-8444-555555555555";

}  // namespace

TEST_CASE("a definition gives online vcpus, assigned memory, hard disks and NICs", "[domain_xml]") {
  const auto parsed = parse_domain_xml(domain(R"(<devices>
    <disk type='file' device='disk'><source file='/images/b'/><backingStore><source file='/other'/></backingStore>
      <target dev='vdb'/><alias name='virtio-disk1'/></disk>
    <disk type='file' device='cdrom'><target dev='sda'/></disk>
    <disk type='file' device='floppy'><target dev='fda'/></disk>
    <disk type='network'><target dev='vda'/></disk>
    <interface type='bridge'><mac address='52:54:00:AA:00:01'/><target dev='vnet3'/><alias name='net0'/></interface>
    <interface type='direct'><mac address='52:54:00:aa:00:00'/><target dev='macvtap0'/></interface>
    <interface type='ethernet'><mac address='52:54:00:aa:00:02'/><target dev='tap7' managed='no'/></interface>
  </devices>)"));
  REQUIRE(parsed.ok());
  CHECK(parsed->vm.text() == kUuid);
  CHECK(parsed->name == "web");
  CHECK(parsed->vcpus == 2);
  CHECK(parsed->memory_mib == 1025);  // Rounded up.
  REQUIRE(parsed->disks.size() == 2);
  CHECK(parsed->disks[0].target == "vda");
  CHECK(parsed->disks[1].source == "/images/b");
  CHECK(parsed->disks[1].alias == "virtio-disk1");
  REQUIRE(parsed->nics.size() == 3);
  CHECK_FALSE(parsed->nics[0].host_view_is_mirrored());  // macvtap.
  CHECK(parsed->nics[1].mac == "52:54:00:aa:00:01");
  CHECK(parsed->nics[1].target_made);
  CHECK_FALSE(parsed->nics[2].target_made);
}

TEST_CASE("units of memory are libvirt's", "[domain_xml]") {
  const auto memory = [](const std::string& element) {
    const auto parsed = parse_domain_xml("<domain><uuid>" + kUuid + "</uuid><vcpu>1</vcpu>" + element + "</domain>");
    return parsed ? parsed->memory_mib : 0;
  };
  CHECK(memory("<memory>2048</memory>") == 2);
  CHECK(memory("<memory unit='b'>1</memory>") == 1);
  CHECK(memory("<memory unit='GiB'>3</memory>") == 3072);
  CHECK(memory("<memory unit='MB'>1000</memory>") == 954);
  CHECK(memory("<memory unit='parsec'>1</memory>") == 0);
  CHECK(memory("<memory unit='TiB'>99999999999999</memory>") == 0);
}

TEST_CASE("definitions that make no sense are refused with the field's name", "[domain_xml]") {
  const auto complaint = [](const std::string& xml) {
    const auto parsed = parse_domain_xml(xml);
    return parsed ? std::string("accepted") : parsed.error().message;
  };
  CHECK(complaint("") != "accepted");
  CHECK(complaint("<network/>").find("root element") != std::string::npos);
  CHECK(complaint("<domain><uuid>x</uuid></domain>").find("uuid") != std::string::npos);
  CHECK(complaint("<domain><uuid>" + kUuid + "</uuid><vcpu>-1</vcpu></domain>").find("vcpu") != std::string::npos);
  CHECK(complaint("<!DOCTYPE d [<!ENTITY a 'b'>]>" + domain("&a;")).find("document type") != std::string::npos);
  std::string deep;
  for (int i = 0; i < 100; ++i) deep += "<a>";
  CHECK(complaint(domain(deep)).find("deeper") != std::string::npos);
  CHECK(complaint(domain("<description>" + std::string(1 << 20, 'x') + "</description>")).find("bytes") !=
        std::string::npos);
}

TEST_CASE("our own metadata names the owner", "[owner]") {
  const Owner o = parse_owner_metadata(
      owner("<nm:owner xmlns:nm='urn:nodemeter:owner:1' subscription='" + kSubscription +
            "' resource-group='rg' name='web-1' windows-licence='yes' billable='no'>"
            "<nm:tag name='env'>prod &amp; more</nm:tag><nm:tag name='bad'>a&#10;b</nm:tag></nm:owner>"));
  CHECK(o.known);
  CHECK(o.subscription.text() == kSubscription);
  CHECK(o.tenant.is_zero());
  CHECK(o.resource_group == "rg");
  CHECK(o.name == "web-1");
  CHECK(o.windows_licence);
  CHECK_FALSE(o.billable);
  CHECK(o.tags == std::map<std::string, std::string>{{"env", "prod & more"}});
}

TEST_CASE("Nova's project is subscription and tenant, with dashes or without", "[owner]") {
  const auto project = [](const std::string& version, const std::string& id) {
    return parse_owner_metadata(owner("<n:instance xmlns:n='http://openstack.org/xmlns/libvirt/nova/" + version +
                                      "'><n:name>srv</n:name><n:owner><n:project uuid='" + id +
                                      "'>p</n:project></n:owner></n:instance>"));
  };
  const Owner plain = project("1.1", "11111111222243338444555555555555");
  CHECK(plain.subscription.text() == kSubscription);
  CHECK(plain.tenant == plain.subscription);
  CHECK(plain.name == "srv");
  CHECK(project("1.0", kSubscription) == plain);
  const Owner named = project("1.1", "default-project");
  CHECK(named.known);
  CHECK(named.subscription == uuid_from_name(nova_project_namespace(), "default-project"));
  CHECK_FALSE(project("2.0", kSubscription).known);
  CHECK_FALSE(project("1.1", "").known);
}

TEST_CASE("hostile metadata costs its VM the owner, never the VM", "[owner]") {
  const std::string begin = "<nm:owner xmlns:nm='urn:nodemeter:owner:1' subscription='" + kSubscription + "'";
  CHECK_FALSE(parse_owner_metadata(owner("<nm:owner xmlns:nm='urn:nodemeter:owner:1' subscription='1'/>")).known);
  CHECK_FALSE(parse_owner_metadata(owner("<nm:owner subscription='" + kSubscription + "'/>")).known);
  CHECK(parse_domain_xml(owner("<nm:owner subscription='x'/>")).ok());  // A prefix that nobody declared.
  const Owner long_name = parse_owner_metadata(owner(begin + " name='" + std::string(513, 'n') + "'/>"));
  CHECK(long_name.known);
  CHECK(long_name.name.empty());
  std::string tags;
  for (int i = 0; i < 100; ++i) tags += "<nm:tag name='" + std::to_string(i) + "'>v</nm:tag>";
  CHECK(parse_owner_metadata(owner(begin + ">" + tags + "</nm:owner>")).tags.size() == kOwnerTagsMax);
  // An owner elsewhere than in the metadata, or a second one, changes nothing.
  CHECK_FALSE(parse_owner_metadata(domain("<devices>" + begin + "/></devices>")).known);
  CHECK(parse_owner_metadata(owner(begin + " name='a'/>" + begin + " name='b'/>")).name == "a");
}
