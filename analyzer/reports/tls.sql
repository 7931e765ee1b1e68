-- title: TLS
-- about: versions and cipher suites, sessions resumed, what handshakes cost by server name, what was decrypted and what not and why

-- section: Versions and cipher suites
-- empty: No TLS.
-- untitled: version, cipher_suite
-- optional: key_exchange_group
-- flexible: cipher_suite
SELECT
    coalesce(version, 'not known') AS version, replace(cipher_suite, 'TLS_', '') AS cipher_suite, key_exchange_group, count(*) AS connections,
    count(*) FILTER (is_resumed) AS resumed, count(*) FILTER (is_decrypted) AS decrypted
FROM tls_handshakes GROUP BY ALL ORDER BY connections DESC, version DESC, cipher_suite, key_exchange_group LIMIT 40;

-- section: Handshakes by server name
-- untitled: server
-- flexible: server
-- optional: early_data, asked_again, longest_ns, round_trip_ns, all_handshakes_ns, resumed_share
WITH named AS (
    SELECT t.*, coalesce(server_name, server_address || ':' || server_port) AS server, handshake_rtt_ns
    FROM tls_handshakes t JOIN connections USING (connection_id)
)
SELECT
    server, count(*) AS connections, avg(is_resumed::INTEGER) AS resumed_share, median(handshake_ns)::BIGINT AS handshake_ns,
    max(handshake_ns) AS longest_ns, sum(handshake_ns)::BIGINT AS all_handshakes_ns, median(handshake_rtt_ns)::BIGINT AS round_trip_ns,
    nullif(count(*) FILTER (early_data_offered), 0) AS early_data, nullif(count(*) FILTER (has_hello_retry), 0) AS asked_again,
    (SELECT count(DISTINCT server) FROM named) AS of_rows
FROM named GROUP BY server ORDER BY all_handshakes_ns DESC NULLS LAST, connections DESC, server LIMIT 40;

-- section: What was decrypted
-- untitled: outcome
-- flexible: outcome
SELECT
    CASE WHEN not_decrypted_reason IS NULL THEN if(is_decrypted, 'decrypted', 'nothing to decrypt')
        WHEN is_decrypted THEN 'decrypted but for some: ' || not_decrypted_reason ELSE 'not decrypted: ' || not_decrypted_reason END AS outcome,
    count(*) AS connections, sum(records_to_server + records_to_client)::BIGINT AS records, sum(undecrypted_records)::BIGINT AS undecrypted
FROM tls_handshakes GROUP BY ALL ORDER BY connections DESC, outcome;

-- section: Alerts
-- untitled: alert
-- optional: level
SELECT description AS alert, replace(direction, '_', ' ') AS direction, level, count(*) AS alerts, count(DISTINCT connection_id) AS connections
FROM tls_alerts WHERE description <> 'close_notify' GROUP BY ALL ORDER BY alerts DESC, alert, direction LIMIT 40;

-- section: Certificates
-- untitled: certificate
-- flexible: certificate, issuer
SELECT
    certificate_subject AS certificate, certificate_issuer AS issuer, strftime(certificate_not_after_at::TIMESTAMP, '%Y-%m-%d') AS valid_until, count(*) AS connections,
    nullif(bool_or(certificate_not_after_at < client_hello_at), false) AS was_expired,
    (SELECT count(DISTINCT certificate_sha256) FROM tls_handshakes) AS of_rows
FROM tls_handshakes WHERE certificate_sha256 IS NOT NULL
GROUP BY certificate_sha256, certificate_subject, certificate_issuer, certificate_not_after_at
ORDER BY connections DESC, certificate LIMIT 20;
