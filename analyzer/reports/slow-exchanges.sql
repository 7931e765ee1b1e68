-- title: Slow exchanges
-- about: the slowest exchanges, where their time went, and how each target is distributed

-- section: Slowest
-- empty: No exchange with a request and a response.
-- untitled: stream, exchange
-- optional: started_at, packet, response_bytes, stalled_ns, receiving_ns
-- flexible: exchange
SELECT
    -- HTTP/2 gives each exchange a stream of its own
    place(connection_id, stream_index, if(protocol = 'http/2', NULL, exchange_index)) AS stream, exchange_name(operation, target, end_reason) AS exchange, status, started_at, duration_ns,
    time_to_first_byte_ns AS first_byte_ns, duration_ns - time_to_first_byte_ns AS receiving_ns,
    nullif(stalled_ns, 0) AS stalled_ns, response_bytes, first_packet AS packet,
    (SELECT count(*) FROM exchanges WHERE duration_ns IS NOT NULL) AS of_rows
FROM exchanges WHERE duration_ns IS NOT NULL ORDER BY duration_ns DESC, connection_id, stream_index LIMIT 25;

-- section: By target, those first that took most time in all
-- untitled: exchange
-- optional: slowest_ns, total_ns, errors
-- flexible: exchange
WITH targets AS (
    SELECT
        exchange_name(operation, regexp_replace(target, '\?.*$', ''), end_reason) AS exchange, count(*) AS exchanges,
        quantile_disc(duration_ns, 0.5) AS median_ns, quantile_disc(duration_ns, 0.95) AS p95_ns, max(duration_ns) AS slowest_ns,
        sum(duration_ns)::BIGINT AS total_ns, nullif(count(*) FILTER (error_type IS NOT NULL), 0) AS errors
    FROM exchanges WHERE duration_ns IS NOT NULL GROUP BY ALL
)
SELECT *, (SELECT count(*) FROM targets) AS of_rows FROM targets ORDER BY total_ns DESC, exchange LIMIT 20;
