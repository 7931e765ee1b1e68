-- title: Pools
-- about: why there are so many connections: how many were open and busy at a time, what each carried, what reuse saved

-- table: ways
-- how HTTP connections were told to end with their first exchange (RFC 9112 section 9.3), by request, by response or by their version
SELECT
    connection_id, bool_or(says_close AND side = 'request') AS asked_to_close, bool_or(says_close AND side = 'response') AS told_to_close,
    bool_or(http_version = '1.0') AND NOT coalesce(bool_or(says_keep_alive), false) AS is_old
FROM http_exchanges e LEFT JOIN (
    SELECT
        connection_id, stream_index, exchange_index, side, bool_or(list_contains(said, 'close')) AS says_close,
        bool_or(list_contains(said, 'keep-alive')) AS says_keep_alive
    FROM (
        SELECT connection_id, stream_index, exchange_index, side, unnest(fields) AS line_id FROM http_field_sections WHERE section = 'header'
    )
    JOIN (
        SELECT line_id, list_transform(string_split(lower(value), ','), lambda word: trim(word)) AS said
        FROM field_lines WHERE lower(name) = 'connection'
    ) USING (line_id) GROUP BY ALL
) USING (connection_id, stream_index, exchange_index)
WHERE http_version IN ('1.0', '1.1') GROUP BY ALL;

-- table: uses
-- TCP connections by client and server, with what each carried; NULL where nothing of it was understood
SELECT
    connection_id, client_address AS client, server_address || ':' || server_port AS server, protocol, started_at, ended_at, duration_ns,
    CASE WHEN handshake_rtt_ns IS NOT NULL OR tls_ns IS NOT NULL THEN coalesce(handshake_rtt_ns, 0) + coalesce(tls_ns, 0) END AS handshakes_ns,
    saved_ns, state IN ('S0', 'REJ') AS is_refused, closed_by, close_reason,
    CASE WHEN u.exchanges > 0 OR messages > 0 OR (protocol IS NOT NULL AND NOT coalesce(is_unread, false)) THEN coalesce(u.exchanges, 0) + coalesce(messages, 0) END AS uses, u.exchanges,
    coalesce(asked_to_close, false) AS asked_to_close, coalesce(told_to_close, false) AS told_to_close, coalesce(is_old, false) AS is_old
FROM connections
LEFT JOIN (SELECT connection_id, count(*) AS exchanges FROM exchanges GROUP BY ALL) u USING (connection_id)
LEFT JOIN (SELECT connection_id, count(*) AS messages FROM messages GROUP BY ALL) USING (connection_id)
LEFT JOIN (SELECT connection_id, sum(handshake_ns) AS tls_ns, bool_or(not_decrypted_reason IS NOT NULL) AS is_unread FROM tls_handshakes GROUP BY ALL) USING (connection_id)
LEFT JOIN (SELECT connection_id, saved_ns FROM reuse) USING (connection_id)
LEFT JOIN ways USING (connection_id)
WHERE transport = 'tcp';

-- table: busy
-- when something was under way on a connection
WITH moments AS (
    SELECT connection_id, epoch_ns(changed_at) AS changed, sum(change) AS change FROM streams_open GROUP BY ALL
),
levels AS (
    SELECT connection_id, changed, sum(change) OVER (PARTITION BY connection_id ORDER BY changed) AS level FROM moments
),
edges AS (
    SELECT connection_id, changed, level, lag(level, 1, 0) OVER (PARTITION BY connection_id ORDER BY changed) AS before FROM levels
)
SELECT
    connection_id, changed AS began, lead(changed, 1, changed) OVER (PARTITION BY connection_id ORDER BY changed) AS ended, level > 0 AS is_busy
FROM edges WHERE (level > 0) <> (before > 0);

-- table: most
-- the most connections that were open, and that were busy, at a time; one that becomes free can be used again at once
WITH changes AS (
    SELECT client, server, 'open' AS kind, epoch_ns(started_at) AS changed, 1 AS change FROM uses WHERE NOT is_refused
    UNION ALL
    SELECT client, server, 'open', epoch_ns(ended_at), -1 FROM uses WHERE NOT is_refused
    UNION ALL
    SELECT client, server, 'busy', unnest([began, ended]), unnest([1, -1]) FROM busy JOIN uses USING (connection_id) WHERE is_busy
),
levels AS (
    SELECT *, sum(change) OVER (PARTITION BY client, server, kind ORDER BY changed, if(kind = 'open', -change, change) ROWS UNBOUNDED PRECEDING) AS level
    FROM changes
)
SELECT client, server, max(level) FILTER (kind = 'open')::BIGINT AS open, max(level) FILTER (kind = 'busy')::BIGINT AS busy FROM levels GROUP BY ALL;

