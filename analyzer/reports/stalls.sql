-- title: Stalls
-- about: bytes that were there and had to wait: for which packet or window, how long, and which streams waited behind it

-- section: Stalls
-- empty: Nothing had to wait.
-- untitled: stall, reason
-- optional: waiting_bytes, started_at, evidence
-- flexible: streams_that_waited
WITH multiplexed AS (SELECT DISTINCT connection_id FROM streams WHERE stream_index > 0),
waited AS (
    SELECT w.connection_id, stall_index, string_agg(coalesce(s.protocol_stream_id, ':' || w.stream_index), ', ' ORDER BY w.stream_index) AS streams
    FROM stalled_streams w LEFT JOIN streams s USING (connection_id, stream_index)
    WHERE w.stream_index > 0 OR w.connection_id NOT IN (FROM multiplexed) GROUP BY ALL
)
SELECT
    connection_id AS stall,
    CASE kind WHEN 'tcp_hole' THEN 'packet before frame ' || stalls.first_packet || ' lost or late' WHEN 'connection_window' THEN 'window of the connection closed'
        WHEN 'stream_window' THEN 'window of stream ' || coalesce(protocol_stream_id, stalls.stream_index::VARCHAR) || ' closed' ELSE kind END AS reason,
    stalls.started_at::TIMESTAMP AS started_at, duration_ns, waiting_bytes, replace(evidence, '_', ' ') AS evidence, streams AS streams_that_waited,
    (SELECT count(*) FROM stalls) AS of_rows
FROM stalls LEFT JOIN waited USING (connection_id, stall_index) LEFT JOIN streams s USING (connection_id, stream_index)
ORDER BY duration_ns DESC NULLS LAST, connection_id, stall_index LIMIT 40;

-- section: Exchanges that waited
-- untitled: stream, target
-- flexible: target
WITH waited AS (SELECT connection_id, stream_index, count(*) AS stalls, sum(stalled_ns)::BIGINT AS waited_ns FROM stalled_streams GROUP BY ALL)
SELECT
    place(connection_id, stream_index) AS stream, exchange_name(e.operation, e.target, e.end_reason) AS target, stalls, waited_ns, e.duration_ns,
    (SELECT count(*) FROM exchanges JOIN waited USING (connection_id, stream_index)) AS of_rows
FROM waited JOIN exchanges e USING (connection_id, stream_index)
ORDER BY waited_ns DESC, connection_id, stream_index, e.exchange_index LIMIT 40;
