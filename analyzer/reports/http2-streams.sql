-- title: HTTP/2 streams
-- about: HTTP/2 connections with their limits, stalls and ends, and their streams

-- section: Connections
-- empty: No HTTP/2 in this capture.
-- optional: goaway, smallest_window_bytes, pushes, missing_bytes, fields_unknown, allowed
WITH streams_of AS (
    SELECT
        connection_id, nullif(count(*) FILTER (end_reason = 'reset'), 0) AS resets,
        nullif(count(*) FILTER (NOT fields_complete), 0) AS fields_unknown
    FROM http_exchanges WHERE http_version = '2' GROUP BY ALL
),
stalled AS (SELECT connection_id, count(*) AS stalls FROM stalls WHERE ended_at IS NOT NULL GROUP BY ALL)
SELECT
    h.connection_id AS connection, streams_opened_by_client AS streams, max_open_streams AS at_a_time,
    server_max_concurrent_streams AS allowed, nullif(streams_opened_by_server, 0) AS pushes, resets, stalls,
    least(smallest_window_to_server_bytes, smallest_window_to_client_bytes) AS smallest_window_bytes, fields_unknown,
    nullif(missing_bytes_to_server + missing_bytes_to_client, 0) AS missing_bytes,
    nullif(concat_ws(', ', 'client ' || goaway_to_server_code, 'server ' || goaway_to_client_code), '') AS goaway,
    (SELECT count(*) FROM http2_connections) AS of_rows
FROM http2_connections h JOIN connections USING (connection_id)
LEFT JOIN streams_of USING (connection_id) LEFT JOIN stalled USING (connection_id)
ORDER BY streams DESC, connection LIMIT 20;

-- section: Streams
-- untitled: stream
-- optional: number, response_content_bytes, stalled_ns, first_byte_ns
-- flexible: exchange
WITH chosen AS (
    SELECT * FROM http_exchanges WHERE http_version = '2'
    ORDER BY coalesce(request_started_at, response_started_at), connection_id, stream_index LIMIT 60
)
SELECT
    place(e.connection_id, e.stream_index) AS stream, s.protocol_stream_id::BIGINT AS number,
    exchange_name(request_method, nullif(coalesce(authority, '') || coalesce(e.target, ''), ''), e.end_reason) AS exchange,
    status_code AS status, e.duration_ns, time_to_first_byte_ns AS first_byte_ns, nullif(e.stalled_ns, 0) AS stalled_ns,
    response_content_bytes, CASE WHEN e.end_reason <> 'complete' THEN concat_ws(' ', e.end_reason, reset_code) END AS ended,
    (SELECT count(*) FROM http_exchanges WHERE http_version = '2') AS of_rows
FROM chosen e LEFT JOIN streams s USING (connection_id, stream_index)
ORDER BY coalesce(request_started_at, response_started_at), e.connection_id, e.stream_index;