-- table: pools
SELECT
    client, server, string_agg(DISTINCT protocol, ', ' ORDER BY protocol) AS protocol, count(*) AS connections, any_value(open) AS open,
    if(sum(exchanges) > 0, greatest(any_value(busy), 1), any_value(busy)) AS busy, sum(exchanges)::BIGINT AS exchanges,
    avg(uses) FILTER (uses > 0) AS per_connection, count(*) FILTER (uses = 0 AND NOT is_refused) AS unused,
    count(*) FILTER (uses = 1) AS used_once, count(*) FILTER (uses > 1) AS reused, count(*) FILTER (is_refused) AS refused,
    count(*) FILTER (uses IS NULL AND NOT is_refused) AS unread,
    CASE WHEN sum(exchanges) > 0 THEN 1 - least(sum(coalesce(busy_ns, 0)) / nullif(sum(duration_ns) FILTER (exchanges > 0), 0), 1) END AS idle_share,
    sum(handshakes_ns)::BIGINT AS handshakes_ns,
    sum(saved_ns)::BIGINT AS saved_ns,
    min(duration_ns) FILTER (NOT is_refused) AS shortest_ns, median(duration_ns) FILTER (NOT is_refused)::BIGINT AS median_ns,
    max(duration_ns) AS longest_ns,
    count(*) FILTER (closed_by = 'client' AND close_reason = 'fin') AS by_client,
    count(*) FILTER (closed_by = 'server' AND close_reason = 'fin') AS by_server,
    count(*) FILTER (close_reason = 'reset' AND NOT is_refused) AS reset,
    count(*) FILTER (close_reason NOT IN ('fin', 'reset')) AS not_closed,
    count(*) FILTER (uses = 1 AND closed_by = 'client') AS once_by_client, count(*) FILTER (uses = 1 AND closed_by = 'server') AS once_by_server,
    count(*) FILTER (uses = 1 AND asked_to_close) AS once_asked, count(*) FILTER (uses = 1 AND told_to_close AND NOT asked_to_close) AS once_told,
    count(*) FILTER (uses = 1 AND is_old AND NOT asked_to_close AND NOT told_to_close) AS once_old
FROM uses LEFT JOIN most USING (client, server)
LEFT JOIN (SELECT connection_id, sum(ended - began) AS busy_ns FROM busy WHERE is_busy GROUP BY ALL) USING (connection_id)
GROUP BY client, server;

-- section: Connections by client and server; open and busy: the most at a time
-- empty: No TCP connection.
-- untitled: client, server
-- optional: longest_ns, protocol, median_ns, idle_share, shortest_ns, saved_ns, handshakes_ns, per_connection
-- flexible: client, server
SELECT
    client, server, protocol, connections, open, busy, per_connection, idle_share, handshakes_ns, nullif(saved_ns, 0) AS saved_ns, shortest_ns,
    if(connections > 1, median_ns, NULL) AS median_ns, if(connections > 1, longest_ns, NULL) AS longest_ns,
    (SELECT count(*) FROM pools) AS of_rows
FROM pools ORDER BY connections DESC, open DESC, client, server LIMIT 20;

-- section: What became of them; once: those that carried one exchange or message
-- untitled: client, server
-- optional: not_closed, reset, refused, not_read
-- flexible: client, server
SELECT
    client, server, nullif(refused, 0) AS refused, nullif(unread, 0) AS not_read, nullif(unused, 0) AS unused, nullif(used_once, 0) AS once, nullif(reused, 0) AS reused,
    nullif(by_client, 0) AS closed_by_client, nullif(by_server, 0) AS by_server, nullif(reset, 0) AS reset, nullif(not_closed, 0) AS not_closed,
    (SELECT count(*) FROM pools) AS of_rows
FROM pools ORDER BY connections DESC, open DESC, client, server LIMIT 20;

-- section: Why so many
WITH reasons AS (
    SELECT
        connections, client, server,
        list_filter([
            CASE WHEN refused > 0 THEN format('{:,} {} refused or not answered', refused, if(refused = 1, 'was', 'were')) END,
            CASE WHEN unread > 0 THEN format('{:,} carried what was not understood or not decrypted', unread) END,
            CASE WHEN unused > 0 THEN format('{:,} carried nothing', unused) END,
            CASE WHEN used_once > 0 THEN format('{:,} carried one exchange or message only', used_once)
                || CASE WHEN once_by_server = used_once THEN ', then the server closed' WHEN once_by_client = used_once THEN ', then the client closed'
                    WHEN once_by_server + once_by_client > 0 THEN ', then closed: '
                        || concat_ws(', ', format('{:,} by the server', nullif(once_by_server, 0)), format('{:,} by the client', nullif(once_by_client, 0)),
                            format('{:,} not at all', nullif(used_once - once_by_server - once_by_client, 0)))
                    ELSE '' END
                || coalesce(' (' || nullif(concat_ws(', ',
                    format('{:,} with Connection: close in the request', nullif(once_asked, 0)), format('{:,} with Connection: close in the response', nullif(once_told, 0)),
                    format('{:,} of HTTP/1.0 without keep-alive', nullif(once_old, 0))), '') || ')', '') END,
            CASE WHEN open > 1 AND unread > 0 THEN format('up to {:,} were open at a time', open)
                WHEN open > 1 AND busy = 1 THEN format('up to {:,} were open, but never more than one busy', open)
                WHEN open > busy THEN format('up to {:,} were open, at most {:,} busy at a time', open, busy)
                WHEN open > 1 AND busy = open THEN format('all {:,} that were open were busy at the same time', open)
                WHEN open = 1 THEN 'one after the other' END
        ], lambda reason: reason IS NOT NULL) AS reasons
    FROM pools WHERE connections > 1 ORDER BY connections DESC, open DESC, client, server LIMIT 10
)
SELECT format('{} → {}: {:,} connections: ', client, server, connections) || array_to_string(reasons, '; ') AS line
FROM reasons WHERE len(reasons) > 0 ORDER BY connections DESC, client, server;
