-- title: Multiplexing
-- about: streams open at a time over time, per connection, and what reuse saved

-- table: spans
-- from one change to the next: the most that were open at that moment, and how many stayed open
WITH moments AS (
    SELECT connection_id, epoch_ns(changed_at) AS changed, max(open_streams) AS highest, sum(change) AS change
    FROM streams_open GROUP BY ALL
)
SELECT
    connection_id, changed, highest, sum(change) OVER following::BIGINT AS level, lead(changed, 1, changed) OVER following AS until
FROM moments WINDOW following AS (PARTITION BY connection_id ORDER BY changed);

-- section: Open at a time, each connection from its first stream to its last
-- empty: Nothing was exchanged in this capture.
-- untitled: connection, server
-- optional: protocol, average, lasts_ns
-- flexible: server
WITH chosen AS (
    SELECT
        connection_id, max(highest) AS at_most, min(changed) AS first_at, greatest(max(until) - min(changed), 1) AS lasts_ns,
        sum(level * (until - changed)) / greatest(max(until) - min(changed), 1) AS average
    FROM spans GROUP BY ALL ORDER BY at_most DESC, count(*) DESC, connection_id LIMIT 20
),
-- a connection's time in 30 slots; each shows the most that were open in it
touched AS (
    SELECT
        connection_id, highest, level, least((changed - first_at) * 30 // lasts_ns, 29) AS first_slot,
        least((until - first_at) * 30 // lasts_ns, 29) AS last_slot
    FROM spans JOIN chosen USING (connection_id)
),
levels AS (
    SELECT connection_id, first_slot AS slot, highest AS open FROM touched
    UNION ALL
    SELECT connection_id, unnest(range(first_slot + 1, last_slot + 1)), level FROM touched WHERE last_slot > first_slot
),
drawn AS (
    SELECT connection_id, list(open ORDER BY slot) AS open_over_time
    FROM (SELECT connection_id, slot, max(open) AS open FROM levels GROUP BY ALL) GROUP BY ALL
)
SELECT
    connection_id AS connection, server_address || ':' || server_port AS server, protocol, open_over_time, at_most, average, lasts_ns,
    (SELECT count(DISTINCT connection_id) FROM spans) AS of_rows
FROM chosen JOIN drawn USING (connection_id) JOIN connections USING (connection_id)
ORDER BY at_most DESC, average DESC, connection_id;

-- section: What reuse saved, by server; idle: the share of their time in which nothing was open
-- empty: No TCP connection carried an exchange.
-- untitled: server
-- optional: idle_share, tls_handshake_ns, handshake_ns, per_connection
-- flexible: server
WITH busy AS (SELECT connection_id, sum(until - changed) AS busy_ns FROM spans WHERE level > 0 GROUP BY ALL),
servers AS (
    SELECT
        reuse.server_address || ':' || reuse.server_port AS server, count(*) AS connections, sum(exchanges)::BIGINT AS exchanges,
        avg(exchanges) AS per_connection, any_value(usual_tcp_handshake_ns) AS handshake_ns,
        any_value(usual_tls_handshake_ns) AS tls_handshake_ns, sum(saved_ns)::BIGINT AS saved_ns,
        1 - least(sum(coalesce(busy_ns, 0)) / nullif(sum(duration_ns), 0), 1) AS idle_share
    FROM reuse JOIN connections USING (connection_id) LEFT JOIN busy USING (connection_id)
    GROUP BY ALL
)
SELECT *, (SELECT count(*) FROM servers) AS of_rows FROM servers ORDER BY exchanges DESC, server LIMIT 15;
