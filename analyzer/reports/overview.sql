-- title: Overview
-- about: what is in the capture, what was multiplexed, what was slow, what failed, what was not understood

-- section: Captures
-- flexible: name
-- optional: not_decoded, format
SELECT
    regexp_replace(name, '^.*/', '') AS name,
    format || coalesce(' in ' || compression, '') AS format,
    packets,
    captured_bytes,
    first_packet_at::TIMESTAMP AS starts,
    epoch_ns(last_packet_at) - epoch_ns(first_packet_at) AS lasts_ns,
    not_decoded_packets AS not_decoded
FROM captures ORDER BY capture_index LIMIT 20;

-- section: Protocols
-- empty: No TCP connection and no UDP flow.
-- optional: payload_bytes, messages
WITH inside AS (
    SELECT protocol, count(DISTINCT connection_id) AS connections, count(*) FILTER (depth > 0) AS streams, sum(bytes_to_server + bytes_to_client)::BIGINT AS payload_bytes
    FROM streams WHERE protocol IS NOT NULL GROUP BY ALL
),
unknown AS (
    SELECT transport || ', not recognised' AS protocol, count(*) AS connections, 0 AS streams, sum(bytes_to_server + bytes_to_client)::BIGINT AS payload_bytes
    FROM connections WHERE protocol IS NULL AND bytes_to_server + bytes_to_client > 0 GROUP BY ALL
),
silent AS (
    SELECT transport || ', no data' AS protocol, count(*) AS connections, 0 AS streams, 0::BIGINT AS payload_bytes
    FROM connections WHERE bytes_to_server + bytes_to_client = 0 GROUP BY ALL
),
exchanged AS (
    SELECT s.protocol, count(*) AS exchanges FROM exchanges e JOIN streams s USING (connection_id, stream_index) GROUP BY ALL
),
said AS (
    SELECT s.protocol, count(*) AS messages FROM messages m JOIN streams s USING (connection_id, stream_index) GROUP BY ALL
)
SELECT protocol, connections, streams, coalesce(exchanges, 0) AS exchanges, coalesce(messages, 0) AS messages, payload_bytes
FROM (FROM inside UNION ALL FROM unknown UNION ALL FROM silent) LEFT JOIN exchanged USING (protocol) LEFT JOIN said USING (protocol)
ORDER BY payload_bytes DESC, protocol LIMIT 15;

-- section: Multiplexing
WITH per_connection AS (
    SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL
),
peak AS (SELECT connection_id, max(open_streams) AS at_a_time FROM streams_open GROUP BY ALL),
totals AS (
    SELECT
        count(*) AS connections,
        sum(exchanges)::BIGINT AS exchanges,
        avg(exchanges) AS average,
        max(exchanges) AS most,
        max(at_a_time) AS at_a_time,
        count(*) FILTER (exchanges > 1) AS reused,
        median(handshake_rtt_ns)::BIGINT AS handshake_ns,
        count(handshake_rtt_ns) AS handshakes
    FROM per_connection JOIN connections USING (connection_id) LEFT JOIN peak USING (connection_id)
)
SELECT unnest([
    format('{:,} exchanges over {:,} connections: {:.3g} on average, {:,} at the most; {:,} connections carried more than one', exchanges, connections, average, most, reused),
    format('up to {:,} open at a time on one connection', at_a_time),
    CASE WHEN handshakes > 0 THEN format('{:,} TCP handshakes seen, median {:.3g} ms; reuse saved {:,} of them', handshakes, handshake_ns / 1e6, exchanges - connections) END
]) AS line
FROM totals WHERE connections > 0;

-- section: Connections that carried most
-- optional: evidence, handshake_ns, payload_bytes, duration_ns
-- flexible: client, server
SELECT
    c.connection_id AS connection,
    c.client_address || ':' || c.client_port AS client,
    c.server_address || ':' || c.server_port AS server,
    c.protocol,
    coalesce(x.exchanges, 0) AS exchanges,
    c.streams,
    p.at_a_time,
    c.duration_ns,
    c.bytes_to_server + c.bytes_to_client AS payload_bytes,
    c.handshake_rtt_ns AS handshake_ns
FROM connections c
LEFT JOIN (SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL) x USING (connection_id)
LEFT JOIN (SELECT connection_id, max(open_streams) AS at_a_time FROM streams_open GROUP BY ALL) p USING (connection_id)
WHERE c.protocol IS NOT NULL
ORDER BY greatest(coalesce(exchanges, 0), c.streams) DESC, payload_bytes DESC, connection LIMIT 8;

-- section: Slowest exchanges
-- optional: stalled_ns, first_byte_ns, stream
-- flexible: target
SELECT
    connection_id AS connection, stream_index AS stream, operation, target, status,
    duration_ns, time_to_first_byte_ns AS first_byte_ns, nullif(stalled_ns, 0) AS stalled_ns
FROM exchanges WHERE duration_ns IS NOT NULL
ORDER BY duration_ns DESC, connection_id, stream_index LIMIT 8;

-- section: Errors and exchanges that did not end well
-- flexible: example
SELECT
    coalesce(error_type, end_reason) AS problem, end_reason, count(*) AS exchanges,
    arg_min(coalesce(operation || ' ', '') || target, first_packet) AS example,
    arg_min(connection_id, first_packet) AS connection
FROM exchanges WHERE error_type IS NOT NULL OR end_reason <> 'complete'
GROUP BY ALL ORDER BY exchanges DESC, problem LIMIT 8;

-- section: Stalls: bytes that were there and had to wait
SELECT
    s.kind, count(*) AS stalls, sum(duration_ns)::BIGINT AS total_ns, max(duration_ns) AS longest_ns,
    sum(waiting_bytes)::BIGINT AS waiting_bytes, sum(coalesce(w.streams, 0))::BIGINT AS streams_delayed,
    count(DISTINCT s.connection_id) AS connections
FROM stalls s
LEFT JOIN (SELECT connection_id, stall_index, count(*) AS streams FROM stalled_streams GROUP BY ALL) w USING (connection_id, stall_index)
GROUP BY ALL ORDER BY total_ns DESC;

-- section: Not understood, missing or broken
-- flexible: found
-- optional: missing_bytes
SELECT
    kind, sum(occurrences)::BIGINT AS times, count(DISTINCT connection_id) AS connections,
    sum(missing_bytes)::BIGINT AS missing_bytes, arg_max(coalesce(found, required), occurrences) AS found
FROM anomalies GROUP BY kind, CASE WHEN kind = 'not_decoded' THEN found END
ORDER BY kind = 'not_decoded', times DESC, kind LIMIT 12;
