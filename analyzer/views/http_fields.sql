-- over http_field_sections, field_lines
-- header or trailer field: exchange, side, section, position from 0, name, value, provenance
SELECT connection_id, stream_index, exchange_index, side, section, position, name, value, provenance
FROM (
    SELECT
        connection_id, stream_index, exchange_index, side, section,
        generate_subscripts(fields, 1) - 1 AS position,
        unnest(fields) AS line_id
    FROM http_field_sections
)
JOIN field_lines USING (line_id)
