-- title: Overview
-- about: what is in the capture, what was multiplexed, what was slow, what failed, what was not understood

-- section: Capture
-- untitled: capture, name
-- flexible: name
-- optional: other_packets, format
WITH files AS (SELECT count(*) AS files FROM captures),
shown AS (
    SELECT
        capture_index, if(files > 1, capture_index, NULL) AS capture, regexp_replace(name, '^.*/', '') AS name, format || coalesce(' in ' || compression, '') AS format,
        packets, captured_bytes, first_packet_at, last_packet_at, not_decoded_packets
    FROM captures, files WHERE files <= 5
    UNION ALL
    SELECT
        0, NULL, format('{:,} captures (report captures)', files), NULL, sum(packets)::BIGINT, sum(captured_bytes)::BIGINT, min(first_packet_at),
        max(last_packet_at), sum(not_decoded_packets)::BIGINT
    FROM captures, files WHERE files > 5 GROUP BY files
)
SELECT
    capture, name, format, packets, captured_bytes, first_packet_at AS "starts_UTC",
    epoch_ns(last_packet_at) - epoch_ns(first_packet_at) AS lasts_ns, nullif(not_decoded_packets, 0) AS other_packets
FROM shown ORDER BY capture_index;

-- section: Not all of it
WITH one_way AS (
    -- bytes flowed, and not one packet of the other side is there
    SELECT count(*) AS connections, (SELECT count(*) FROM connections WHERE transport = 'tcp') AS all_connections
    FROM connections WHERE transport = 'tcp' AND least(packets_to_server, packets_to_client) = 0 AND bytes_to_server + bytes_to_client > 0
),
drops AS (SELECT sum(dropped_packets)::BIGINT AS packets FROM captures),
at_drops AS (SELECT count(*) FILTER (dropped_packets > 0) AS connections, count(dropped_packets) > 0 AS is_told FROM connections)
SELECT 'Reading was interrupted, or goes on: this is what was read so far.' AS line
WHERE EXISTS (FROM store_metadata WHERE key = 'is_complete' AND value = 'false')
UNION ALL
SELECT format('Only one direction of {:,} of {:,} TCP connections was captured: what the other side said is not there, nor the times between.', connections, all_connections)
FROM one_way WHERE connections > 0
UNION ALL
SELECT format('{:,} packet{} dropped when capturing, {}: of TCP it is known what is missing, of UDP it is not (report trust).', packets, if(packets = 1, ' was', 's were'),
    if(is_told, format('while {:,} connection{} open', connections, if(connections = 1, ' was', 's were')), 'it is not said when'))
FROM drops, at_drops WHERE packets > 0;

