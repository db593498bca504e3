-- What a collection says of its documents' metadata: field -> kind. NULL: the metadata is free.
ALTER TABLE collections ADD COLUMN metadata_schema jsonb;

-- Filters ask for values with @>; ranges are asked of the documents of a tenant.
CREATE INDEX documents_metadata ON documents USING gin (metadata jsonb_path_ops);

-- The moment of an ISO 8601 date or date and time, NULL when the text is none; never an error, whatever is stored.
-- core.domain.moment_of says the same of a text.
CREATE FUNCTION moment_of(value text) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN value !~ ('^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])'
            || '(T([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,6})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)?)?$') THEN NULL
        WHEN substr(value, 9, 2)::int > extract(day FROM
            make_date(substr(value, 1, 4)::int, substr(value, 6, 2)::int, 1) + interval '1 month' - interval '1 day')
            THEN NULL
        WHEN length(value) = 10 THEN (value || 'T00:00Z')::timestamptz
        WHEN value ~ '(Z|[+-]\d\d:\d\d)$' THEN value::timestamptz
        ELSE (value || 'Z')::timestamptz
    END
$$;
