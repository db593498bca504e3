-- Name, size and metadata are of the bytes that were taken in last; `live_…` are those of the version that search sees, and
-- what it shows and filters by. What a version waits with in this moment has overwritten them: that is all there is.
ALTER TABLE documents
    ADD COLUMN live_name text,
    ADD COLUMN live_size bigint,
    ADD COLUMN live_metadata jsonb;
UPDATE documents SET live_name = name, live_size = size, live_metadata = metadata WHERE live_generation IS NOT NULL;
ALTER TABLE documents ADD CONSTRAINT documents_live CHECK (
    live_generation IS NULL OR (live_name IS NOT NULL AND live_size IS NOT NULL AND live_metadata IS NOT NULL));

ALTER TABLE documents DROP COLUMN moments;
ALTER TABLE documents ADD COLUMN live_moments jsonb NOT NULL GENERATED ALWAYS AS (moments_of(live_metadata)) STORED;
DROP INDEX documents_metadata;
CREATE INDEX documents_live_metadata ON documents USING gin (live_metadata jsonb_path_ops);

-- The documents that a change could not make anew, with the reasons; which one it is at; and how many workers have died
-- since it got on, which is when `done` was greater than `done_at_death`.
ALTER TABLE rebuilds
    ADD COLUMN refused jsonb NOT NULL DEFAULT '[]',
    ADD COLUMN at_document uuid,
    ADD COLUMN deaths int NOT NULL DEFAULT 0,
    ADD COLUMN done_at_death int NOT NULL DEFAULT -1;
