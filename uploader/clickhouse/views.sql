-- What people read. Every view removes repeats (FINAL) before it adds, and nothing is added up at insert: a repeat can
-- never count twice. On a cluster, run on every server.

-- The catalogue: shown quantity = base quantity * multiplier / divisor. A test compares it with the agent's.
CREATE OR REPLACE VIEW metering.meters AS
SELECT toUUID(m.1) AS id, m.2 AS name, m.3 AS unit, m.4 AS base_unit, toUInt64(m.5) AS multiplier, toUInt64(m.6) AS divisor
FROM
(
    SELECT arrayJoin([
        ('fab6eb84-500b-4a09-a8ca-7358f8bbaea5', 'base-vm-hours', 'vcore hours', 'vcore ms', 1, 3600000),
        ('9cd92d4c-bafd-4492-b278-bedc2de8232a', 'windows-vm-hours', 'vcore hours', 'vcore ms', 1, 3600000),
        ('6dab500f-a4fd-49c4-956d-229bb9c8c793', 'vm-hours', 'VM hours', 'VM ms', 1, 3600000),
        ('2a54ed4b-8e7d-5923-9f49-3fcfeb177ed4', 'cpu-time', 'core hours used', 'us', 1, 3600000000),
        ('eb5b9a8a-6ee8-5465-8798-fd04d7b00558', 'memory-hours', 'GB hours', 'MiB ms', 1048576, 3600000000000000),
        ('413a12c1-eb7b-5ca1-9ba8-9bfa584296a8', 'disk-allocated-hours', 'GB hours', 'MiB ms', 1048576, 3600000000000000),
        ('c7db86ac-af44-545e-b0ed-9281b44456e2', 'disk-read-bytes', 'GB', 'bytes', 1, 1000000000),
        ('a1dbefc8-63ac-56f8-890c-757b2f11d0f3', 'disk-write-bytes', 'GB', 'bytes', 1, 1000000000),
        ('e839d1fa-20a4-5102-a8b2-7ea0f994603f', 'disk-read-operations', '10 000', 'operations', 1, 10000),
        ('fc8bf575-ca84-5508-b0da-dedac19168b6', 'disk-write-operations', '10 000', 'operations', 1, 10000),
        ('d79126de-73c5-5838-a4e1-ed6d0d72cf6e', 'network-receive-bytes', 'GB', 'bytes', 1, 1000000000),
        ('228e643d-bf3d-555f-9db3-872cc582a9cf', 'network-transmit-bytes', 'GB', 'bytes', 1, 1000000000),
        ('07e10380-9bfb-5fd2-b960-c4cce8963663', 'network-receive-packets', 'packets', 'packets', 1, 1),
        ('5f397a82-5349-537f-b09c-c45666c80086', 'network-transmit-packets', 'packets', 'packets', 1, 1)]) AS m
);

-- One row per usage entry and meter, in base units. What the views below are made of.
CREATE OR REPLACE VIEW metering.usage_entries AS
SELECT tenant_id, subscription_id, vm_id, resource_uri, location, usage_start, usage_end, reported_at, vcores, billable,
       covered_ms, gap_ms, status, tags, node_id, epoch, seq, meter_id, base_quantity
FROM metering.journal FINAL
ARRAY JOIN `meter.id` AS meter_id, `meter.quantity` AS base_quantity
WHERE kind = 'usage';

-- One row per usage entry and meter. `quantity` has 10 decimals, rounded half-even, as everywhere in nodemeter; it is for
-- reading: sums are made of `base_quantity`, as 128 bits (sum of UInt64 wraps around silently), and rounded after that.
-- A meter that is not in the catalogue has base units only: its quantity is NULL, its name empty.
CREATE OR REPLACE VIEW metering.usage AS
WITH (n, d) -> intDiv(n, d) + (2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even
SELECT u.*, m.name AS meter_name, m.unit AS unit,
       toDecimal256(half_even(toUInt256(u.base_quantity) * m.multiplier * 10000000000, nullIf(m.divisor, 0)), 10) / 10000000000 AS quantity
FROM metering.usage_entries AS u
LEFT JOIN metering.meters AS m ON m.id = u.meter_id;

-- The same per VM, hour and meter: entries of a VM that moved, whose agent restarted or whose knowledge came late add up.
CREATE OR REPLACE VIEW metering.usage_hourly AS
WITH (n, d) -> intDiv(n, d) + (2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even
SELECT s.*, m.name AS meter_name, m.unit AS unit,
       toDecimal256(half_even(toUInt256(s.base_quantity) * m.multiplier * 10000000000, nullIf(m.divisor, 0)), 10) / 10000000000 AS quantity
FROM
(
    SELECT tenant_id, subscription_id, vm_id, billable, toStartOfHour(usage_start) AS hour, meter_id,
           sum(toUInt128(u.base_quantity)) AS base_quantity, count() AS entries, groupBitOr(u.status) AS status,
           argMax(u.resource_uri, (u.usage_start, u.reported_at)) AS resource_uri
    FROM metering.usage_entries AS u
    GROUP BY tenant_id, subscription_id, vm_id, billable, hour, meter_id
) AS s
LEFT JOIN metering.meters AS m ON m.id = s.meter_id;

-- The same per VM, UTC day and meter.
CREATE OR REPLACE VIEW metering.usage_daily AS
WITH (n, d) -> intDiv(n, d) + (2 * (n % d) > d OR (2 * (n % d) = d AND intDiv(n, d) % 2 = 1)) AS half_even
SELECT s.*, m.name AS meter_name, m.unit AS unit,
       toDecimal256(half_even(toUInt256(s.base_quantity) * m.multiplier * 10000000000, nullIf(m.divisor, 0)), 10) / 10000000000 AS quantity
FROM
(
    SELECT tenant_id, subscription_id, vm_id, billable, toDate(usage_start) AS day, meter_id,
           sum(toUInt128(u.base_quantity)) AS base_quantity, count() AS entries, groupBitOr(u.status) AS status,
           argMax(u.resource_uri, (u.usage_start, u.reported_at)) AS resource_uri
    FROM metering.usage_entries AS u
    GROUP BY tenant_id, subscription_id, vm_id, billable, day, meter_id
) AS s
LEFT JOIN metering.meters AS m ON m.id = s.meter_id;
