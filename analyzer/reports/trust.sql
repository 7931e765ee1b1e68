-- title: Trust
-- about: what share of the exchanges and messages, header fields and bytes of each connection is witnessed, and why not all

-- table: unread
-- bytes of each stream that are there, but say nothing for certain; where a position was lost at most so many
WITH lost AS (
    SELECT connection_id, stream_index, direction FROM anomalies WHERE kind IN ('framing_lost', 'dissector_error') GROUP BY ALL
),
late AS (
    SELECT connection_id, stream_index, direction, max(missing_bytes) AS bytes
    FROM anomalies WHERE kind = 'recognised_late' GROUP BY ALL
),
carriers AS (
    -- streams with bytes of their own: those that HTTP/2 multiplexes are in its connection's
    SELECT s.*, lost.connection_id IS NOT NULL OR coalesce(end_reason, '') IN ('protocol_error', 'limit') AS is_lost
    FROM (
        SELECT
            s.connection_id, s.stream_index, s.protocol, s.end_reason, s.missing_bytes, unnest(['to_server', 'to_client']) AS direction,
            unnest([s.bytes_to_server, s.bytes_to_client]) AS bytes
        FROM streams s LEFT JOIN streams p ON p.connection_id = s.connection_id AND p.stream_index = s.parent_index
        WHERE s.protocol_stream_id IS NULL OR s.protocol IS DISTINCT FROM p.protocol
    ) s
    LEFT JOIN lost ON lost.connection_id = s.connection_id AND lost.stream_index = s.stream_index AND coalesce(lost.direction, s.direction) = s.direction
),
sealed AS (SELECT connection_id, stream_index FROM tls_handshakes WHERE not_decrypted_reason IS NOT NULL),
inside AS (
    SELECT
        connection_id, parent_index AS stream_index, unnest(['to_server', 'to_client']) AS direction,
        unnest([sum(bytes_to_server), sum(bytes_to_client)]) AS bytes
    FROM streams WHERE parent_index IS NOT NULL AND protocol_stream_id IS NULL GROUP BY connection_id, parent_index
),
contents AS (
    SELECT
        connection_id, stream_index, unnest(['to_server', 'to_client']) AS direction,
        unnest([sum(request_content_bytes), sum(response_content_bytes)]) AS bytes
    FROM http_exchanges WHERE http_version <> '2' GROUP BY connection_id, stream_index
),
messages_of AS (
    SELECT
        connection_id, stream_index, direction,
        sum(wire_bytes) FILTER (is_complete) AS bytes, sum(wire_bytes) FILTER (NOT is_complete) AS cut_bytes,
        bool_or(is_complete IS NULL) AS is_open
    FROM websocket_messages GROUP BY ALL
),
http2 AS (
    SELECT
        connection_id, stream_index, unnest(['to_server', 'to_client']) AS direction,
        unnest([unread_to_server_bytes, unread_to_client_bytes]) AS bytes
    FROM http2_connections
)
SELECT
    s.connection_id, s.stream_index, s.protocol, s.is_lost AND s.bytes > 0 AS is_lost, sealed.connection_id IS NOT NULL AS is_sealed,
    late.bytes IS NOT NULL AS is_late,
    least(greatest(CASE
        WHEN s.protocol IS NULL THEN s.bytes
        WHEN sealed.connection_id IS NOT NULL THEN s.bytes - coalesce(inside.bytes, 0)
        -- of a message with a hole what is there counts; how much a message has that goes on is not known
        WHEN s.protocol = 'websocket' AND messages_of.is_open THEN 0
        WHEN s.protocol = 'websocket'
            THEN s.bytes - coalesce(messages_of.bytes, 0) - greatest(coalesce(messages_of.cut_bytes, 0) - s.missing_bytes, 0)
        WHEN s.protocol = 'http2' THEN coalesce(http2.bytes, 0)
        WHEN s.is_lost THEN s.bytes - coalesce(inside.bytes, 0) - coalesce(contents.bytes, 0)
        ELSE 0 END, 0) + coalesce(late.bytes, 0), s.bytes)::BIGINT AS bytes
FROM carriers s
LEFT JOIN late USING (connection_id, stream_index, direction)
LEFT JOIN sealed USING (connection_id, stream_index)
LEFT JOIN inside USING (connection_id, stream_index, direction)
LEFT JOIN contents USING (connection_id, stream_index, direction)
LEFT JOIN messages_of USING (connection_id, stream_index, direction)
LEFT JOIN http2 USING (connection_id, stream_index, direction);

