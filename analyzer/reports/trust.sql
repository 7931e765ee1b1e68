-- title: Trust
-- about: what share of the exchanges and messages, header fields and bytes of each connection is witnessed, and what was lost

-- table: what_is_there
-- of each connection what there is, and what of it is certain
WITH said AS (
    -- an exchange that was reset, or not answered, is witnessed where nothing is missing
    SELECT connection_id, is_complete OR (missing_bytes_to_server + missing_bytes_to_client = 0 AND end_reason <> 'cut') AS is_witnessed
    FROM exchanges JOIN connections USING (connection_id)
    UNION ALL
    SELECT connection_id, is_complete FROM messages
),
told AS (SELECT connection_id, count(*) AS told, count(*) FILTER (is_witnessed) AS whole FROM said GROUP BY ALL),
lines AS (SELECT connection_id, sum(len(fields))::BIGINT AS fields FROM http_field_sections GROUP BY ALL),
-- only a hole makes fields unknown, and their exchanges say so
unknown AS (
    SELECT connection_id, count(*) AS unknown_fields
    FROM (
        SELECT connection_id, unnest(fields) AS line_id FROM http_field_sections
        SEMI JOIN (SELECT * FROM http_exchanges WHERE NOT fields_complete) USING (connection_id, stream_index, exchange_index)
    )
    JOIN (SELECT line_id FROM field_lines WHERE name IS NULL OR value IS NULL) USING (line_id) GROUP BY ALL
),
unread AS (
    SELECT connection_id, sum(unread_to_server_bytes + unread_to_client_bytes)::BIGINT AS unread_bytes FROM http2_connections GROUP BY ALL
)
SELECT
    connection_id, server_address || ':' || server_port AS server, protocol, coalesce(told, 0) AS told, coalesce(whole, 0) AS whole,
    coalesce(fields, 0) AS fields, coalesce(unknown_fields, 0) AS unknown_fields, coalesce(unread_bytes, 0) AS unread_bytes,
    bytes_to_server + bytes_to_client AS there_bytes, missing_bytes_to_server AS lost_to_server_bytes, missing_bytes_to_client AS lost_to_client_bytes
FROM connections LEFT JOIN told USING (connection_id) LEFT JOIN lines USING (connection_id)
LEFT JOIN unknown USING (connection_id) LEFT JOIN unread USING (connection_id);

-- table: shares
SELECT
    connection_id, server, protocol, told, whole / nullif(told, 0) AS whole, (fields - unknown_fields) / nullif(fields, 0) AS fields,
    (there_bytes - unread_bytes) / nullif(there_bytes + lost_to_server_bytes + lost_to_client_bytes, 0) AS bytes,
    lost_to_server_bytes, lost_to_client_bytes
FROM (
    FROM what_is_there
    UNION ALL
    SELECT
        NULL, NULL, NULL, sum(told), sum(whole), sum(fields), sum(unknown_fields), sum(unread_bytes), sum(there_bytes),
        sum(lost_to_server_bytes), sum(lost_to_client_bytes)
    FROM what_is_there
);

-- section: All connections
-- empty: No connection.
-- untitled: connections
SELECT
    format('{:,}', (SELECT count(*) FROM connections)) AS connections, told::BIGINT AS said,
    format('{:.1f} %', floor(whole * 1000) / 10) AS witnessed, format('{:.1f} %', floor(fields * 1000) / 10) AS fields, format('{:.1f} %', floor(bytes * 1000) / 10) AS bytes,
    lost_to_server_bytes::BIGINT AS lost_to_server_bytes, lost_to_client_bytes::BIGINT AS lost_to_client_bytes
FROM shares WHERE connection_id IS NULL AND (SELECT count(*) FROM connections) > 0;

-- section: Connections of which not everything is witnessed, worst first
-- empty: All that was said is there, from beginning to end.
-- untitled: connection, server
-- optional: protocol, server
-- flexible: server
SELECT
    connection_id AS connection, server, protocol, told AS said,
    format('{:.1f} %', floor(whole * 1000) / 10) AS witnessed, format('{:.1f} %', floor(fields * 1000) / 10) AS fields, format('{:.1f} %', floor(bytes * 1000) / 10) AS bytes,
    lost_to_server_bytes, lost_to_client_bytes,
    (SELECT count(*) FROM shares WHERE connection_id IS NOT NULL AND (whole < 1 OR fields < 1 OR bytes < 1)) AS of_rows
FROM shares WHERE connection_id IS NOT NULL AND (whole < 1 OR fields < 1 OR bytes < 1)
ORDER BY least(whole, fields, bytes), bytes, connection_id LIMIT 40;
