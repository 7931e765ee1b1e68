-- title: WebSocket
-- about: every WebSocket conversation: messages each way, sizes, compression, how it closed

-- section: Conversations
-- empty: No WebSocket in this capture.
-- optional: largest_bytes, saved_share, closed
-- flexible: target
WITH said AS (
    SELECT
        connection_id, stream_index,
        count(*) FILTER (opcode IN ('text', 'binary') AND direction = 'to_server') AS sent,
        count(*) FILTER (opcode IN ('text', 'binary') AND direction = 'to_client') AS received,
        count(*) FILTER (opcode IN ('ping', 'pong')) AS pings,
        sum(payload_bytes)::BIGINT AS payload_bytes, max(payload_bytes) AS largest_bytes,
        1 - sum(wire_bytes) FILTER (is_compressed) / nullif(sum(payload_bytes) FILTER (is_compressed), 0) AS saved_share,
        arg_max(close_code::VARCHAR || coalesce(' ' || nullif(close_reason, ''), ''), message_index) FILTER (opcode = 'close') AS closed
    FROM websocket_messages GROUP BY ALL
)
SELECT
    m.connection_id AS connection, m.stream_index AS stream,
    (SELECT any_value(coalesce(e.authority, '') || coalesce(e.target, '')) FROM http_exchanges e
     WHERE e.connection_id = m.connection_id AND e.stream_index IN (s.parent_index, s.stream_index) AND e.status_code IN (101, 200)) AS target,
    sent, received, pings, m.payload_bytes, largest_bytes, saved_share, epoch_ns(s.ended_at) - epoch_ns(s.started_at) AS lasts_ns, closed
FROM said m JOIN streams s USING (connection_id, stream_index)
ORDER BY sent + received DESC, connection, stream LIMIT 20;

-- section: Messages
-- optional: packet, started_at, frames
-- flexible: text
SELECT
    connection_id AS connection, stream_index AS stream, message_index AS message,
    started_at::TIMESTAMP AS started_at, CASE direction WHEN 'to_server' THEN '→' ELSE '←' END AS way, opcode, payload_bytes,
    CASE WHEN opcode = 'close' THEN concat_ws(' ', close_code, close_reason) ELSE text END AS text,
    frame_count AS frames, first_packet AS packet
FROM websocket_messages ORDER BY started_at, connection_id, stream_index, message_index LIMIT 40;