-- section: Protocols
-- empty: No TCP connection and no UDP flow.
-- untitled: protocol
-- optional: messages, payload_bytes
WITH RECURSIVE holders AS (
    -- streams with streams in them; most have none, and need no path of their own
    SELECT DISTINCT connection_id, parent_index AS stream_index FROM streams WHERE parent_index > 0
),
paths AS (
    SELECT
        connection_id, 0::BIGINT AS stream_index, protocol,
        coalesce(protocol, transport || CASE WHEN bytes_to_server + bytes_to_client > 0 THEN ', not recognised'
            WHEN state = 'REJ' THEN ', refused' WHEN transport = 'tcp' AND state = 'S0' THEN ', not answered' ELSE ', no data' END) AS path
    FROM connections
    UNION ALL
    SELECT s.connection_id, s.stream_index, s.protocol, p.path || if(s.protocol IS DISTINCT FROM p.protocol, ' > ' || coalesce(s.protocol, 'not recognised'), '')
    FROM streams s SEMI JOIN holders USING (connection_id, stream_index)
    JOIN paths p ON p.connection_id = s.connection_id AND p.stream_index = s.parent_index
),
counted AS (
    SELECT connection_id, 0 AS parent_index, protocol, 0 AS streams, bytes_to_server + bytes_to_client AS payload_bytes, 0 AS exchanges, 0 AS messages, true AS is_outermost
    FROM connections
    UNION ALL
    SELECT connection_id, parent_index, protocol, count(*), sum(bytes_to_server + bytes_to_client), 0, 0, false FROM streams WHERE depth > 0 GROUP BY ALL
    UNION ALL
    SELECT connection_id, coalesce(parent_index, 0), s.protocol, 0, 0, count(*), 0, parent_index IS NULL
    FROM exchanges LEFT JOIN streams s USING (connection_id, stream_index) GROUP BY ALL
    UNION ALL
    SELECT connection_id, coalesce(parent_index, 0), s.protocol, 0, 0, 0, count(*), parent_index IS NULL
    FROM messages LEFT JOIN streams s USING (connection_id, stream_index) GROUP BY ALL
),
placed AS (
    SELECT
        p.path || if(is_outermost OR c.protocol IS NOT DISTINCT FROM p.protocol, '', ' > ' || coalesce(c.protocol, 'not recognised')) AS path,
        connection_id, sum(streams) AS streams, sum(exchanges) AS exchanges, sum(messages) AS messages,
        -- the bytes of an HTTP/2 stream are in those of its connection
        sum(payload_bytes) FILTER (is_outermost OR c.protocol IS DISTINCT FROM p.protocol) AS payload_bytes
    FROM counted c JOIN paths p USING (connection_id) WHERE p.stream_index = c.parent_index
    GROUP BY ALL
)
SELECT
    path AS protocol, count(*) AS connections, nullif(sum(streams), 0)::BIGINT AS streams, nullif(sum(exchanges), 0)::BIGINT AS exchanges,
    nullif(sum(messages), 0)::BIGINT AS messages, nullif(sum(payload_bytes), 0)::BIGINT AS payload_bytes, count(*) OVER () AS of_rows
FROM placed GROUP BY path ORDER BY payload_bytes DESC NULLS LAST, path LIMIT 24;

-- table: per_connection
SELECT * FROM (SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL)
FULL JOIN (SELECT connection_id, count(*) AS messages FROM messages GROUP BY ALL) USING (connection_id)
FULL JOIN (SELECT connection_id, max(open_streams) AS at_a_time FROM streams_open GROUP BY ALL) USING (connection_id);

-- section: Multiplexing
WITH totals AS (
    SELECT
        count(*) AS connections,
        sum(exchanges)::BIGINT AS exchanges,
        avg(exchanges) AS average,
        max(exchanges) AS most,
        max(at_a_time) AS at_a_time,
        count(*) FILTER (exchanges > 1) AS reused,
        sum(saved_tcp_handshakes)::BIGINT AS saved_tcp,
        sum(saved_tls_handshakes)::BIGINT AS saved_tls,
        sum(saved_ns)::BIGINT AS saved_ns
    FROM per_connection LEFT JOIN (SELECT * EXCLUDE (exchanges) FROM reuse) USING (connection_id) WHERE exchanges > 0
)
SELECT unnest([
    format('{:,} exchange{} over {:,} connection{}', exchanges, if(exchanges = 1, '', 's'), connections, if(connections = 1, '', 's'))
    || CASE WHEN most = 1 THEN if(connections > 1, ', one on each', '')
        WHEN connections > 1 THEN format(': {:,.1f} on average, {:,} at most; {:,} carried several', average, most, reused) ELSE '' END,
    CASE WHEN at_a_time > 1 THEN format('up to {:,} at a time on one connection', at_a_time) ELSE 'never more than one at a time' END
    || CASE WHEN saved_tcp > 0 THEN
        format('; reuse saved {:,} TCP handshake{}', saved_tcp, if(saved_tcp = 1, '', 's'))
        || CASE WHEN saved_tls > 0 THEN format(' and {:,} of TLS', saved_tls) ELSE '' END
        || coalesce(CASE WHEN saved_ns < 999.5e3 THEN format(', {:.3g} µs in all', saved_ns / 1e3) WHEN saved_ns < 999.5e6 THEN format(', {:.3g} ms in all', saved_ns / 1e6)
            ELSE format(', {:,.1f} s in all', saved_ns / 1e9) END, '')
    ELSE '' END
]) AS line
FROM totals WHERE connections > 0
UNION ALL
SELECT format('{:,} message{} over {:,} connection{}', messages, if(messages = 1, '', 's'), connections, if(connections = 1, '', 's'))
    || if(connections > 1, format(', {:,} on the busiest', most), '')
