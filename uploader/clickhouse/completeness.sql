-- Is everything here? `SELECT * FROM metering.findings` is empty if no row was lost, doubled in another form or changed on
-- its way, and `metering.nodes` says how far each node has come. Both read the whole journal; ask for one node with
-- WHERE node_id = …. On a cluster, run on every server.

-- One row per stored entry and form of it, repeats removed.
CREATE OR REPLACE VIEW metering.entries AS
SELECT node_id, epoch, seq, kind, usage_start, usage_end, reported_at, detail, digest,
       `meter.id` AS meter_ids, `meter.quantity` AS meter_quantities
FROM metering.journal FINAL;

-- What each manifest promises about the entries first_seq to last_seq.
CREATE OR REPLACE VIEW metering.manifests AS
SELECT node_id, epoch, seq,
       JSONExtractUInt(detail, 'first_seq') AS first_seq, JSONExtractUInt(detail, 'last_seq') AS last_seq,
       JSONExtractUInt(detail, 'count') AS promised, JSONExtractString(detail, 'head') AS head,
       parseDateTimeBestEffort(JSONExtractString(detail, 'closed_until'), 'UTC') AS closed_until,
       JSONExtractRaw(detail, 'sums') AS sums
FROM metering.entries
WHERE kind = 'manifest';

-- Sequence numbers that are missing below the newest one. Numbers begin at 1 in every epoch.
CREATE OR REPLACE VIEW metering.holes AS
SELECT node_id, epoch, prev + 1 AS first_seq, seq - 1 AS last_seq
FROM
(
    SELECT node_id, epoch, seq, lagInFrame(seq) OVER (PARTITION BY node_id, epoch ORDER BY seq) AS prev
    FROM (SELECT DISTINCT node_id, epoch, seq FROM metering.entries)
)
WHERE seq > prev + 1;

-- One sequence number, several digests: the node's chain went two ways, as after a store was copied and used twice.
CREATE OR REPLACE VIEW metering.forks AS
SELECT node_id, epoch, seq, uniqExact(digest) AS forms, count() AS copies
FROM metering.entries
GROUP BY node_id, epoch, seq
HAVING copies > 1;

-- Entries of a manifest's range that are stored, beside what it promises.
CREATE OR REPLACE VIEW metering.manifest_counts AS
WITH
    e AS (SELECT node_id, epoch, seq, row_number() OVER (PARTITION BY node_id, epoch ORDER BY seq) AS rank
          FROM (SELECT DISTINCT node_id, epoch, seq FROM metering.entries))
SELECT m.node_id AS node_id, m.epoch AS epoch, m.seq AS seq, m.first_seq AS first_seq, m.last_seq AS last_seq,
       m.promised AS promised, l.rank - f.rank AS stored
FROM metering.manifests AS m
ASOF LEFT JOIN e AS l ON l.node_id = m.node_id AND l.epoch = m.epoch AND m.last_seq >= l.seq
ASOF LEFT JOIN e AS f ON f.node_id = m.node_id AND f.epoch = m.epoch AND m.first_seq > f.seq;

-- Sums per manifest, hour and meter that differ from what the node signed.
CREATE OR REPLACE VIEW metering.manifest_sums AS
SELECT node_id, epoch, seq, hour, meter_id, sum(promised) AS promised_sum, sum(stored) AS stored_sum
FROM
(
    SELECT node_id, epoch, seq, parseDateTimeBestEffort(hour_text, 'UTC') AS hour, toUUID(pair.1) AS meter_id,
           toUInt128(pair.2) AS promised, toUInt128(0) AS stored
    FROM
    (
        SELECT node_id, epoch, seq, h.1 AS hour_text, arrayJoin(JSONExtractKeysAndValues(h.2, 'String')) AS pair
        FROM (SELECT node_id, epoch, seq, arrayJoin(JSONExtractKeysAndValuesRaw(sums)) AS h FROM metering.manifests)
    )
    UNION ALL
    SELECT m.node_id, m.epoch, m.seq, toStartOfHour(e.usage_start) AS hour, meter_id, toUInt128(0) AS promised, toUInt128(quantity) AS stored
    FROM
    (
        SELECT node_id, epoch, seq, usage_start, meter_id, quantity
        FROM metering.entries
        ARRAY JOIN meter_ids AS meter_id, meter_quantities AS quantity
        WHERE kind = 'usage'
    ) AS e
    ASOF INNER JOIN metering.manifests AS m ON m.node_id = e.node_id AND m.epoch = e.epoch AND e.seq <= m.last_seq
    WHERE e.seq >= m.first_seq
)
GROUP BY node_id, epoch, seq, hour, meter_id
HAVING promised_sum != stored_sum;

