-- over streams, connections
-- change of how many streams or exchanges are open at a time on a connection: connection, when, how many from then on
WITH units AS (
    SELECT connection_id, started_at, ended_at FROM streams WHERE depth >= 1 AND started_at IS NOT NULL
    UNION ALL
    SELECT connection_id, started_at, ended_at FROM exchanges WHERE stream_index = 0 AND started_at IS NOT NULL
),
changes AS (
    SELECT connection_id, started_at AS changed_at, 1 AS change FROM units
    UNION ALL
    SELECT connection_id, coalesce(ended_at, started_at) AS changed_at, -1 AS change FROM units
)
SELECT
    connection_id,
    changed_at,
    sum(change) OVER (
        PARTITION BY connection_id ORDER BY changed_at, change DESC ROWS UNBOUNDED PRECEDING
    )::BIGINT AS open_streams
FROM changes