FROM (SELECT sum(messages)::BIGINT AS messages, count(messages) AS connections, max(messages) AS most FROM per_connection) WHERE messages > 0;

-- section: Connections that carried most
-- untitled: connection, ends, protocol
-- optional: handshake_ns, lasts_ns, payload_bytes, messages, streams
-- flexible: ends
WITH most AS (
    SELECT * FROM connections LEFT JOIN per_connection USING (connection_id) WHERE protocol IS NOT NULL
    ORDER BY greatest(coalesce(exchanges, 0), streams) DESC, bytes_to_server + bytes_to_client DESC, connection_id LIMIT 8
),
inside AS (
    SELECT connection_id, string_agg(DISTINCT s.protocol, ' > ') AS protocols
    FROM streams s JOIN most m USING (connection_id) WHERE s.protocol <> m.protocol GROUP BY ALL
)
SELECT
    connection_id AS connection,
    client_address || ' → ' || server_address || ':' || server_port AS ends,
    protocol || coalesce(' > ' || protocols, '') AS protocol,
    exchanges, at_a_time, nullif(streams, 0) AS streams, messages, bytes_to_server + bytes_to_client AS payload_bytes,
    duration_ns AS lasts_ns, handshake_rtt_ns AS handshake_ns,
    (SELECT count(*) FROM connections WHERE protocol IS NOT NULL) AS of_rows
FROM most LEFT JOIN inside USING (connection_id)
ORDER BY greatest(coalesce(exchanges, 0), streams) DESC, payload_bytes DESC, connection;

-- section: Slowest exchanges
-- untitled: stream, exchange
-- optional: stalled_ns, first_byte_ns
-- flexible: exchange
SELECT
    place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index)) AS stream, exchange_name(operation, target, end_reason) AS exchange, status, duration_ns,
    time_to_first_byte_ns AS first_byte_ns, nullif(stalled_ns, 0) AS stalled_ns,
    (SELECT count(*) FROM exchanges WHERE duration_ns IS NOT NULL) AS of_rows
FROM exchanges WHERE duration_ns IS NOT NULL
ORDER BY duration_ns DESC, connection_id, stream_index LIMIT 8;

-- section: Errors and exchanges without an end
-- untitled: problem
-- flexible: such_as
WITH faults AS (
    SELECT
        CASE WHEN end_reason = 'reset' THEN concat_ws(', ', 'reset', error_type)
            ELSE coalesce(error_type, CASE end_reason WHEN 'cut' THEN 'cut short' ELSE end_reason END) END AS problem,
        place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index)) || ' ' || exchange_name(operation, target, end_reason) AS exchange, target,
        coalesce(started_at, 'epoch'::TIMESTAMP_NS) AS started_at
    FROM exchanges WHERE error_type IS NOT NULL OR end_reason <> 'complete'
)
SELECT
    problem, count(*) AS exchanges, nullif(count(DISTINCT target), 0) AS targets,
    first(exchange ORDER BY target IS NULL, started_at, exchange) AS such_as,
    (SELECT count(DISTINCT problem) FROM faults) AS of_rows
FROM faults GROUP BY ALL ORDER BY exchanges DESC, problem LIMIT 8;