-- A store that was replaced says how far the one before it had come: entries up to there were made, wherever they are now.
CREATE OR REPLACE VIEW metering.lost_tails AS
SELECT r.node_id AS node_id, r.previous AS epoch, l.last_seq + 1 AS first_seq, r.ended AS last_seq
FROM
(
    SELECT DISTINCT node_id, toUUIDOrZero(JSONExtractString(detail, 'previous_epoch')) AS previous,
           JSONExtractUInt(detail, 'previous_last_sequence') AS ended
    FROM metering.entries
    WHERE kind = 'event' AND JSONExtractString(detail, 'event') = 'store-replaced'
) AS r
LEFT JOIN (SELECT node_id, epoch, max(seq) AS last_seq FROM metering.entries GROUP BY node_id, epoch) AS l
    ON l.node_id = r.node_id AND l.epoch = r.previous
WHERE r.ended > l.last_seq;

-- Everything that is wrong, in one table.
CREATE OR REPLACE VIEW metering.findings AS
SELECT node_id, epoch, 'hole' AS finding, first_seq, last_seq,
       concat(toString(last_seq - first_seq + 1), ' missing') AS explanation
FROM metering.holes
UNION ALL
SELECT node_id, epoch, 'lost tail', first_seq, last_seq, concat(toString(last_seq - first_seq + 1), ' never arrived before the store was replaced')
FROM metering.lost_tails
UNION ALL
SELECT node_id, epoch, 'fork', seq, seq, concat(toString(copies), ' entries with one number')
FROM metering.forks
UNION ALL
SELECT node_id, epoch, 'manifest count', first_seq, last_seq,
       concat('manifest ', toString(seq), ' promises ', toString(promised), ', stored are ', toString(stored))
FROM metering.manifest_counts
WHERE promised != stored
UNION ALL
SELECT m.node_id, m.epoch, 'manifest head', m.first_seq, m.last_seq,
       concat('manifest ', toString(m.seq), ': entry ', toString(m.last_seq), ' has another digest')
FROM metering.manifests AS m
INNER JOIN metering.entries AS e ON e.node_id = m.node_id AND e.epoch = m.epoch AND e.seq = m.last_seq
WHERE lower(hex(e.digest)) != m.head
UNION ALL
SELECT node_id, epoch, 'manifest sums', seq, seq,
       concat('hour ', toString(hour), ', meter ', toString(meter_id), ': signed ', toString(promised_sum), ', stored ', toString(stored_sum))
FROM metering.manifest_sums
UNION ALL
-- Manifests follow each other without a step: what one covers ends where the next begins.
SELECT node_id, epoch, 'manifest range', first_seq, last_seq,
       concat('manifest ', toString(seq), ' begins at ', toString(first_seq), ', the one before it ended at ', toString(prev))
FROM
(
    SELECT node_id, epoch, seq, first_seq, last_seq,
           lagInFrame(last_seq) OVER (PARTITION BY node_id, epoch ORDER BY seq) AS prev
    FROM metering.manifests
)
WHERE first_seq != prev + 1;

-- How far each node has come. An hour can be billed once closed_until of every node is past it and findings is empty;
-- a node that is not here, or stays behind the others, is silent.
CREATE OR REPLACE VIEW metering.nodes AS
SELECT e.node_id AS node_id, e.epoch AS epoch, e.last_seq AS last_seq, e.newest AS newest, m.closed_until AS closed_until
FROM
(
    SELECT node_id, epoch, max(seq) AS last_seq, max(reported_at) AS newest FROM metering.entries GROUP BY node_id, epoch
) AS e
LEFT JOIN
(
    SELECT node_id, epoch, max(closed_until) AS closed_until FROM metering.manifests GROUP BY node_id, epoch
) AS m ON m.node_id = e.node_id AND m.epoch = e.epoch;
