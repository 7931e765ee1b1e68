-- title: Slow exchanges
-- about: the slowest exchanges, where their time went, and how each target is distributed

-- section: Slowest
-- empty: No exchange with a request and a response.
-- optional: started_at, stalled_ns, response_bytes, packet, stream
-- flexible: target
SELECT
    connection_id AS connection, stream_index AS stream, operation, target, status, started_at::TIMESTAMP AS started_at, duration_ns,
    time_to_first_byte_ns AS first_byte_ns, duration_ns - time_to_first_byte_ns AS receiving_ns,
    nullif(stalled_ns, 0) AS stalled_ns, response_bytes, first_packet AS packet
FROM exchanges WHERE duration_ns IS NOT NULL ORDER BY duration_ns DESC, connection_id, stream_index LIMIT 25;

-- section: By target
-- optional: slowest_ns, errors
-- flexible: target
SELECT
    operation, regexp_replace(target, '\?.*$', '') AS target, count(*) AS exchanges,
    quantile_disc(duration_ns, 0.5) AS median_ns, quantile_disc(duration_ns, 0.95) AS p95_ns, max(duration_ns) AS slowest_ns,
    nullif(count(*) FILTER (error_type IS NOT NULL), 0) AS errors
FROM exchanges WHERE duration_ns IS NOT NULL GROUP BY ALL ORDER BY sum(duration_ns) DESC, target LIMIT 20;
