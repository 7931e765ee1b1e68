-- title: Stalls
-- about: bytes that were there and had to wait: for which packet or window, how long, and which streams waited behind it

-- table: waits
-- one wait may have several reasons: the windows of a stream and of its connection that close and open together
SELECT
    *, replace(reason, 'a packet', 'packet before ' || first_packet) AS exact_reason
FROM (
    SELECT
        connection_id, started_at, ended_at, any_value(duration_ns) AS duration_ns, sum(waiting_bytes)::BIGINT AS waiting_bytes,
        concat_ws(', ', string_agg(DISTINCT CASE kind WHEN 'tcp_hole' THEN 'a packet lost or late'
            WHEN 'tcp_window' THEN 'TCP window of the ' || replace(direction, 'to_', '') ELSE replace(kind, '_', ' ') END, ', ')
                FILTER (kind NOT IN ('connection_window', 'stream_window')),
            'window of ' || string_agg(if(kind = 'stream_window', ':' || stream_index, 'the connection'), ' and ' ORDER BY kind, stream_index)
                FILTER (kind IN ('connection_window', 'stream_window'))) AS reason,
        string_agg(DISTINCT replace(evidence, '_', ' '), ', ') AS evidence, list(stall_index) AS stalls, min(stall_index) AS wait,
        any_value(first_packet) AS first_packet
    FROM stalls WHERE ended_at IS NOT NULL GROUP BY connection_id, direction, started_at, ended_at
);

-- table: waited
-- the streams that waited; where streams were multiplexed the connection's own bytes are no stream beside them
WITH multiplexed AS (SELECT DISTINCT connection_id FROM streams WHERE stream_index > 0)
SELECT DISTINCT connection_id, wait, stream_index
FROM (SELECT connection_id, wait, unnest(stalls) AS stall_index FROM waits) JOIN stalled_streams USING (connection_id, stall_index)
WHERE stream_index > 0 OR connection_id NOT IN (FROM multiplexed);

-- section: By connection
-- untitled: connection, waited_for
-- flexible: waited_for
-- optional: waiting_bytes, longest_ns, streams
WITH times AS (
    SELECT
        connection_id, reason, count(*) AS waits, max(duration_ns) AS longest_ns, sum(duration_ns)::BIGINT AS total_ns,
        sum(waiting_bytes)::BIGINT AS waiting_bytes
    FROM waits GROUP BY ALL
),
streams_of AS (
    SELECT connection_id, reason, count(DISTINCT stream_index) AS streams FROM waits JOIN waited USING (connection_id, wait) GROUP BY ALL
)
SELECT
    connection_id AS connection, reason AS waited_for, waits, longest_ns, total_ns, streams, waiting_bytes, (SELECT count(*) FROM times) AS of_rows
FROM times LEFT JOIN streams_of USING (connection_id, reason) ORDER BY total_ns DESC NULLS LAST, connection, waited_for LIMIT 20;

-- section: Longest
-- untitled: stall, reason
-- optional: waiting_bytes, evidence, started_at
-- flexible: streams_that_waited
WITH named AS (
    SELECT connection_id, wait, string_agg(':' || stream_index, ', ' ORDER BY stream_index) AS streams_that_waited FROM waited GROUP BY ALL
)
SELECT
    connection_id AS stall, exact_reason AS reason, started_at::TIMESTAMP AS started_at, duration_ns, waiting_bytes, evidence, streams_that_waited,
    (SELECT count(*) FROM waits) AS of_rows
FROM waits LEFT JOIN named USING (connection_id, wait)
WHERE duration_ns >= (SELECT least(max(duration_ns) / 20, 1e6) FROM waits)
ORDER BY duration_ns DESC NULLS LAST, connection_id, wait LIMIT 20;

-- section: Windows at zero, for which something may wait
-- untitled: stall, window
SELECT
    connection_id AS stall, CASE kind WHEN 'tcp_window' THEN 'TCP window of the ' || replace(direction, 'to_', '')
        WHEN 'stream_window' THEN 'window of :' || stream_index ELSE 'window of the connection' END AS window,
    replace(direction, '_', ' ') AS direction, started_at::TIMESTAMP AS since, first_packet AS packet, count(*) OVER () AS of_rows
FROM stalls WHERE ended_at IS NULL ORDER BY started_at, stall, stream_index LIMIT 20;

-- section: Exchanges that waited
-- untitled: stream, exchange
-- flexible: exchange
SELECT
    place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index)) AS stream, exchange_name(operation, target, end_reason) AS exchange, stalled_ns AS waited_ns, duration_ns,
    (SELECT count(*) FROM exchanges WHERE stalled_ns > 0) AS of_rows
FROM exchanges WHERE stalled_ns > 0 ORDER BY stalled_ns DESC, connection_id, stream_index, exchange_index LIMIT 40;

-- section: In short
WITH unknown AS (SELECT count(*) AS exchanges, count(DISTINCT connection_id) AS connections FROM exchanges WHERE stalled_ns IS NULL)
SELECT CASE
    WHEN connections > 0 THEN format(
        'Flow-control windows could not be followed in {:,} connection{}, of which something is not in the capture: whether {:,} exchange{} waited is not known.',
        connections, if(connections = 1, '', 's'), exchanges, if(exchanges = 1, '', 's'))
    WHEN NOT EXISTS (FROM waits) THEN 'Nothing had to wait.' END AS line
FROM unknown;
