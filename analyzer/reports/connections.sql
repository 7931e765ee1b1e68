-- title: Connections
-- about: who talked to whom, how it opened and ended, what was lost, and how much each connection was reused

-- section: By server
-- empty: No TCP connection and no UDP flow.
-- untitled: server, protocol
-- optional: refused, handshake_ns, missing_bytes, per_connection
-- flexible: server
WITH used AS (SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL),
servers AS (
    SELECT
        server_address || ':' || server_port AS server,
        coalesce(protocol, transport || if(bytes_to_server + bytes_to_client > 0, ', not recognised', ', no data')) AS protocol,
        count(*) AS connections, sum(exchanges)::BIGINT AS exchanges, avg(exchanges) AS per_connection,
        median(handshake_rtt_ns)::BIGINT AS handshake_ns,
        nullif(count(*) FILTER (transport = 'tcp' AND state IN ('S0', 'REJ')), 0) AS refused,
        nullif(count(*) FILTER (transport = 'tcp' AND least(packets_to_server, packets_to_client) = 0 AND bytes_to_server + bytes_to_client > 0), 0) AS one_direction,
        nullif(sum(missing_bytes_to_server + missing_bytes_to_client), 0)::BIGINT AS missing_bytes
    FROM connections LEFT JOIN used USING (connection_id) GROUP BY ALL
)
SELECT *, (SELECT count(*) FROM servers) AS of_rows FROM servers ORDER BY connections DESC, exchanges DESC NULLS LAST, server, protocol LIMIT 15;

-- section: One by one
-- optional: started_at, history, dropped_meanwhile, retransmitted, payload_bytes, handshake_ns, closed_by, exchanges, missing_bytes
-- flexible: ends, protocol
WITH chosen AS (SELECT * FROM connections ORDER BY connection_id LIMIT 40),
inside AS (
    SELECT connection_id, string_agg(DISTINCT s.protocol, ' > ') AS protocols
    FROM streams s JOIN chosen c USING (connection_id) WHERE s.protocol <> c.protocol GROUP BY ALL
),
used AS (SELECT connection_id, count(*) AS exchanges FROM exchanges SEMI JOIN chosen USING (connection_id) GROUP BY ALL)
SELECT
    connection_id AS connection,
    client_address || ':' || client_port || ' → ' || server_address || ':' || server_port AS ends,
    coalesce(protocol || coalesce(' > ' || protocols, ''), transport || if(bytes_to_server + bytes_to_client > 0, ', not recognised', ', no data')) AS protocol,
    state, history, started_at, duration_ns, exchanges, bytes_to_server + bytes_to_client AS payload_bytes,
    handshake_rtt_ns AS handshake_ns, nullif(retransmitted_packets, 0) AS retransmitted,
    nullif(missing_bytes_to_server + missing_bytes_to_client, 0) AS missing_bytes,
    nullif(dropped_packets, 0) AS dropped_meanwhile, closed_by,
    (SELECT count(*) FROM connections) AS of_rows
FROM chosen LEFT JOIN inside USING (connection_id) LEFT JOIN used USING (connection_id) ORDER BY connection_id;

-- section: What the letters say (they are Zeek's)
SELECT unnest([
    'state: SF opened and closed, S1 still open, S0 not answered, REJ refused, RSTO and RSTR reset by client and server, OTH joined in the middle',
    'history: S SYN, H SYN with ACK, A ACK, D data, F FIN, R RST, T repeated, G a hole, W window of zero; small letters are the server''s'
]) AS line WHERE EXISTS (FROM connections WHERE transport = 'tcp');
