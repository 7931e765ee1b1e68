-- title: Anomalies
-- about: what the capture lacks, what was broken or not understood, and what TCP had to repair

-- section: By kind
-- empty: The capture lacks nothing; nothing in it was broken or not understood.
-- untitled: kind, such_as
-- wrapped: such_as
-- one line for faults that differ only in numbers, or in what was found
WITH faults AS (
    SELECT
        replace(kind, '_', ' ') AS kind, if(kind = 'not_understood', '', regexp_replace(required, '[0-9]+', '', 'g')) AS alike,
        CASE kind WHEN 'not_understood' THEN 'first bytes ' || found ELSE concat_ws(', ', 'required ' || required, 'found ' || found) END AS fault,
        connection_id, packet, occurrences, missing_bytes
    FROM anomalies WHERE kind <> 'not_decoded'
)
SELECT
    kind, first(fault ORDER BY connection_id NULLS FIRST, packet NULLS FIRST, fault) AS such_as,
    nullif(count(DISTINCT connection_id), 0) AS connections, sum(occurrences)::BIGINT AS times, sum(missing_bytes)::BIGINT AS missing_bytes
FROM faults GROUP BY kind, alike ORDER BY times DESC, kind, such_as;

-- section: One by one
-- untitled: stream, kind, fault
-- optional: standard
-- wrapped: fault
WITH faults AS (
    SELECT
        coalesce(place(connection_id, stream_index), place(connection_id), 'capture ' || capture_index, '-') AS stream, replace(kind, '_', ' ') AS kind,
        CASE kind WHEN 'not_understood' THEN 'first bytes ' || found ELSE concat_ws(', ', 'required ' || required, 'found ' || found) END AS fault, min(packet) AS packet,
        nullif(sum(occurrences), 1)::BIGINT AS times, any_value(section) AS standard, connection_id
    FROM anomalies WHERE kind <> 'not_decoded' GROUP BY ALL
)
SELECT * EXCLUDE (connection_id), (SELECT count(*) FROM faults) AS of_rows
FROM faults ORDER BY connection_id NULLS FIRST, packet NULLS FIRST, kind, fault LIMIT 50;

-- section: Packets of other protocols
-- untitled: found
SELECT found, sum(occurrences)::BIGINT AS packets FROM anomalies WHERE kind = 'not_decoded' GROUP BY ALL ORDER BY packets DESC, found;

-- section: What TCP had to repair
-- untitled: server
-- flexible: server
-- optional: zero_window, duplicates
SELECT
    server_address || ':' || server_port AS server, count(*) AS connections,
    sum(retransmitted_packets)::BIGINT AS retransmitted, sum(retransmitted_bytes)::BIGINT AS retransmitted_bytes,
    sum(out_of_order_packets)::BIGINT AS out_of_order, sum(zero_window_packets)::BIGINT AS zero_window, sum(duplicate_packets)::BIGINT AS duplicates
FROM connections WHERE retransmitted_packets + out_of_order_packets + zero_window_packets + duplicate_packets > 0
GROUP BY ALL ORDER BY retransmitted DESC, out_of_order DESC, server LIMIT 15;
