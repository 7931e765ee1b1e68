-- title: Anomalies
-- about: everything that was lost, broken or not understood, and where

-- section: By kind
-- empty: Nothing was lost, broken or misunderstood.
SELECT kind, sum(occurrences)::BIGINT AS times, count(DISTINCT connection_id) AS connections, sum(missing_bytes)::BIGINT AS missing_bytes
FROM anomalies GROUP BY ALL ORDER BY times DESC, kind;

-- section: One by one
-- optional: section, packet, direction
-- flexible: required, found
SELECT
    connection_id AS connection, stream_index AS stream, direction, packet, kind, required, found, section,
    nullif(occurrences, 1) AS times
FROM anomalies ORDER BY connection_id NULLS FIRST, packet NULLS FIRST, kind LIMIT 60;
