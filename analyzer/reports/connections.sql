-- title: Connections
-- about: who talked to whom, how it opened and ended, what was lost, and how much each connection was reused

-- section: By server
-- empty: No TCP connection and no UDP flow.
-- optional: refused, missing_bytes, idle_ns
-- flexible: server
WITH used AS (SELECT connection_id, count(*) AS exchanges, sum(duration_ns) AS busy_ns FROM exchanges GROUP BY ALL)
SELECT
    server_address || ':' || server_port AS server, coalesce(protocol, transport) AS protocol, count(*) AS connections,
    sum(coalesce(exchanges, 0))::BIGINT AS exchanges,
    round(avg(coalesce(exchanges, 0)), 1) AS per_connection,
    median(handshake_rtt_ns)::BIGINT AS handshake_ns,
    avg(greatest(duration_ns - coalesce(busy_ns, 0), 0))::BIGINT AS idle_ns,
    count(*) FILTER (state IN ('S0', 'REJ')) AS refused,
    sum(missing_bytes_to_server + missing_bytes_to_client)::BIGINT AS missing_bytes
FROM connections LEFT JOIN used USING (connection_id)
GROUP BY ALL ORDER BY connections DESC, server LIMIT 15;

-- section: One by one
-- optional: history, retransmitted, handshake_ns, payload_bytes, closed_by
-- flexible: client, server
SELECT
    connection_id AS connection,
    client_address || ':' || client_port AS client,
    server_address || ':' || server_port AS server,
    coalesce(protocol, transport) AS protocol, state, history, duration_ns,
    bytes_to_server + bytes_to_client AS payload_bytes, handshake_rtt_ns AS handshake_ns,
    nullif(retransmitted_packets, 0) AS retransmitted, closed_by
FROM connections ORDER BY connection_id LIMIT 40;

-- section: By client and server: how many at a time
-- flexible: client, server
WITH changes AS (
    SELECT client_address, server_address, server_port, started_at AS changed_at, 1 AS change, duration_ns FROM connections WHERE transport = 'tcp'
    UNION ALL
    SELECT client_address, server_address, server_port, ended_at, -1, NULL FROM connections WHERE transport = 'tcp'
),
levels AS (
    SELECT *, sum(change) OVER (
        PARTITION BY client_address, server_address, server_port ORDER BY changed_at, change DESC ROWS UNBOUNDED PRECEDING
    )::BIGINT AS open
    FROM changes
)
SELECT
    client_address AS client, server_address || ':' || server_port AS server, count(*) FILTER (change = 1) AS connections,
    max(open) AS open_at_a_time, min(duration_ns) AS shortest_ns, max(duration_ns) AS longest_ns
FROM levels GROUP BY ALL ORDER BY connections DESC, client, server LIMIT 15;
