-- title: WebSocket
-- about: every WebSocket conversation: messages each way, sizes, compression, how it closed

-- section: Conversations
-- empty: No WebSocket in this capture.
-- untitled: stream, target
-- optional: largest_bytes, saved_share, pings, payload_bytes, incomplete, lasts_ns
-- flexible: target, closed
WITH said AS (
    SELECT
        connection_id, stream_index,
        count(*) FILTER (opcode IN ('text', 'binary') AND direction = 'to_server') AS to_server,
        count(*) FILTER (opcode IN ('text', 'binary') AND direction = 'to_client') AS to_client,
        nullif(count(*) FILTER (opcode IN ('ping', 'pong')), 0) AS pings,
        sum(wire_bytes) FILTER (is_complete) AS whole_bytes, sum(wire_bytes) FILTER (NOT is_complete) AS cut_bytes,
        sum(payload_bytes)::BIGINT AS payload_bytes, max(payload_bytes) AS largest_bytes,
        1 - sum(wire_bytes) FILTER (is_compressed) / nullif(sum(payload_bytes) FILTER (is_compressed), 0) AS saved_share,
        nullif(count(*) FILTER (NOT is_complete), 0) AS incomplete, bool_or(is_complete IS NULL) AS is_open,
        arg_min(concat_ws(' ', close_code, nullif(close_reason, '')), message_index) FILTER (opcode = 'close') AS closed
    FROM websocket_messages GROUP BY ALL
),
chosen AS (SELECT * FROM said ORDER BY to_server + to_client DESC, connection_id, stream_index LIMIT 20),
opened AS (
    -- the handshake is in the stream around the WebSocket (RFC 6455, RFC 8441)
    SELECT c.connection_id, c.stream_index, any_value(coalesce(e.authority, '') || coalesce(e.target, '')) AS target
    FROM chosen c JOIN streams s USING (connection_id, stream_index)
    JOIN http_exchanges e ON e.connection_id = c.connection_id AND e.stream_index = s.parent_index
    WHERE e.status_code = 101 OR (e.request_method = 'CONNECT' AND e.status_code BETWEEN 200 AND 299)
    GROUP BY ALL
)
SELECT
    place(connection_id, stream_index) AS stream, target, to_server, to_client, pings, payload_bytes, largest_bytes, saved_share,
    epoch_ns(s.ended_at) - epoch_ns(s.started_at) AS lasts_ns, incomplete,
    -- not captured, or not read since frames were not found again after a hole; of a message with a hole what is there was read,
    -- of one that goes on it is not known how much that is
    nullif(missing_bytes + if(is_open, 0, greatest(bytes_to_server + bytes_to_client - coalesce(whole_bytes, 0) - greatest(coalesce(cut_bytes, 0) - missing_bytes, 0), 0)), 0)::BIGINT
        AS missing_bytes, nullif(closed, '') AS closed, (SELECT count(*) FROM said) AS of_rows
FROM chosen LEFT JOIN opened USING (connection_id, stream_index) JOIN streams s USING (connection_id, stream_index)
ORDER BY to_server + to_client DESC, connection_id, stream_index;

-- section: Messages, with the time since the first byte
-- untitled: stream, message, way, opcode
-- optional: packet, started_at, frames
-- flexible: text
SELECT
    place(connection_id, stream_index) AS stream, message_index AS message, CASE direction WHEN 'to_server' THEN '→' ELSE '←' END AS way,
    coalesce(opcode, 'unknown') AS opcode, payload_bytes, epoch_ns(m.started_at) - epoch_ns(s.started_at) AS after_ns, m.started_at,
    nullif(frame_count, 1) AS frames, m.first_packet AS packet,
    CASE WHEN opcode = 'close' THEN nullif(concat_ws(' ', close_code, close_reason), '') ELSE text END AS text,
    (SELECT count(*) FROM websocket_messages) AS of_rows
FROM websocket_messages m JOIN streams s USING (connection_id, stream_index)
ORDER BY m.started_at, connection_id, stream_index, message_index LIMIT 40;
