-- The journal's tables on a cluster. Run on every server, as an administrator: clickhouse-client --multiquery < cluster.sql
-- Then views.sql and completeness.sql, also on every server. README.md says what the servers' configuration needs: the
-- cluster `fleet` with a secret, the macros {shard} and {replica}, a keeper.

CREATE DATABASE IF NOT EXISTS metering;

CREATE TABLE IF NOT EXISTS metering.journal_local
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
    -- A node writes as itself only: node n1 is the user node_n1. The cluster's secret carries the user from server to server.
    -- A relay writes for the nodes behind it, and its own list of nodes says for which: a user relay_… is trusted so far.
    CONSTRAINT writes_as_itself CHECK concat('node_', node_id) = currentUser() OR startsWith(currentUser(), 'relay_'),
    -- Rows of a simulated or replayed source are not for billing. For a trial, leave this out.
    CONSTRAINT not_simulated CHECK bitTest(status, 12) = 0
)
-- A repeat is equal in every column, so it has the same key and collapses. Two rows of one sequence number with different
-- digests are a fork of the node's chain: both stay and show in metering.findings.
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/metering/journal_local', '{replica}')
PARTITION BY toYYYYMM(usage_start)
PRIMARY KEY (tenant_id, subscription_id, vm_id, usage_start)
ORDER BY (tenant_id, subscription_id, vm_id, usage_start, node_id, epoch, seq, digest)
-- Repeats by token, for a week (604 800 s; the default is an hour). What comes later still collapses by the key. A batch
-- is durable before it is acknowledged.
SETTINGS replicated_deduplication_window = 200000, replicated_deduplication_window_seconds = 604800,
         fsync_after_insert = 1, fsync_part_directory = 1;

-- Nodes write here, on whichever server, and everybody reads here. All rows of one node are on one shard: FINAL, which
-- removes repeats within a shard, is then right for the whole.
CREATE TABLE IF NOT EXISTS metering.journal AS metering.journal_local
ENGINE = Distributed(fleet, metering, journal_local, cityHash64(node_id));
