// Goal: what the owners file says is what is billed, and nothing a tenant writes or an operator mistypes changes that.
// Method: files as text, a source that shows what it is told to.

#include <catch2/catch.hpp>
#include <chrono>

#include "collectors/owned_source.h"
#include "collectors/owners_file.h"
#include "platform/files.h"
#include "tests/temporary_directory.h"

using namespace nodemeter;

namespace {

const VmId kWeb = *VmId::parse("6f1c0000-0000-4000-8000-000000000001");
const VmId kDb = *VmId::parse("6f1c0000-0000-4000-8000-000000000002");
const Uuid kA = *Uuid::parse("aaaaaaaa-0000-4000-8000-000000000001");
const Uuid kB = *Uuid::parse("bbbbbbbb-0000-4000-8000-000000000001");

OwnersFile owners(const std::string& text, bool patterns = true) {
  Result<OwnersFile> file = OwnersFile::parse(text, "o", patterns);
  INFO((file ? "" : file.error().message));
  REQUIRE(file.ok());
  return std::move(file).value();
}

std::string fault(const std::string& text, bool patterns = true) {
  const Result<OwnersFile> file = OwnersFile::parse(text, "o", patterns);
  return file ? "none" : file.error().message;
}

std::string of_web(const std::string& owner) { return "{\"vms\":{\"" + kWeb.text() + "\":" + owner + "}}"; }
std::string sub(const Uuid& id) { return "{\"subscription\":\"" + id.text() + "\"}"; }

Owner shown_by(const Uuid& subscription) {
  Owner owner;
  owner.known = true;
  owner.subscription = subscription;
  owner.tenant = subscription;
  owner.resource_group = "metadata-rg";
  owner.name = "metadata-name";
  owner.tags = {{"k", "metadata"}};
  owner.windows_licence = true;
  return owner;
}

class LinesLog final : public Log {
 public:
  void write(LogLevel, std::string_view message, std::initializer_list<LogField>) override {
    lines.emplace_back(message);
  }
  std::vector<std::string> lines;
};

class ShownSource final : public Source {
 public:
  Result<Sample> read_all() override {
    Sample sample;
    sample.vms = vms;
    sample.events = std::exchange(events, {});
    return sample;
  }
  [[nodiscard]] std::string description() const override { return "shown"; }
  std::vector<VmReading> vms;
  std::vector<VmEvent> events;
};

struct Node {
  Node() {
    VmReading web;
    web.vm = kWeb;
    web.name = "web-1";
    shown->vms = {web};
  }
  void write(const std::string& text) const { REQUIRE(replace_file(options.file, text).ok()); }
  void open() {
    auto opened = open_owned_source(options, std::unique_ptr<Source>(shown), log);
    INFO((opened ? "" : opened.error().message));
    REQUIRE(opened.ok());
    source = std::move(opened).value();
  }
  Owner owner() const {
    const Result<Sample> sample = source->read_all();
    REQUIRE(sample.ok());
    return sample->vms.at(0).owner;
  }

  testing::TemporaryDirectory directory;
  OwnersOptions options{directory.path() / "owners.json", directory.path() / "kept.json", true};
  ShownSource* shown = new ShownSource;  // Owned by `source` from open() on, which every test calls once.
  LinesLog log;
  std::unique_ptr<Source> source;
};

}  // namespace

TEST_CASE("an entry overlays what the hypervisor shows, member by member", "[owners]") {
  const OwnersFile file = owners(of_web(R"({"resource_group":"rg","tags":{"cost-centre":"4711"},"billable":false})"));
  const Owner owner = overlaid(shown_by(kA), *file.find(kWeb, "web"));
  CHECK((owner.known && owner.subscription == kA && owner.tenant == kA && owner.name == "metadata-name"));
  CHECK((owner.resource_group == "rg" && !owner.billable && owner.windows_licence));
  CHECK(owner.tags == std::map<std::string, std::string>{{"cost-centre", "4711"}});
  CHECK(file.find(kDb, "web") == nullptr);

  const Owner alone = overlaid(Owner{}, *file.find(kWeb, "web"));
  CHECK((!alone.known && !alone.billable && alone.resource_group == "rg"));
}

