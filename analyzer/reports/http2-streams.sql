-- title: HTTP/2 streams
-- about: connections with their settings and ends, and their streams

-- section: Connections
-- empty: No HTTP/2 in this capture.
-- optional: goaway, errors
SELECT
    s.connection_id AS connection, count(*) FILTER (s.depth > 0) AS streams, max(p.at_a_time) AS at_a_time,
    (SELECT count(*) FROM http_exchanges e WHERE e.connection_id = s.connection_id AND e.end_reason = 'reset') AS resets,
    (SELECT count(*) FROM stalls t WHERE t.connection_id = s.connection_id) AS stalls,
    (SELECT count(*) FROM http_exchanges e WHERE e.connection_id = s.connection_id AND NOT e.fields_complete) AS fields_unknown,
    sum(s.missing_bytes) FILTER (s.depth = 0)::BIGINT AS missing_bytes
FROM streams s
LEFT JOIN (SELECT connection_id, max(open_streams) AS at_a_time FROM streams_open GROUP BY ALL) p USING (connection_id)
WHERE s.connection_id IN (SELECT connection_id FROM streams WHERE protocol = 'http2')
GROUP BY ALL ORDER BY streams DESC, connection LIMIT 20;

-- section: Streams
-- optional: first_byte_ns, stalled_ns, response_content_bytes
-- flexible: target
SELECT
    e.connection_id AS connection, s.protocol_stream_id AS stream, e.request_method AS method, e.target, e.status_code AS status,
    e.duration_ns, e.time_to_first_byte_ns AS first_byte_ns, nullif(e.stalled_ns, 0) AS stalled_ns, e.response_content_bytes,
    CASE WHEN e.reset_code IS NULL THEN e.end_reason ELSE e.end_reason || ' ' || e.reset_code END AS ended
FROM http_exchanges e JOIN streams s USING (connection_id, stream_index)
WHERE e.http_version = '2' ORDER BY coalesce(e.request_started_at, e.response_started_at), e.connection_id, e.stream_index LIMIT 60;
