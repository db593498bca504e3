-- The dates among a document's metadata, read when it is written: field -> microseconds since 1970 in UTC. A range of dates
-- then costs what a range of numbers does. core.domain.moment_of says the same of a text; what is no date is left out.
--
-- IMMUTABLE although a cast to timestamptz is not: no setting of a session changes what an ISO 8601 date with its zone says.
-- In one piece, because while a dump is restored no function of ours is found by its bare name.
CREATE FUNCTION moments_of(metadata jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(jsonb_object_agg(field, (extract(epoch FROM moment) * 1000000)::bigint), '{}')
    FROM (
        SELECT key AS field, CASE
            WHEN value !~ '^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])' THEN NULL
            WHEN value !~ ('^(?!0000)\d{4}-\d\d-\d\d'
                || '(T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?)?$') THEN NULL
            WHEN substr(value, 9, 2)::int > extract(day FROM
                make_date(substr(value, 1, 4)::int, substr(value, 6, 2)::int, 1) + interval '1 month' - interval '1 day')
                THEN NULL
            WHEN length(value) = 10 THEN (value || 'T00:00Z')::timestamptz
            WHEN value ~ '(Z|[+-]\d\d:\d\d)$' THEN value::timestamptz
            ELSE (value || 'Z')::timestamptz
        END AS moment
        FROM jsonb_each_text(metadata)
    ) AS fields WHERE moment IS NOT NULL
$$;
ALTER TABLE documents ADD COLUMN moments jsonb NOT NULL GENERATED ALWAYS AS (moments_of(metadata)) STORED;
DROP FUNCTION moment_of(text);
