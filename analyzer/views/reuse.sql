-- over connections, tls_handshakes
-- TCP connection that carried exchanges: how many, and what the handshakes for each but the first would have taken, by the server's median
WITH opened AS (
    SELECT
        connection_id, server_address, server_port, handshake_rtt_ns AS tcp_handshake_ns, min(handshake_ns) AS tls_handshake_ns,
        count(t.connection_id) > 0 AS has_tls
    FROM connections c LEFT JOIN tls_handshakes t USING (connection_id)
    WHERE transport = 'tcp' GROUP BY ALL
),
costs AS (
    SELECT server_address, server_port, median(tcp_handshake_ns) AS tcp_ns, median(tls_handshake_ns) AS tls_ns FROM opened GROUP BY ALL
),
used AS (SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL)
SELECT
    connection_id,
    server_address,
    server_port,
    exchanges,
    tcp_ns::BIGINT AS usual_tcp_handshake_ns,
    if(has_tls, tls_ns, NULL)::BIGINT AS usual_tls_handshake_ns,
    exchanges - 1 AS saved_tcp_handshakes,
    if(has_tls, exchanges - 1, 0) AS saved_tls_handshakes,
    ((exchanges - 1) * (tcp_ns + if(has_tls, coalesce(tls_ns, 0), 0)))::BIGINT AS saved_ns
FROM used JOIN opened USING (connection_id) JOIN costs USING (server_address, server_port)
