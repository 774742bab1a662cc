// An aggregator's store on a disk in memory, which survives what has it open.

#pragma once

#include <catch2/catch.hpp>
#include <memory>

#include "tests/sim/memory_kv.h"
#include "uploader/aggregator/aggregator_store.h"

namespace nodemeter::testing {

struct StoreInMemory {
  StoreInMemory() { reopen(); }

  void reopen() {
    store.reset();
    kv = std::make_unique<MemoryKv>(disk);
    auto opened = AggregatorStore::open(*kv);
    REQUIRE(opened.ok());
    store = std::move(*opened);
  }

  // Stores a batch that is whole and true.
  StoreOutcome keep(const IngestBatch& batch, UtcTime now) {
    const auto stored = store->store(batch, now);
    REQUIRE(stored.ok());
    REQUIRE(std::holds_alternative<StoreOutcome>(*stored));
    return std::get<StoreOutcome>(*stored);
  }

  MemoryDisk disk;
  std::unique_ptr<MemoryKv> kv;
  std::unique_ptr<AggregatorStore> store;
};

}  // namespace nodemeter::testing