-- section: Stalls: bytes that were there and had to wait
-- untitled: reason
-- optional: longest_ns, waiting_bytes
WITH multiplexed AS (SELECT DISTINCT connection_id FROM streams WHERE stream_index > 0),
named AS (
    SELECT
        *, epoch_ns(started_at) AS began, epoch_ns(ended_at) AS ended,
        CASE kind WHEN 'tcp_hole' THEN 'for a lost or late packet' WHEN 'tcp_window' THEN 'for a TCP window of zero'
            WHEN 'connection_window' THEN 'for a window of HTTP/2' WHEN 'stream_window' THEN 'for a window of HTTP/2' ELSE replace(kind, '_', ' ') END AS reason
    FROM stalls WHERE ended_at IS NOT NULL
),
-- windows of a connection and of its streams are closed together: that time counts once
reached AS (
    SELECT
        *, max(ended) OVER (
            PARTITION BY connection_id, direction, reason ORDER BY began, ended ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS reached
    FROM named
),
waited AS (
    -- where streams were multiplexed the connection's own bytes are no stream beside them
    SELECT reason, count(DISTINCT (w.connection_id, w.stream_index)) AS streams
    FROM stalled_streams w JOIN named USING (connection_id, stall_index)
    WHERE w.stream_index > 0 OR w.connection_id NOT IN (FROM multiplexed) GROUP BY ALL
)
SELECT
    reason, count(DISTINCT (connection_id, direction, began, ended)) AS stalls, count(DISTINCT connection_id) AS connections,
    any_value(streams) AS streams_delayed, sum(greatest(ended - greatest(began, coalesce(reached, began)), 0))::BIGINT AS total_ns,
    max(duration_ns) AS longest_ns, sum(waiting_bytes)::BIGINT AS waiting_bytes
FROM reached LEFT JOIN waited USING (reason)
GROUP BY reason ORDER BY total_ns DESC NULLS LAST, reason;

-- section: TLS
WITH reasons AS (
    SELECT not_decrypted_reason AS reason, count(DISTINCT connection_id) AS connections FROM tls_handshakes
    WHERE not_decrypted_reason IS NOT NULL AND NOT is_decrypted GROUP BY ALL
)
SELECT format('{:,} connection{} not decrypted: {}; --keylog FILE gives keys, `unmux report tls` tells more',
    sum(connections)::BIGINT, if(sum(connections) = 1, ' was', 's were'),
    if(count(*) = 1, any_value(reason), string_agg(reason || ' ' || connections, ', ' ORDER BY connections DESC, reason))) AS line
FROM reasons HAVING count(*) > 0;

-- section: Not understood, missing or broken
-- untitled: what, reason
-- flexible: reason
-- optional: times, missing_bytes
WITH faults AS (
    SELECT
        CASE kind WHEN 'not_understood' THEN concat_ws(' ', c.transport, 'port', c.server_port) ELSE replace(kind, '_', ' ') END AS what,
        CASE WHEN kind <> 'not_understood' THEN concat_ws(', ', 'required ' || required, 'found ' || found)
            WHEN regexp_matches(found, 'to (server|client) 1[4-7] 03 0[0-4]') THEN 'looks like TLS: encrypted'
            ELSE 'first bytes ' || found END AS reason,
        -- one line for faults that differ only in numbers, or in what was found
        if(kind = 'not_understood', '', regexp_replace(required, '[0-9]+', '', 'g')) AS alike, a.connection_id, packet, missing_bytes, occurrences
    FROM anomalies a LEFT JOIN connections c USING (connection_id) WHERE kind <> 'not_decoded'
),
kinds AS (
    SELECT
        what, coalesce(first(reason ORDER BY connection_id NULLS FIRST, packet NULLS FIRST, reason), '') AS reason,
        count(DISTINCT connection_id) AS connections, sum(missing_bytes)::BIGINT AS missing_bytes, sum(occurrences)::BIGINT AS times
    FROM faults GROUP BY what, alike
)
SELECT
    what, reason, nullif(connections, 0) AS connections, missing_bytes, nullif(times, connections) AS times,
    (SELECT count(*) FROM kinds) AS of_rows
FROM kinds ORDER BY kinds.times DESC, what, reason LIMIT 8;

-- section: Packets of other protocols
WITH others AS (
    SELECT found, sum(occurrences)::BIGINT AS packets FROM anomalies
    WHERE kind = 'not_decoded' AND found NOT LIKE '%fragment, waiting' -- for the rest of a datagram
    GROUP BY ALL
)
SELECT string_agg(format('{} {:,}', found, packets), ', ' ORDER BY packets DESC, found)
    || coalesce((SELECT format(', and {:,} of other kinds', sum(packets)::BIGINT) FROM (FROM others ORDER BY packets DESC, found OFFSET 8) HAVING count(*) > 0), '') AS line
FROM (FROM others ORDER BY packets DESC, found LIMIT 8) HAVING count(*) > 0;
