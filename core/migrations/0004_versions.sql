-- A document stays searchable while it is made anew: `live_…` is what search sees, the other columns are what was last
-- taken in. `version` counts the bytes that were taken in, `generation` the attempts that must not count any more.
ALTER TABLE documents
    ADD COLUMN source_id text,
    ADD COLUMN version int NOT NULL DEFAULT 1,
    ADD COLUMN blob text,
    ADD COLUMN live_generation int,
    ADD COLUMN live_version int,
    ADD COLUMN live_blob text,
    ADD COLUMN live_media_type text,
    -- Refused because its collection was made with another embedder or chunker; taken up again once it is made anew.
    ADD COLUMN awaits_reembedding boolean NOT NULL DEFAULT false;
UPDATE documents SET blob = tenant_id::text || '/' || id::text;
ALTER TABLE documents ALTER COLUMN blob SET NOT NULL, ALTER COLUMN blob SET DEFAULT '';
UPDATE documents SET live_generation = generation, live_version = 1, live_blob = blob, live_media_type = media_type
    WHERE status = 'indexed';
CREATE UNIQUE INDEX documents_source ON documents (tenant_id, collection_id, source_id)
    WHERE source_id IS NOT NULL AND status <> 'deleting';

-- The generation that the chunk's point was written in.
ALTER TABLE chunks ADD COLUMN generation int NOT NULL DEFAULT 1;
UPDATE chunks c SET generation = d.generation FROM documents d WHERE d.id = c.document_id AND d.generation <> 1;

-- What a document will be when all of its points are there: under its collection's stamp, or (`rebuild`) under the one
-- that the collection is being changed to.
CREATE TABLE document_drafts (
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    rebuild boolean NOT NULL,
    generation int NOT NULL,
    embedder text NOT NULL,
    embedder_revision text NOT NULL,
    dimension int NOT NULL,
    chunker text NOT NULL,
    text text NOT NULL,
    pages int,
    warnings text[] NOT NULL,
    PRIMARY KEY (document_id, rebuild)
);
-- A row is written before its point, so that no point is ever unknown; `stored` says that the point is there.
CREATE TABLE chunk_drafts (
    LIKE chunks INCLUDING DEFAULTS,
    rebuild boolean NOT NULL,
    stored boolean NOT NULL,
    PRIMARY KEY (document_id, rebuild, id),
    FOREIGN KEY (document_id, rebuild) REFERENCES document_drafts ON DELETE CASCADE
);
CREATE INDEX chunk_drafts_to_store ON chunk_drafts (document_id, rebuild) WHERE NOT stored;

-- Points and files that are to go: remembered in the transaction that makes them superfluous.
CREATE TABLE point_removals (
    document_id uuid NOT NULL,
    tenant_id uuid NOT NULL,
    embedder text NOT NULL,
    embedder_revision text NOT NULL,
    dimension int NOT NULL,
    chunk_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document_id, chunk_id, embedder, embedder_revision, dimension)
);
CREATE TABLE blob_removals (
    key text PRIMARY KEY,
    document_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Attempts that were under way begin anew: until now their chunks stood where the live ones stand.
INSERT INTO point_removals (document_id, tenant_id, embedder, embedder_revision, dimension, chunk_id)
    SELECT d.id, d.tenant_id, co.embedder, co.embedder_revision, co.dimension, c.id
    FROM chunks c JOIN documents d ON d.id = c.document_id JOIN collections co ON co.id = d.collection_id
    WHERE d.live_generation IS NULL;
DELETE FROM chunks c USING documents d WHERE d.id = c.document_id AND d.live_generation IS NULL;
DELETE FROM document_texts t USING documents d WHERE d.id = t.document_id AND d.live_generation IS NULL;

-- The newest change of a collection's stamp, and how far it is: what was `wanted`, the stamp that a worker made of it,
-- and the embedder that the collection had, whose points are removed after the change.
CREATE TABLE rebuilds (
    collection_id uuid PRIMARY KEY REFERENCES collections ON DELETE CASCADE,
    wanted jsonb NOT NULL,
    embedder text,
    embedder_revision text,
    dimension int,
    chunker text,
    old_embedder text,
    old_embedder_revision text,
    old_dimension int,
    status text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'clearing', 'done', 'failed')),
    done int NOT NULL DEFAULT 0,
    total int NOT NULL DEFAULT 0,
    error text,
    job_id bigint,
    started_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What comparisons of PostgreSQL with the index and the files have found.
CREATE TABLE reconciliations (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repair boolean NOT NULL,
    findings jsonb,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
