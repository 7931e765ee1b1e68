-- title: Captures
-- about: every input with its number, how long it lasts, and what is wrong with it

-- section: Captures
-- untitled: capture, name
-- flexible: name
-- wrapped: problem
-- optional: interfaces, link_types, format, other_packets, captured_bytes, connections
SELECT
    capture_index AS capture, name, format || coalesce(' in ' || compression, '') AS format, link_types, interfaces, packets, captured_bytes,
    first_packet_at AS "starts_UTC", epoch_ns(last_packet_at) - epoch_ns(first_packet_at) AS lasts_ns,
    connections, nullif(not_decoded_packets, 0) AS other_packets, nullif(snapped_packets, 0) AS cut_packets, nullif(dropped_packets, 0) AS dropped,
    nullif(concat_ws('; ', truncation, CASE WHEN is_interrupted THEN 'reading was interrupted, or goes on' END), '') AS problem, (SELECT count(*) FROM captures) AS of_rows
FROM captures c LEFT JOIN (
    -- the last capture of a run that was interrupted
    SELECT max(capture_index) AS capture_index, true AS is_interrupted
    FROM captures ASOF JOIN store_metadata m ON m.key = 'is_complete' AND capture_index >= first_capture_index
    WHERE m.value = 'false' GROUP BY first_capture_index
) USING (capture_index) LEFT JOIN (SELECT capture_index, count(*) AS connections FROM connections GROUP BY ALL) USING (capture_index)
ORDER BY capture_index;