-- table: reasons
-- why not everything of a connection is witnessed, and how many bytes that concerns, where it is known
SELECT connection_id, 'not captured' AS reason, missing_bytes_to_server + missing_bytes_to_client AS bytes
FROM connections WHERE missing_bytes_to_server + missing_bytes_to_client > 0
UNION ALL
SELECT connection_id, 'only one direction was captured', NULL FROM connections
WHERE transport = 'tcp' AND least(packets_to_server, packets_to_client) = 0 AND bytes_to_server + bytes_to_client > 0
UNION ALL
SELECT connection_id, 'its beginning was not captured', NULL FROM connections
WHERE transport = 'tcp' AND role_evidence <> 'handshake' AND bytes_to_server + bytes_to_client > 0
UNION ALL
SELECT connection_id, 'cut off where it ends', NULL FROM connections JOIN (
    SELECT connection_id FROM exchanges WHERE end_reason = 'cut' UNION SELECT connection_id FROM messages WHERE NOT is_complete
) USING (connection_id) WHERE missing_bytes_to_server + missing_bytes_to_client = 0 AND role_evidence = 'handshake'
UNION ALL
-- the numbers of TCP show what is missing; a datagram that was dropped leaves no trace
SELECT connection_id, 'packets were dropped while it was open', NULL FROM connections WHERE transport = 'udp' AND dropped_packets > 0
UNION ALL
SELECT DISTINCT connection_id, 'which response belongs to which request is not known', NULL FROM exchanges WHERE end_reason = 'unmatched'
UNION ALL
SELECT connection_id, CASE WHEN protocol IS NULL THEN 'no known protocol' WHEN is_sealed THEN 'not decrypted' WHEN is_late AND NOT is_lost THEN 'not read: it came before its protocol was known' ELSE 'not read: its place was lost' END AS reason, sum(bytes)::BIGINT
FROM unread WHERE bytes > 0 OR is_lost GROUP BY ALL;

-- table: what_is_there
-- of each connection what there is, and what of it is certain
WITH said AS (
    -- an exchange that was reset, or not answered, is witnessed where nothing is missing
    SELECT connection_id, is_complete OR (missing_bytes_to_server + missing_bytes_to_client = 0 AND end_reason NOT IN ('cut', 'unmatched')) AS is_witnessed
    FROM exchanges JOIN connections USING (connection_id)
    UNION ALL
    SELECT connection_id, is_complete FROM messages WHERE is_complete IS NOT NULL
),
told AS (SELECT connection_id, count(*) AS told, count(*) FILTER (is_witnessed) AS whole FROM said GROUP BY ALL),
lines AS (SELECT connection_id, sum(len(fields))::BIGINT AS fields FROM http_field_sections GROUP BY ALL),
-- only a hole makes fields unknown, and their exchanges say so
unknown AS (
    SELECT connection_id, count(*) AS unknown_fields
    FROM (
        SELECT connection_id, unnest(fields) AS line_id FROM http_field_sections
        SEMI JOIN (SELECT * FROM http_exchanges WHERE NOT fields_complete) USING (connection_id, stream_index, exchange_index)
    )
    JOIN (SELECT line_id FROM field_lines WHERE name IS NULL OR value IS NULL) USING (line_id) GROUP BY ALL
),
not_read AS (SELECT connection_id, sum(bytes)::BIGINT AS unread_bytes FROM unread GROUP BY ALL),
whys AS (
    SELECT connection_id, string_agg(reason, ', ' ORDER BY bytes DESC NULLS LAST, reason) AS why,
        -- what was not read may hold any number of exchanges and messages
        bool_or(reason NOT IN ('not captured', 'its beginning was not captured', 'cut off where it ends', 'which response belongs to which request is not known')) AS is_uncounted
    FROM reasons GROUP BY ALL
)
SELECT
    connection_id, server_address || ':' || server_port AS server, protocol, coalesce(told, 0) AS told, coalesce(whole, 0) AS whole,
    coalesce(fields, 0) AS fields, coalesce(unknown_fields, 0) AS unknown_fields, coalesce(is_uncounted, false) AS is_uncounted, why,
    least(coalesce(unread_bytes, 0), bytes_to_server + bytes_to_client) AS unread_bytes,
    bytes_to_server + bytes_to_client AS there_bytes, missing_bytes_to_server AS lost_to_server_bytes, missing_bytes_to_client AS lost_to_client_bytes
FROM connections LEFT JOIN told USING (connection_id) LEFT JOIN lines USING (connection_id)
LEFT JOIN unknown USING (connection_id) LEFT JOIN not_read USING (connection_id) LEFT JOIN whys USING (connection_id);

