-- over streams, connections
-- change of how many streams or exchanges are open at a time on a connection: 1 for one that opens, -1 for one that ends
WITH unnamed AS (
    -- what is in a stream that their connection multiplexes counts with it
    SELECT connection_id, stream_index, depth, started_at, ended_at FROM streams
    ANTI JOIN (
        SELECT connection_id, stream_index AS parent_index FROM streams WHERE protocol_stream_id IS NOT NULL
    ) USING (connection_id, parent_index)
    WHERE protocol_stream_id IS NULL
),
units AS (
    -- streams that their connection multiplexes
    SELECT connection_id, started_at, ended_at FROM streams WHERE protocol_stream_id IS NOT NULL AND started_at IS NOT NULL
    UNION ALL
    -- exchanges one after the other, or pipelined, without those that turned the connection into something else
    SELECT connection_id, started_at, ended_at FROM exchanges SEMI JOIN unnamed USING (connection_id, stream_index)
    WHERE started_at IS NOT NULL AND status IS DISTINCT FROM '101'
    UNION ALL
    -- what it was turned into where that has neither, such as a WebSocket
    SELECT connection_id, started_at, ended_at FROM unnamed
    ANTI JOIN exchanges USING (connection_id, stream_index)
    ANTI JOIN (SELECT connection_id, parent_index AS stream_index FROM streams) USING (connection_id, stream_index)
    WHERE depth > 0 AND started_at IS NOT NULL
),
changes AS (
    SELECT connection_id, started_at AS changed_at, 1 AS change FROM units
    UNION ALL
    SELECT connection_id, coalesce(ended_at, started_at) AS changed_at, -1 AS change FROM units
)
SELECT
    connection_id,
    changed_at,
    change::BIGINT AS change,
    sum(change) OVER (
        PARTITION BY connection_id ORDER BY changed_at, change DESC ROWS UNBOUNDED PRECEDING
    )::BIGINT AS open_streams
FROM changes