TEST_CASE("if both name a subscription and they differ, nothing of the hypervisor's owner is taken over", "[owners]") {
  const OwnersFile file = owners(of_web(sub(kB)));
  const OwnerEntry& entry = *file.find(kWeb, "");
  CHECK(is_conflict(shown_by(kA), entry));
  Owner wanted;
  wanted.known = true;
  wanted.subscription = kB;
  CHECK(overlaid(shown_by(kA), entry) == wanted);
  CHECK_FALSE(is_conflict(shown_by(kB), entry));
  CHECK(overlaid(shown_by(kB), entry) == shown_by(kB));
  CHECK_FALSE(is_conflict(Owner{}, entry));
}

TEST_CASE("an id decides before patterns, and the first pattern before later ones", "[owners]") {
  const OwnersFile file = owners("{\"vms\":{\"" + kWeb.text() + "\":" + sub(kA) + R"(},"names":[
    {"pattern":"infra-*","resource_group":"first"},{"pattern":"*","resource_group":"second"}]})");
  CHECK(file.find(kWeb, "infra-1")->subscription == kA);
  CHECK(file.find(kDb, "infra-1")->resource_group == "first");
  CHECK(file.find(kDb, "infra")->resource_group == "second");
  CHECK(file.find(kDb, "")->resource_group == "second");
}

