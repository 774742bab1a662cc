// Goal: a batch is taken whole or refused with a sentence that names what is wrong, whatever bytes arrive.
// Method: valid batches made row by row, then damaged in one way each.

#include "uploader/aggregator/ingest.h"

#include <zlib.h>
#include <zstd.h>

#include <catch2/catch.hpp>

#include "platform/random.h"
#include "tests/uploader/chain.h"
#include "uploader/aggregator/inflate.h"
#include "uploader/compress.h"

namespace nodemeter {
namespace {

using testing::ChainBuilder;

Refusal refused(const IngestClaims& claims, const std::string& body, const IngestLimits& limits = {}) {
  const auto result = decode_batch(claims, body, limits);
  REQUIRE(std::holds_alternative<Refusal>(result));
  const Refusal refusal = std::get<Refusal>(result);
  CHECK_FALSE(refusal.sentence.empty());
  CHECK_FALSE(refusal.cause.empty());
  return refusal;
}

IngestClaims claims_of(const ChainBuilder& chain, Sequence first) {
  return IngestClaims{.node = chain.node().text(),
                      .epoch = chain.epoch().text(),
                      .sequence = std::to_string(first) + "-" + std::to_string(chain.last()),
                      .digest = chain.head().hex()};
}

}  // namespace

TEST_CASE("a good batch says what is in it", "[ingest]") {
  ChainBuilder chain;
  chain.body(4);
  const std::string body = chain.body(3);
  const auto result = decode_batch(claims_of(chain, 5), body, {});
  REQUIRE(std::holds_alternative<IngestBatch>(result));
  const auto& batch = std::get<IngestBatch>(result);
  CHECK(batch.node == chain.node());
  CHECK(batch.epoch == chain.epoch());
  CHECK(batch.first == 5);
  CHECK(batch.last == 7);
  REQUIRE(batch.rows.size() == 3);
  CHECK(batch.rows[2].digest == chain.head());
  std::string together;
  for (const IngestRow& row : batch.rows) together += row.row;
  CHECK(together == body);
  CHECK(std::holds_alternative<IngestBatch>(decode_batch({}, body, {})));
}

TEST_CASE("headers that contradict the rows are refused", "[ingest]") {
  ChainBuilder chain;
  const std::string body = chain.body(3);
  IngestClaims claims = claims_of(chain, 1);
  SECTION("another node") {
    claims.node = "node-2";
    CHECK(refused(claims, body).status == 403);
  }
  SECTION("another epoch") {
    claims.epoch = testing::uuid_of(99).text();
    CHECK(refused(claims, body).status == 400);
  }
  SECTION("another range") {
    claims.sequence = "1-4";
    CHECK(refused(claims, body).status == 400);
  }
  SECTION("another digest") {
    claims.digest = Digest{}.hex();
    CHECK(refused(claims, body).status == 400);
  }
}

TEST_CASE("rows that do not belong together are refused", "[ingest]") {
  ChainBuilder chain;
  const std::string one = chain.add().bytes;
  const std::string two = chain.add().bytes;
  const std::string three = chain.add().bytes;
  CHECK(refused({}, one + three).cause == "sequence");
  CHECK(refused({}, two + one).cause == "sequence");
  CHECK(refused({}, one + one).cause == "sequence");
  ChainBuilder other_node("node-2");
  other_node.add();
  CHECK(refused({}, one + other_node.add().bytes).cause == "mixed");
  ChainBuilder other_epoch("node-1", 9);
  other_epoch.add();
  CHECK(refused({}, one + other_epoch.add().bytes).cause == "mixed");
  ChainBuilder fork;
  fork.add("another past");
  CHECK(refused({}, one + fork.add().bytes).cause == "chain");
}

TEST_CASE("no single changed bit passes", "[ingest]") {
  ChainBuilder chain;
  const std::string body = chain.body(3);
  const IngestClaims claims = claims_of(chain, 1);
  // The first row's own link is the store's to check; from the second on, and for the last digest, it shows here.
  const std::size_t first_row = body.size() / 3;
  for (std::size_t at = first_row; at < body.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = body;
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << bit));
      REQUIRE(std::holds_alternative<Refusal>(decode_batch(claims, damaged, {})));
    }
  }
}

TEST_CASE("a batch that is cut off anywhere is refused", "[ingest]") {
  ChainBuilder chain;
  const std::string body = chain.body(3);
  for (std::size_t size = 0; size < body.size(); ++size) {
    REQUIRE(std::holds_alternative<Refusal>(decode_batch(claims_of(chain, 1), body.substr(0, size), {})));
  }
}

TEST_CASE("limits are refused with 413, so that the sender halves", "[ingest]") {
  ChainBuilder chain;
  const std::string body = chain.body(5);
  CHECK(refused({}, body, {.rows_max = 4}).status == 413);
  CHECK(refused({}, body, {.bytes_max = body.size() - 1}).status == 413);
  CHECK(std::holds_alternative<IngestBatch>(decode_batch({}, body, {.rows_max = 5, .bytes_max = body.size()})));
}

TEST_CASE("simulated rows are only for a receiver that wants them", "[ingest]") {
  ChainBuilder chain;
  const std::string body = chain.add("", status_bit::kSimulated).bytes;
  CHECK(refused({}, body).status == 403);
  CHECK(std::holds_alternative<IngestBatch>(decode_batch({}, body, {.allow_simulated = true})));
}

TEST_CASE("a schema from the future is held by the sender and not blamed on a row", "[ingest]") {
  ChainBuilder chain;
  std::string body = chain.add().bytes;
  body[0] = 2;
  CHECK(refused({}, body).status == 415);
}

TEST_CASE("a body comes out as it went in, in every encoding", "[inflate]") {
  Random random(5);
  for (const std::size_t size : {0u, 1u, 1'000u, 200'000u, 3'000'000u}) {
    std::string body;
    while (body.size() < size) body.push_back(static_cast<char>(random.below(40)));
    for (const Compression c : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
      const Result<std::string> small = compressed(body, c);
      REQUIRE(small.ok());
      const Result<std::string> back = inflate_body(content_encoding(c), *small, 4'000'000);
      REQUIRE(back.ok());
      CHECK(*back == body);
      if (size > 0)
        CHECK(inflate_body(content_encoding(c), *small, size - 1).error().code == ErrorCode::kLimitExceeded);
      if (c == Compression::kNone || small->size() < 2) continue;
      CHECK_FALSE(inflate_body(content_encoding(c), small->substr(0, small->size() - 1), 4'000'000).ok());
      CHECK_FALSE(inflate_body(content_encoding(c), *small + "x", 4'000'000).ok());
    }
  }
  CHECK(inflate_body("br", "x", 100).error().code == ErrorCode::kUnsupported);
}

TEST_CASE("a decompression bomb is refused at the limit", "[inflate]") {
  const std::string zeros(200u << 20, '\0');
  for (const Compression c : {Compression::kGzip, Compression::kZstd}) {
    const Result<std::string> bomb = compressed(zeros, c);
    REQUIRE(bomb.ok());
    CHECK(bomb->size() < (2u << 20));
    CHECK(inflate_body(content_encoding(c), *bomb, 16u << 20).error().code == ErrorCode::kLimitExceeded);
  }
}

}  // namespace nodemeter
