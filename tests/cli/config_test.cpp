// Goal: an operator learns of every mistake in a configuration at once, with its line, and no mistake changes a limit
// silently. Method: small files with known faults; what is reported is compared whole, as text.

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>

#include "agent/config_file.h"
#include "agent/daemon.h"
#include "agent/machine.h"

using namespace nodemeter;

namespace {

std::string faults_of(const std::string& text) {
  std::string all;
  for (const ConfigFault& fault : check_options(text).faults) all += fault_text("f.toml", fault) + "\n";
  return all;
}

#ifdef _WIN32
constexpr std::string_view kKeyFile;
#else
constexpr std::string_view kKeyFile = "key_file = \"/key\"";
#endif

// A root of this platform before it; TOML takes slashes.
std::string absolute_path() { return (std::filesystem::temp_directory_path() / "state").generic_string(); }

}  // namespace

TEST_CASE("an empty configuration is valid and holds the documented defaults", "[config]") {
  const ConfigCheck check = check_options("");
  REQUIRE(check.faults.empty());
  CHECK(check.options.location == "local");
  CHECK(check.options.source_kind == SourceKind::kAuto);
  CHECK(check.options.sample_interval == Milliseconds{10'000});
  CHECK(check.options.source.vm_deadline == Milliseconds{500});
  CHECK(check.options.meter.count_stopped);
  CHECK(check.options.meter.close_grace == Milliseconds{30'000});
  CHECK(check.options.state_path == default_state_path());
  CHECK(check.options.retention == Milliseconds{400ll * 86'400'000});
  CHECK(check.options.store_size_max == 8ull << 30);
  CHECK(check.options.upload.urls.empty());
  CHECK(check.options.uploader.interval == Milliseconds{60'000});
  CHECK(check.options.upload.compression == Compression::kZstd);
  CHECK(check.options.source.trust_metadata);
  CHECK(check.options.live_name == "nodemeter");
}

TEST_CASE("the shipped example configuration is valid, and its values are the defaults", "[config]") {
  const auto check = check_options_file(std::filesystem::path(SOURCE_ROOT) / "platform/nodemeter.toml");
  REQUIRE(check.ok());
  CHECK(check->faults.empty());
}

TEST_CASE("every key arrives where it belongs", "[config]") {
  const ConfigCheck check = check_options(R"(
[node]
id = "rack1-07"
location = "hall b"
[source]
kind = "simulated"
uri = "qemu+tls://h/system"
scenario = "/s.json"
speed = 60
trace = "/t"
[sampling]
interval = "2s"
vm_deadline = "250ms"
[metering]
count_stopped = false
close_grace = "1m"
[state]
path = ")" + absolute_path() + R"("
retention = "90d"
size_max = "1GiB"
[upload]
url = ["https://a.example/ingest", "https://b.example:8443/?query=x"]
interval = "30s"
compression = "gzip"
ca_file = "/ca"
cert_file = "/cert"
)" + std::string(kKeyFile) + R"(
bearer_file = "/bearer"
rate_limit = "1MB"
proxy = "http://proxy.example:3128"
proxy_auth_file = "/proxy"
connect_timeout = "3s"
timeout = "5m"
plaintext = true
[owners]
file = "/owners.json"
trust_metadata = false
[live]
name = "trial"
group = "ops"
[log]
level = "warning"
format = "json"
)");
  REQUIRE(check.faults.empty());
  const Options& o = check.options;
  CHECK(o.node_id == "rack1-07");
  CHECK(o.location == "hall b");
  CHECK(o.source_kind == SourceKind::kSimulated);
  CHECK(o.source_uri == "qemu+tls://h/system");
  CHECK(o.scenario == "/s.json");
  CHECK(o.speed == 60);
  CHECK(o.trace == "/t");
  CHECK(o.sample_interval == Milliseconds{2000});
  CHECK(o.source.vm_deadline == Milliseconds{250});
  CHECK_FALSE(o.meter.count_stopped);
  CHECK(o.meter.close_grace == Milliseconds{60'000});
  CHECK(o.state_path == absolute_path());
  CHECK(o.retention == Milliseconds{90ll * 86'400'000});
  CHECK(o.store_size_max == 1ull << 30);
  CHECK(o.upload.urls.size() == 2);
  CHECK(o.uploader.interval == Milliseconds{30'000});
  CHECK(o.upload.compression == Compression::kGzip);
  CHECK(o.upload.ca_file == "/ca");
  CHECK(o.upload.cert_file == "/cert");
  CHECK(o.upload.key_file.empty() == kKeyFile.empty());
  CHECK(o.upload.bearer_file == "/bearer");
  CHECK(o.upload.rate_limit_bytes_per_s == 1'000'000);
  CHECK(o.upload.proxy == "http://proxy.example:3128");
  CHECK(o.upload.proxy_auth_file == "/proxy");
  CHECK(o.upload.connect_timeout == Milliseconds{3'000});
  CHECK(o.upload.total_timeout == Milliseconds{300'000});
  CHECK(o.upload.plaintext);
  CHECK(o.owners_file == "/owners.json");
  CHECK_FALSE(o.source.trust_metadata);
  CHECK(o.live_name == "trial");
  CHECK(o.live_group == "ops");
  CHECK(o.log_level == "warning");
  CHECK(o.log_json);
}

TEST_CASE("a file target stands alone and names a directory; receipts need a whole key", "[config]") {
  const std::string key(64, 'a');
  const ConfigCheck good = check_options("[upload]\nurl = [\"file:///mnt/medium\"]\nreceipt_key = \"" + key + "\"\n");
  CHECK(good.faults.empty());
  CHECK(good.options.carry.directory == "/mnt/medium");
  CHECK(good.options.upload.urls.empty());
  CHECK(good.options.delivers());
  CHECK(good.options.carry.receipt_key == std::string(32, '\xaa'));
  for (const char* const urls : {R"(["file:///a", "https://b.example/"])", R"(["https://b.example/", "file:///a"])",
                                 R"(["file://host/a"])", R"(["file://"])", R"(["file:///a", "file:///b"])"}) {
    INFO(urls);
    CHECK(faults_of(std::string("[upload]\nurl = ") + urls + "\n").starts_with("f.toml:2: upload.url: "));
  }
  for (const std::string& wrong : {std::string("ab"), std::string(64, 'x'), std::string(66, 'a')}) {
    CHECK(faults_of("[upload]\nreceipt_key = \"" + wrong + "\"\n").starts_with("f.toml:2: upload.receipt_key: "));
  }
}

TEST_CASE("all faults are listed, not only the first, each with its line", "[config]") {
  CHECK(faults_of(R"([node]
id = "Rack 1"
[sampling]
intervall = "5s"
interval = 5
[metering]
retention = "10d"
count_stopped = "yes"
[stat]
path = "/x"
[upload]
rate_limit = "10"
compression = "ztsd"
[state]
path = "relative"
)") == R"(f.toml:2: node.id: is "Rack 1"; 1 to 64 characters out of a-z, 0-9 and - are allowed
f.toml:4: sampling.intervall: unknown key; did you mean "interval"?
f.toml:5: sampling.interval: is 5; a duration with a unit (ms, s, m, h, d) from "100ms" to "1h" is expected
f.toml:7: metering.retention: unknown key; it belongs into [state]
f.toml:8: metering.count_stopped: is "yes"; true or false is expected
f.toml:9: stat: unknown section; did you mean [state]?
f.toml:12: upload.rate_limit: is "10"; a size with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB, TB) from "0B" to "1TiB" is expected
f.toml:13: upload.compression: is "ztsd"; allowed are none, gzip, zstd (did you mean "zstd"?)
f.toml:15: state.path: is "relative"; an absolute path is expected
)");
}

TEST_CASE("a value at the limit is taken and one beyond it is not", "[config]") {
  CHECK(faults_of("[sampling]\ninterval = \"100ms\"\n").empty());
  CHECK(faults_of("[sampling]\ninterval = \"1h\"\n").empty());
  CHECK_FALSE(faults_of("[sampling]\ninterval = \"99ms\"\n").empty());
  CHECK_FALSE(faults_of("[sampling]\ninterval = \"3601s\"\n").empty());
  CHECK(faults_of("[source]\nkind = \"replay\"\ntrace = \"/t\"\nspeed = 100000\n").empty());
  CHECK_FALSE(faults_of("[source]\nkind = \"replay\"\ntrace = \"/t\"\nspeed = 100001\n").empty());
  CHECK_FALSE(faults_of("[source]\nkind = \"replay\"\ntrace = \"/t\"\nspeed = 0\n").empty());
  CHECK_FALSE(faults_of("[source]\nkind = \"replay\"\ntrace = \"/t\"\nspeed = 1.5\n").empty());
}

TEST_CASE("keys that contradict each other are faults", "[config]") {
  CHECK(faults_of("[source]\nspeed = 60\n") ==
        "f.toml:2: source.speed: is 60; a real node's clock runs at speed 1 (others only for simulated and replay)\n");
  CHECK(faults_of("[source]\nkind = \"simulated\"\n") ==
        "f.toml:2: source.kind: is \"simulated\", but source.scenario names no scenario file\n");
  // A client certificate is two files here, and one place of the system's store there.
  const std::string one = kKeyFile.empty() ? "key_file" : "cert_file";
  const std::string fault = faults_of("[upload]\n" + one + " = \"/c\"\n");
  CHECK(fault.starts_with("f.toml:2: upload." + one + ": "));
  CHECK(fault.find("upload.cert_file") != std::string::npos);
}

TEST_CASE("usage is not sent unprotected unless configured, and no secret of a URL is shown", "[config]") {
  CHECK(
      faults_of("[upload]\nurl = [\"http://127.0.0.1:8123/\", \"http://localhost/\", \"http://[::1]:1/\"]\n").empty());
  CHECK(faults_of("[upload]\nplaintext = true\nurl = [\"http://agg.example/\"]\n").empty());
  CHECK(faults_of("[upload]\nurl = \"http://agg.example/?token=secret\"\n") ==
        "f.toml:2: upload.url: holds \"http://agg.example/\"; plain http sends usage unprotected: use https, or set "
        "upload.plaintext = true\n");
  const std::string credentials = faults_of("[upload]\nurl = \"https://user:secret@agg.example/\"\n");
  CHECK_THAT(credentials, Catch::Matchers::Contains("credentials do not belong into a URL"));
  CHECK_THAT(credentials, !Catch::Matchers::Contains("secret"));
  CHECK_FALSE(faults_of("[upload]\nurl = \"http://127.0.0.1.evil.example@x/\"\n").empty());
  CHECK_FALSE(faults_of("[upload]\nurl = \"ftp://a/\"\n").empty());
  CHECK_FALSE(faults_of("[upload]\nurl = \"http://127.evil.example/\"\n").empty());
}

TEST_CASE("text that is not TOML is a fault with its line, and control characters of it reach no terminal",
          "[config]") {
  const std::string fault = faults_of("[node]\nid = \"a\"\nid = \"b\"\n");
  CHECK(fault.substr(0, 25) == "f.toml:3: not valid TOML:");
  const std::string hostile = faults_of("[node]\n\"\\u001b[2Jx\" = 1\n");
  CHECK_THAT(hostile, Catch::Matchers::Contains("\\x1b[2Jx"));
  CHECK(hostile.find('\x1b') == std::string::npos);
}

TEST_CASE("text that the parser takes for impossible is a fault with its line, not the end of the process",
          "[config]") {
  for (const std::string text : {"[\n", "[[\n", "[ \t\n", "[\r\n", "[=\n", "[#\n", "[.a]\n", "a = 12:3x:00\n",
                                 "a = 1:00:00\n", "location = k\xc3\xb6ln\n", "\xc3\xb6rt = 1\n"}) {
    INFO(text);
    const std::string fault = faults_of("[node]\n\n" + text + "[log]\nlevel = \"info\"\n");
    CHECK(fault.substr(0, 25) == "f.toml:3: not valid TOML:");
  }
  CHECK(faults_of("[node]\n[") != "");
  CHECK(faults_of("[ node ]\nlocation = \"x\"\n['live']\n[\"log\"]\n[upload]\nurl = [\n  \"https://a/\"\n]\n").empty());
}

TEST_CASE("a missing default file means defaults, a missing named file is an error", "[config]") {
  const auto nowhere = std::filesystem::path(FIXTURES) / "cli/there-is-no-such-file.toml";
  CHECK(load_options(nowhere, false).ok());
  const auto required = load_options(nowhere, true);
  REQUIRE_FALSE(required.ok());
  CHECK(required.error().code == ErrorCode::kNotFound);
}

TEST_CASE("a file beyond the size limit is refused unread", "[config]") {
  const ConfigCheck check = check_options(std::string(kConfigBytesMax + 1, '#'));
  REQUIRE(check.faults.size() == 1);
  CHECK(check.faults[0].message == "larger than 256.0 KiB");
}

TEST_CASE("the derived node id is stable and does not show the machine id", "[config]") {
  const std::string machine = "0123456789abcdef0123456789abcdef";
  const auto node = node_id_from_machine_id(machine);
  REQUIRE(node.ok());
  CHECK(node->text().size() == 17);
  CHECK(node->text().substr(0, 5) == "node-");
  CHECK(machine.find(node->text().substr(5)) == std::string::npos);
  CHECK(node->text() == node_id_from_machine_id(machine)->text());
  CHECK_FALSE(node_id_from_machine_id("").ok());
  CHECK_FALSE(node_id_from_machine_id("uninitialized").ok());
}
