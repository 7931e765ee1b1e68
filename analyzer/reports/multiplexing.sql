-- title: Multiplexing
-- about: streams open at a time over time, per connection, and what reuse saved

-- section: Streams open at a time
-- empty: Nothing was exchanged in this capture.
-- optional: lasts_ns, average
-- flexible: server
WITH chosen AS (
    SELECT connection_id, count(*) AS changes, max(open_streams) AS at_most, min(changed_at) AS first_at, max(changed_at) AS last_at
    FROM streams_open GROUP BY ALL ORDER BY changes DESC, connection_id LIMIT 20
),
slots AS (
    SELECT connection_id, slot, epoch_ns(first_at) + (epoch_ns(last_at) - epoch_ns(first_at)) * slot // 40 AS slot_from,
        epoch_ns(first_at) + (epoch_ns(last_at) - epoch_ns(first_at)) * (slot + 1) // 40 AS slot_to
    FROM chosen, range(40) AS slots(slot)
),
levels AS (
    SELECT s.connection_id, s.slot, coalesce(o.open_streams, 0) AS level
    FROM slots s ASOF LEFT JOIN (
        -- of several changes at one time the last is the level that lasts
        SELECT connection_id, epoch_ns(changed_at) AS changed, arg_max(open_streams, place) AS open_streams
        FROM (SELECT *, row_number() OVER (PARTITION BY connection_id) AS place FROM streams_open) GROUP BY ALL
    ) o ON o.connection_id = s.connection_id AND o.changed <= s.slot_from
),
peaks AS (
    SELECT s.connection_id, s.slot, max(o.open_streams) AS level
    FROM slots s JOIN streams_open o ON o.connection_id = s.connection_id AND epoch_ns(o.changed_at) >= s.slot_from
        AND (epoch_ns(o.changed_at) < s.slot_to OR s.slot = 39)
    GROUP BY ALL
),
drawn AS (
    SELECT connection_id, list(greatest(l.level, coalesce(p.level, 0)) ORDER BY slot) AS open_over_time
    FROM levels l LEFT JOIN peaks p USING (connection_id, slot) GROUP BY ALL
)
SELECT
    connection_id AS connection, c.server_address || ':' || c.server_port AS server, c.protocol, at_most,
    epoch_ns(last_at) - epoch_ns(first_at) AS lasts_ns, open_over_time
FROM chosen JOIN drawn USING (connection_id) JOIN connections c USING (connection_id)
ORDER BY changes DESC, connection;

-- section: What reuse saved, by server
-- optional: idle_share, handshake_ns
-- flexible: server
WITH used AS (
    SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL
),
busy AS (
    -- time with at least one exchange open
    SELECT connection_id, sum(until - since) AS busy_ns FROM (
        SELECT connection_id, open_streams, epoch_ns(changed_at) AS since,
            lead(epoch_ns(changed_at), 1, epoch_ns(changed_at)) OVER (PARTITION BY connection_id ORDER BY changed_at) AS until
        FROM streams_open
    ) WHERE open_streams > 0 GROUP BY ALL
)
SELECT
    server_address || ':' || server_port AS server, count(*) AS connections, sum(exchanges)::BIGINT AS exchanges,
    round(avg(exchanges), 1) AS per_connection, median(handshake_rtt_ns)::BIGINT AS handshake_ns,
    (median(handshake_rtt_ns) * sum(exchanges - 1))::BIGINT AS saved_ns,
    1 - least(sum(busy_ns) / nullif(sum(duration_ns), 0), 1) AS idle_share
FROM used JOIN connections USING (connection_id) LEFT JOIN busy USING (connection_id)
GROUP BY ALL ORDER BY exchanges DESC, server LIMIT 15;