-- table: shares
SELECT
    connection_id, server, protocol, told, whole, if(is_uncounted, NULL, 100 * whole / nullif(told, 0)) AS witnessed_percent,
    100 * (fields - unknown_fields) / nullif(fields, 0) AS fields_percent,
    100 * (there_bytes - unread_bytes) / nullif(there_bytes + lost_to_server_bytes + lost_to_client_bytes, 0) AS bytes_percent,
    unread_bytes, lost_to_server_bytes, lost_to_client_bytes, why
FROM (
    FROM what_is_there
    UNION ALL BY NAME
    SELECT
        sum(told) AS told, sum(whole) AS whole, sum(fields) AS fields, sum(unknown_fields) AS unknown_fields, bool_or(is_uncounted) AS is_uncounted,
        sum(unread_bytes) AS unread_bytes, sum(there_bytes) AS there_bytes, sum(lost_to_server_bytes) AS lost_to_server_bytes,
        sum(lost_to_client_bytes) AS lost_to_client_bytes
    FROM what_is_there
);

-- section: All connections
-- empty: No connection.
-- untitled: connections
-- optional: whole, not_read_bytes
SELECT
    format('{:,}', (SELECT count(*) FROM connections)) AS connections, told::BIGINT AS said, whole::BIGINT AS whole, witnessed_percent,
    fields_percent, bytes_percent, unread_bytes::BIGINT AS not_read_bytes, lost_to_server_bytes::BIGINT AS lost_to_server_bytes,
    lost_to_client_bytes::BIGINT AS lost_to_client_bytes
FROM shares WHERE connection_id IS NULL AND (SELECT count(*) FROM connections) > 0;

-- section: In short
WITH counts AS (
    SELECT
        count(*) AS connections, count(*) FILTER (why IS NULL) AS whole, count(*) FILTER (witnessed_percent IS NULL AND why IS NOT NULL) AS uncounted,
        (SELECT count(*) FROM connections WHERE close_reason = 'capture_end') AS open
    FROM shares WHERE connection_id IS NOT NULL
)
SELECT CASE WHEN whole < connections THEN format('Of {:,} of {:,} connection{} everything that was said is there and was understood.', whole, connections, if(connections = 1, '', 's'))
    WHEN open = 0 THEN 'All that was said is there and was understood, from beginning to end.'
    ELSE format('All that was said is there and was understood, up to where the capture ends: {:,} connection{} still open.', open, if(open = 1, ' was', 's were')) END AS line
FROM counts WHERE connections > 0
UNION ALL
SELECT format('How many exchanges and messages {:,} connection{} carried is not known: what was not read or not captured may hold more.', uncounted, if(uncounted = 1, '', 's'))
FROM counts WHERE uncounted > 0
UNION ALL
SELECT format('{:,} packets were dropped when capturing, says the capture {}{}.', dropped_packets, name,
    if(capture_index IN (SELECT capture_index FROM connections WHERE dropped_packets IS NOT NULL), '', ', but not when'))
FROM captures WHERE dropped_packets > 0
UNION ALL
SELECT format('{:,} connection{} open then: of TCP it is known what is missing, of UDP ({:,}) it is not.', count(*), if(count(*) = 1, ' was', 's were'), count(*) FILTER (transport = 'udp'))
FROM connections WHERE dropped_packets > 0 HAVING count(*) > 0
UNION ALL
SELECT format('The capture {} was not read to its end: {}.', name, truncation) FROM captures WHERE truncation IS NOT NULL
UNION ALL
SELECT 'Reading was interrupted, or goes on: what came later is not in the store.' WHERE EXISTS (FROM store_metadata WHERE key = 'is_complete' AND value = 'false');

-- section: What is not witnessed
-- untitled: reason
-- flexible: reason
SELECT reason, count(DISTINCT connection_id) AS connections, sum(bytes)::BIGINT AS concerned_bytes, (SELECT count(DISTINCT reason) FROM reasons) AS of_rows
FROM reasons GROUP BY ALL ORDER BY connections DESC, reason;

-- section: Connections of which not everything is witnessed, worst first
-- untitled: connection, server
-- optional: protocol, fields_percent, lost_to_client_bytes, lost_to_server_bytes, said
-- wrapped: why
SELECT
    connection_id AS connection, server, protocol, told AS said, witnessed_percent, fields_percent, bytes_percent,
    nullif(lost_to_server_bytes, 0) AS lost_to_server_bytes, nullif(lost_to_client_bytes, 0) AS lost_to_client_bytes, why,
    (SELECT count(*) FROM shares WHERE why IS NOT NULL AND connection_id IS NOT NULL) AS of_rows
FROM shares WHERE why IS NOT NULL AND connection_id IS NOT NULL
ORDER BY least(witnessed_percent, fields_percent, bytes_percent), bytes_percent, connection_id LIMIT 40;
