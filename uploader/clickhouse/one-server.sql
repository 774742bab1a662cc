-- The journal's table on one server. Run once, as an administrator: clickhouse-client --multiquery < one-server.sql
-- Then views.sql and completeness.sql. What the columns mean: store/FORMAT.md, "The row".

CREATE DATABASE IF NOT EXISTS metering;

CREATE TABLE IF NOT EXISTS metering.journal
(
    schema           UInt8,
    node_id          LowCardinality(String),
    epoch            UUID,
    seq              UInt64 CODEC(Delta, ZSTD(1)),
    kind             Enum8('usage' = 1, 'gap' = 2, 'event' = 3, 'manifest' = 4),
    vm_id            UUID,
    usage_start      DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    usage_end        DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    reported_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    subscription_id  UUID,
    tenant_id        UUID,
    resource_uri     String CODEC(ZSTD(1)),
    location         LowCardinality(String),
    vcores           UInt32,
    billable         Bool,
    covered_ms       UInt64,
    gap_ms           Int64,
    status           UInt32,
    `meter.id`       Array(UUID) CODEC(ZSTD(1)),
    `meter.quantity` Array(UInt64) CODEC(ZSTD(1)),
    `meter.register` Array(UInt64) CODEC(ZSTD(3)),
    tags             Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    detail           String CODEC(ZSTD(1)),
    digest           String CODEC(ZSTD(1)),

    -- The input format stores some wrong values without an error; these make it refuse them.
    CONSTRAINT schema_known CHECK schema = 1,
    CONSTRAINT kind_known   CHECK toInt8(kind) BETWEEN 1 AND 4,
    CONSTRAINT bool_01      CHECK toUInt8(billable) <= 1,
    CONSTRAINT time_sane    CHECK usage_start >= '2020-01-01 00:00:00' AND usage_end >= usage_start AND usage_start < '2100-01-01 00:00:00',
    CONSTRAINT digest_len   CHECK length(digest) = 32,
    -- A node writes as itself only: node n1 is the user node_n1. A relay writes for the nodes behind it, and its own list of
    -- nodes says for which: a user relay_… is trusted so far.
    CONSTRAINT writes_as_itself CHECK concat('node_', node_id) = currentUser() OR startsWith(currentUser(), 'relay_'),
    -- Rows of a simulated or replayed source are not for billing. For a trial, leave this out.
    CONSTRAINT not_simulated CHECK bitTest(status, 12) = 0
)
-- A repeat is equal in every column, so it has the same key and collapses. Two rows of one sequence number with different
-- digests are a fork of the node's chain: both stay and show in metering.findings.
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(usage_start)
PRIMARY KEY (tenant_id, subscription_id, vm_id, usage_start)
ORDER BY (tenant_id, subscription_id, vm_id, usage_start, node_id, epoch, seq, digest)
-- No repeats by token: a table that is not replicated notes the token before the rows are in their place, so that a crash
-- between makes it take the rows for a repeat, and acknowledge them, for good. Repeats collapse by the key. A batch is
-- durable before it is acknowledged.
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1;
