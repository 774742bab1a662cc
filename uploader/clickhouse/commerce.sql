-- The usage bridge: what nodemeter-aggregator's commerce verb hands to Azure commerce, from rows in ClickHouse. Run once,
-- after views.sql and completeness.sql; on a cluster on one server, which then does all of it. README.md says how to use it.

-- The registration as nodemeter-aggregator keeps it, whole; the newest counts.
CREATE TABLE IF NOT EXISTS metering.registrations
(
    loaded_at DateTime64(6, 'UTC') DEFAULT now64(6),
    document  String
)
ENGINE = MergeTree ORDER BY loaded_at;

-- Which usage entry went into which part of its day, and who pays for it: written before a part is delivered, never
-- changed, so that a part is the same whenever it is asked for.
CREATE TABLE IF NOT EXISTS metering.commerce_parts
(
    day     Date,
    part    UInt32,
    payer   UUID,
    node_id LowCardinality(String),
    epoch   UUID,
    seq     UInt64,
    digest  String
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, node_id, epoch, seq, digest)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- The meters that Azure bills, and what it calls them.
CREATE OR REPLACE VIEW metering.commerce_meters AS
SELECT toUUID(m.1) AS meter_id, toUUID(m.2) AS commerce_meter_id
FROM
(
    SELECT arrayJoin([
        ('fab6eb84-500b-4a09-a8ca-7358f8bbaea5', 'fab6eb84-500b-4a09-a8ca-7358f8bbaea5'),
        ('9cd92d4c-bafd-4492-b278-bedc2de8232a', 'fb8c0713-ea20-40bf-901f-5560fd3f6330')]) AS m
);

-- Who pays for a tenant, from when on; an empty payer is the default subscription. Of two entries of one instant the later
-- one holds.
CREATE OR REPLACE VIEW metering.commerce_payers AS
SELECT tenant_id, effective_from, argMax(subscription, place) AS payer
FROM
(
    SELECT toUUID(JSONExtractString(mapping, 'tenant')) AS tenant_id,
           parseDateTime64BestEffort(JSONExtractString(mapping, 'from'), 3, 'UTC') AS effective_from,
           JSONExtractString(mapping, 'subscription') AS subscription, place
    FROM (SELECT JSONExtractArrayRaw(argMax(document, loaded_at), 'tenants') AS mappings FROM metering.registrations)
    ARRAY JOIN mappings AS mapping, arrayEnumerate(mappings) AS place
)
GROUP BY tenant_id, effective_from;

-- One row per billable usage entry and billed meter. Trials are not billed to anybody.
CREATE OR REPLACE VIEW metering.commerce_lines AS
SELECT toDate(u.usage_start) AS day, u.node_id AS node_id, u.epoch AS epoch, u.seq AS seq, u.digest AS digest,
       toDateTime64(toStartOfHour(u.usage_start) + INTERVAL 1 HOUR, 3, 'UTC') AS hour_end, u.reported_at AS reported_at,
       u.tenant_id AS tenant_id, u.subscription_id AS subscription_id, u.vm_id AS vm_id, u.resource_uri AS resource_uri,
       u.location AS location, u.meter_id AS meter_id, m.commerce_meter_id AS commerce_meter_id, u.base_quantity AS base_quantity
FROM
(
    SELECT *, `meter.id`[place] AS meter_id, `meter.quantity`[place] AS base_quantity
    FROM metering.journal FINAL
    ARRAY JOIN arrayEnumerate(`meter.id`) AS place
    WHERE kind = 'usage' AND billable AND NOT bitTest(status, 12)
) AS u
INNER JOIN metering.commerce_meters AS m ON m.meter_id = u.meter_id
WHERE u.base_quantity != 0;

-- Entries of days from `since` on that are in no part yet: of complete days, and of days that have a part already. A day is
-- complete when it is over and every known node has closed it; a host that never reported is not known here.
CREATE OR REPLACE VIEW metering.commerce_due AS
SELECT e.day AS day, toUInt32(p.parts + 1) AS part,
       if(w.payer = '', d.subscription, toUUIDOrZero(w.payer)) AS payer,
       e.node_id AS node_id, e.epoch AS epoch, e.seq AS seq, e.digest AS digest
FROM
(
    SELECT DISTINCT day, node_id, epoch, seq, digest, hour_end, tenant_id
    FROM metering.commerce_lines
    WHERE day >= {since:Date}
) AS e
LEFT JOIN (SELECT day, max(part) AS parts FROM metering.commerce_parts WHERE day >= {since:Date} GROUP BY day) AS p ON p.day = e.day
ASOF LEFT JOIN metering.commerce_payers AS w ON w.tenant_id = e.tenant_id AND e.hour_end > w.effective_from
CROSS JOIN (SELECT toUUID(JSONExtractString(argMax(document, loaded_at), 'subscription')) AS subscription FROM metering.registrations) AS d
CROSS JOIN
(
    SELECT min(until) AS closed_until
    FROM (SELECT max(closed_until) AS until FROM metering.nodes GROUP BY node_id)
) AS n
WHERE (e.node_id, e.epoch, e.seq, e.digest) NOT IN
      (SELECT node_id, epoch, seq, digest FROM metering.commerce_parts WHERE day >= {since:Date})
  AND (p.parts > 0 OR (e.day < toDate(now('UTC')) AND toDateTime(e.day + 1, 'UTC') <= n.closed_until));

-- The records of every part: what commerce is told. Of a VM that was renamed within the day, the newest name.
CREATE OR REPLACE VIEW metering.commerce_records AS
WITH (n, d) -> intDiv(n, d) + (2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even
SELECT s.day AS day, s.part AS part, s.commerce_meter_id AS commerce_meter_id,
       toDecimal256(half_even(toUInt256(s.base_quantity) * m.multiplier * 10000000000, nullIf(m.divisor, 0)), 10) / 10000000000 AS quantity,
       m.unit AS unit, s.base_quantity AS base_quantity, s.location AS location, s.resource_uri AS resource_uri,
       s.subscription_id AS subscription_id, s.payer AS billing_subscription_id,
       toDateTime(s.day, 'UTC') AS usage_start, toDateTime(s.day + 1, 'UTC') AS usage_end,
       s.meter_id AS local_meter_id, s.tenant_id AS tenant_id, s.vm_id AS vm_id
FROM
(
    SELECT p.day AS day, p.part AS part, p.payer AS payer, e.subscription_id AS subscription_id, e.tenant_id AS tenant_id,
           e.vm_id AS vm_id, e.meter_id AS meter_id, any(e.commerce_meter_id) AS commerce_meter_id,
           sum(toUInt128(e.base_quantity)) AS base_quantity,
           argMax(e.resource_uri, (e.reported_at, e.node_id, e.epoch, e.seq)) AS resource_uri,
           argMax(e.location, (e.reported_at, e.node_id, e.epoch, e.seq)) AS location
    FROM metering.commerce_lines AS e
    INNER JOIN (SELECT * FROM metering.commerce_parts FINAL) AS p
        ON p.day = e.day AND p.node_id = e.node_id AND p.epoch = e.epoch AND p.seq = e.seq AND p.digest = e.digest
    GROUP BY p.day, p.part, p.payer, e.subscription_id, e.tenant_id, e.vm_id, e.meter_id
) AS s
LEFT JOIN metering.meters AS m ON m.id = s.meter_id;
