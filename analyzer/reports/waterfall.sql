-- title: Waterfall
-- about: each exchange of a connection on a time axis: sent, waited, received

-- table: units
-- exchanges, and streams that carry something else (exchange_index -1), in nanoseconds; of one connection where that is chosen
WITH runs AS (
    -- what is under way lasts until the latest moment known of its run, be it that of now or that of the end of a killed one
    SELECT capture_index, max(epoch_ns(greatest(last_packet_at, ended_at))) OVER (PARTITION BY first_capture_index) AS latest
    FROM captures ASOF LEFT JOIN store_metadata m ON m.key = 'is_complete' AND capture_index >= first_capture_index
    LEFT JOIN (SELECT capture_index, max(ended_at) AS ended_at FROM connections GROUP BY ALL) USING (capture_index)
),
chosen AS (
    SELECT connection_id, latest, CASE WHEN close_reason = 'reset' THEN epoch_ns(ended_at) END AS reset_at
    FROM connections LEFT JOIN runs USING (capture_index)
    WHERE getvariable('connection') IS NULL OR connection_id = getvariable('connection')::BIGINT
),
exchanged AS (
    SELECT
        e.connection_id, e.stream_index, e.exchange_index, e.protocol,
        exchange_name(e.operation, coalesce(h.target, e.target), e.end_reason) AS name, e.status, e.error_type, e.end_reason,
        e.end_reason = 'reset' AS is_reset, epoch_ns(e.started_at) AS started, epoch_ns(h.request_ended_at) AS sent,
        coalesce(epoch_ns(h.response_started_at), epoch_ns(e.started_at) + e.time_to_first_byte_ns) AS answered,
        -- of what is cut nobody knows how long it waited
        CASE WHEN e.end_reason IS NULL THEN greatest(epoch_ns(e.ended_at), latest)
            -- without a code the connection was reset, not a stream in it
            WHEN e.end_reason = 'reset' AND h.reset_code IS NULL THEN greatest(epoch_ns(e.ended_at), epoch_ns(s.ended_at), reset_at)
            WHEN e.end_reason IN ('reset', 'no response') THEN greatest(epoch_ns(e.ended_at), epoch_ns(s.ended_at))
            ELSE epoch_ns(e.ended_at) END AS ended,
        coalesce(h.request_missing_bytes + h.response_missing_bytes, 0) AS missing_bytes, e.stalled_ns, NULL AS messages, e.duration_ns
    FROM exchanges e JOIN chosen USING (connection_id)
    LEFT JOIN http_exchanges h USING (connection_id, stream_index, exchange_index)
    LEFT JOIN streams s USING (connection_id, stream_index)
),
others AS (
    SELECT
        connection_id, stream_index, -1, protocol,
        coalesce(protocol, 'not recognised') || if(messages_to_server + messages_to_client > 0,
            ', ' || (messages_to_server + messages_to_client) || ' messages', '') AS name, NULL, NULL, end_reason,
        end_reason = 'reset' AS is_reset, epoch_ns(started_at), NULL, NULL,
        CASE WHEN end_reason IS NULL THEN greatest(epoch_ns(ended_at), latest)
            WHEN end_reason = 'reset' AND parent_index IS NULL THEN greatest(epoch_ns(ended_at), reset_at)
            ELSE epoch_ns(ended_at) END, missing_bytes, stalled_ns,
        messages_to_server + messages_to_client, epoch_ns(ended_at) - epoch_ns(started_at)
    FROM streams JOIN chosen USING (connection_id)
    ANTI JOIN (SELECT connection_id, stream_index FROM exchanges) USING (connection_id, stream_index)
    ANTI JOIN (SELECT connection_id, parent_index AS stream_index FROM streams) USING (connection_id, stream_index)
),
together AS (FROM exchanged UNION ALL FROM others)
SELECT
    * EXCLUDE (ended), greatest(ended, started, answered) AS ended,
    -- on a stream with several exchanges, a response waits for those before it
    max(greatest(ended, answered)) OVER (
        PARTITION BY connection_id, stream_index ORDER BY exchange_index ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS free_from
FROM together WHERE started IS NOT NULL;

-- table: shown_units
-- of the connections with most of them, those that lasted longest
WITH busiest AS (
    SELECT connection_id, count(*) AS units FROM units GROUP BY ALL
    ORDER BY units DESC, connection_id LIMIT coalesce(getvariable('most_connections')::BIGINT, 5)
)
SELECT u.*, b.units FROM units u JOIN busiest b USING (connection_id)
QUALIFY row_number() OVER (PARTITION BY connection_id ORDER BY ended - started DESC, started, stream_index, exchange_index)
    <= coalesce(getvariable('most_units')::BIGINT, 20);

-- table: bars
-- with what happened when: phases, stalls, holes, resets
WITH waited AS (
    SELECT
        u.connection_id, u.stream_index, u.exchange_index,
        list({kind: 'stalled', from_ns: greatest(epoch_ns(s.ended_at) - w.stalled_ns, u.started), until_ns: epoch_ns(s.ended_at)}
            ORDER BY s.ended_at) AS found
    FROM shown_units u JOIN stalled_streams w USING (connection_id, stream_index) JOIN stalls s USING (connection_id, stall_index)
    -- what waited had arrived by then: a stall may last longer than the exchange seems to
    WHERE u.stalled_ns > 0 AND epoch_ns(s.ended_at) > u.started AND epoch_ns(s.ended_at) - w.stalled_ns <= u.ended GROUP BY ALL
),
missed AS (
    SELECT
        u.connection_id, u.stream_index, u.exchange_index,
        list({kind: 'missing', from_ns: epoch_ns(a.occurred_at), until_ns: epoch_ns(a.occurred_at)} ORDER BY a.occurred_at) AS found
    FROM shown_units u JOIN anomalies a USING (connection_id)
    WHERE u.missing_bytes > 0 AND a.kind = 'missing_bytes' AND epoch_ns(a.occurred_at) BETWEEN u.started AND u.ended GROUP BY ALL
),
spans AS (
    SELECT
        *, exchange_index < 0 AS is_other, coalesce(sent, started) AS asked,
        least(greatest(coalesce(free_from, 0), coalesce(sent, started)), coalesce(answered, ended)) AS unqueued
    FROM shown_units
)
SELECT
    connection_id, stream_index, exchange_index, protocol, name, status, error_type, end_reason, started, ended, missing_bytes, stalled_ns,
    messages, duration_ns, units,
    list_filter([
        {kind: 'carrying', from_ns: if(is_other, started, NULL), until_ns: ended},
        {kind: 'waiting', from_ns: if(is_other, NULL, unqueued), until_ns: coalesce(answered, ended)},
        {kind: 'queued', from_ns: if(is_other, NULL, asked), until_ns: unqueued},
        {kind: 'sending', from_ns: if(is_other OR end_reason = 'no request', NULL, started), until_ns: asked},
        {kind: 'receiving', from_ns: answered, until_ns: ended}
    ], lambda phase: phase.from_ns IS NOT NULL AND (phase.until_ns > phase.from_ns OR phase.kind IN ('sending', 'receiving', 'carrying')))
    || coalesce(waited.found, []) || coalesce(missed.found, if(missing_bytes > 0, [{kind: 'missing', from_ns: ended, until_ns: ended}], []))
    || if(coalesce(is_reset, false), [{kind: 'reset', from_ns: ended, until_ns: ended}], []) AS phases
FROM spans
LEFT JOIN waited USING (connection_id, stream_index, exchange_index)
LEFT JOIN missed USING (connection_id, stream_index, exchange_index);

-- section: When each exchange was sent, waited and was received
-- empty: Nothing was exchanged in this capture.
-- untitled: exchange
-- optional: duration_ns, status
-- flexible: exchange
WITH axes AS (
    SELECT connection_id, any_value(units) AS units, count(*) AS shown, min(started) AS first_at,
        greatest(max(greatest(ended, list_max(list_transform(phases, lambda each: each.until_ns)))) - min(started), 1) AS lasts
    FROM bars GROUP BY ALL
),
lines AS (
    SELECT
        connection_id, units, 0 AS part, NULL::BIGINT AS started, NULL::BIGINT AS stream_index, NULL::BIGINT AS exchange_index,
        place(connection_id) || '  ' || client_address || ':' || client_port || ' → ' || server_address || ':' || server_port
            || coalesce('  ' || protocol, '') AS exchange,
        '' AS status, NULL AS error_type, lasts AS duration_ns,
        {lasts_ns: lasts, phases: [{kind: 'axis', from_ns: 0::BIGINT, until_ns: lasts}]} AS time_bar
    FROM axes JOIN connections USING (connection_id)
    UNION ALL
    SELECT
        connection_id, a.units, 1, started, stream_index, exchange_index, place(connection_id, stream_index) || '  ' || name, coalesce(status, ''),
        error_type, duration_ns,
        {
            lasts_ns: lasts,
            phases: list_transform(phases, lambda each: {kind: each.kind, from_ns: each.from_ns - first_at, until_ns: each.until_ns - first_at})
        }
    FROM bars JOIN axes a USING (connection_id)
    UNION ALL
    SELECT
        connection_id, units, 2, NULL, NULL, NULL, '… and ' || (units - shown) || ' more that took less time', '', NULL, NULL, NULL
    FROM axes WHERE units > shown
)
SELECT exchange, status, time_bar, duration_ns FROM lines
ORDER BY units DESC, connection_id, part, started, stream_index, exchange_index;

-- section: What the bars show
WITH counts AS (SELECT (SELECT count(DISTINCT connection_id) FROM units) AS of_all, (SELECT count(DISTINCT connection_id) FROM bars) AS shown)
SELECT '▒ sending  ─ waiting  ┄ queued behind others  █ receiving  ░ stalled  ═ something else  ✕ reset  ? bytes missing' AS line
FROM counts WHERE shown > 0
UNION ALL
SELECT 'the connections with most exchanges, ' || shown || ' of ' || of_all || ', and what lasted longest on each; --connection NUMBER shows more of one'
FROM counts WHERE shown < of_all;