TEST_CASE("patterns fit whole names, in time that grows with the name", "[owners]") {
  const auto fits = [](const std::string& pattern, const std::string& name) {
    return owners("{\"names\":[{\"pattern\":\"" + pattern + "\",\"billable\":true}]}").find(kWeb, name) != nullptr;
  };
  CHECK(fits("a?c", "abc"));
  CHECK(fits("*-db-*", "x-db-db-1"));
  CHECK(fits("a*b*c", "aXbYbZc"));
  CHECK(fits("**", ""));
  CHECK_FALSE(fits("abc", "abcd"));
  CHECK_FALSE(fits("abc", "xabc"));
  CHECK_FALSE(fits("a?c", "ac"));
  CHECK_FALSE(fits("A", "a"));
  const auto begun = std::chrono::steady_clock::now();
  std::string stars;
  for (int i = 0; i < 100; ++i) stars += "*a";
  CHECK_FALSE(fits(stars + "b", std::string(10'000, 'a')));
  CHECK(std::chrono::steady_clock::now() - begun < std::chrono::seconds(20));
}

TEST_CASE("every fault in an owners file is named with its line", "[owners]") {
  CHECK(fault("{\"vms\":{}}") == "none");
  CHECK(fault("{") == "o:1: this is not JSON");
  CHECK(fault("[]").rfind("o:1: an object", 0) == 0);
  CHECK(fault("{\n\"vm\":{}}") == "o:2: vm: is not known here; did you mean \"vms\"?");
  CHECK(fault("{\"vms\":\n[]}").rfind("o:1: vms: an object", 0) == 0);
  CHECK(fault("{\"vms\":{\n\"web\":" + sub(kA) + "}}").rfind("o:2: vms.web: is no VM id", 0) == 0);
  CHECK_THAT(fault(of_web("{}")), Catch::Matchers::Contains("says something of the owner"));
  CHECK_THAT(fault(of_web("{\n\"subscription\":\"rg\"}")), Catch::Matchers::Contains("o:2: "));
  CHECK_THAT(fault(of_web("{\"subscription\":\"" + Uuid{}.text() + "\"}")), Catch::Matchers::Contains("UUID"));
  CHECK_THAT(fault(of_web("{\"billable\":\"no\"}")), Catch::Matchers::Contains("true or false"));
  CHECK_THAT(fault(of_web("{\"name\":\"a\\u001b[2J\"}")), Catch::Matchers::Contains("control characters"));
  CHECK_THAT(fault(of_web("{\"name\":\"" + std::string(513, 'x') + "\"}")), Catch::Matchers::Contains("512 bytes"));
  CHECK_THAT(fault(of_web("{\"tags\":{\"k\":1}}")), Catch::Matchers::Contains("tags.k"));
  CHECK_THAT(fault(of_web("{\"tags\":{\"\":\"v\"}}")), Catch::Matchers::Contains("name of a tag"));
  const std::string upper = "6F1C0000-0000-4000-8000-000000000001";
  CHECK_THAT(fault("{\"vms\":{\"" + kWeb.text() + "\":" + sub(kA) + ",\n\"" + upper + "\":" + sub(kB) + "}}"),
             Catch::Matchers::Contains("o:2: ") && Catch::Matchers::Contains("has an entry already"));
  CHECK(fault("{\"names\":[\n{\"billable\":false, \"tenant\":\"" + kA.text() + "\"}]}")
            .rfind("o:2: names: \"pattern\"", 0) == 0);
  CHECK(fault("{\"names\":[\n{\"pattern\":\"\",\"billable\":false}]}").rfind("o:2: names: \"pattern\"", 0) == 0);
  CHECK_THAT(fault("{\"names\":[{\"pattern\":\"a\"}]}"), Catch::Matchers::Contains("says something of the owner"));
}

TEST_CASE("where metadata is not trusted, names are not either", "[owners]") {
  CHECK(fault("{\n\"names\":[{\"pattern\":\"a\",\"billable\":false}]}", false)
            .rfind("o:2: names: with trust_metadata", 0) == 0);
}

TEST_CASE("a file that changes holds from the next sample on, and conflicts are counted", "[owners]") {
  Node node;
  node.shown->vms[0].owner = shown_by(kA);
  node.write(of_web(sub(kA)));
  node.open();
  CHECK(node.owner() == shown_by(kA));
  CHECK(node.source->owners_state().conflicts == 0);
  node.write(of_web("{\"subscription\":\"" + kB.text() + "\",\"name\":\"new\"}"));
  CHECK(node.owner().subscription == kB);
  CHECK(node.source->owners_state().conflicts == 1);
  CHECK(node.source->owners_state().entries == 1);
  const std::size_t said = node.log.lines.size();
  (void)node.owner();
  CHECK(node.log.lines.size() == said);  // Once is enough.
}

TEST_CASE("a file that is wrong or gone changes nothing, is told once, and is used as soon as it is right",
          "[owners]") {
  Node node;
  node.write(of_web(sub(kA)));
  node.open();
  CHECK(node.owner().subscription == kA);
  node.write("{\"vms\":{\n\"x\":1}}");
  CHECK(node.owner().subscription == kA);
  CHECK(node.source->owners_state().fault.rfind("owners.json:2: vms.x: ", 0) == 0);
  const std::size_t said = node.log.lines.size();
  for (int i = 0; i < 3; ++i) (void)node.owner();
  CHECK(node.log.lines.size() == said);
  std::filesystem::remove(node.options.file);
  CHECK(node.owner().subscription == kA);
  CHECK_FALSE(node.source->owners_state().fault.empty());
  node.write(of_web(sub(kB)));
  CHECK(node.owner().subscription == kB);
  CHECK(node.source->owners_state().fault.empty());
}

TEST_CASE("a restart while the file is wrong goes on with what it said before", "[owners]") {
  Node first;
  first.write(of_web(sub(kA)));
  first.open();
  const Result<std::string> kept = read_file(first.options.kept, kOwnersFileMax);
  REQUIRE(kept.ok());
  Node second;
  REQUIRE(replace_file(second.options.kept, *kept).ok());
  second.write("oops");
  second.open();
  CHECK(second.owner().subscription == kA);
  CHECK(second.source->owners_state().fault == "owners.json:1: this is not JSON");
}

TEST_CASE("a VM that came and went between two samples has the owner that the file names", "[owners]") {
  Node node;
  node.write(of_web(sub(kB)));
  node.open();
  VmEvent event;
  event.vm = kWeb;
  node.shown->vms.clear();
  node.shown->events = {event};
  event.owner = shown_by(kA);
  node.shown->events.push_back(event);
  event.vm = kDb;
  node.shown->events.push_back(event);
  const Result<Sample> sample = node.source->read_all();
  REQUIRE(sample.ok());
  CHECK(sample->events[0].owner->subscription == kB);
  CHECK(sample->events[1].owner->subscription == kB);
  CHECK(sample->events[1].owner->tenant.is_zero());
  CHECK(*sample->events[2].owner == shown_by(kA));
}

TEST_CASE("an event that does not tell the owner leaves what only the hypervisor knows", "[owners]") {
  Node node;
  node.shown->vms[0].owner = shown_by(kA);
  node.write(of_web(R"({"billable":false})"));
  node.open();
  (void)node.owner();
  VmEvent event;
  event.vm = kWeb;
  node.shown->events = {event};
  const Result<Sample> sample = node.source->read_all();
  REQUIRE(sample.ok());
  CHECK_FALSE(sample->events[0].owner.has_value());
  CHECK(sample->vms[0].owner.subscription == kA);
  CHECK_FALSE(sample->vms[0].owner.billable);
}
