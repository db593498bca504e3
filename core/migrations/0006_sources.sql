-- Places that documents are taken from again and again. No address holds a secret.
CREATE TABLE sources (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    collection_id uuid NOT NULL REFERENCES collections ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('web', 'sitemap', 'folder', 'prefix')),
    address text NOT NULL,
    options jsonb NOT NULL DEFAULT '{}',
    metadata jsonb NOT NULL DEFAULT '{}',
    interval_s int CHECK (interval_s >= 60),
    status text NOT NULL DEFAULT 'idle' CHECK (status IN ('idle', 'queued', 'syncing', 'failed')),
    error text,
    counts jsonb NOT NULL DEFAULT '{}',
    job_id bigint,
    -- When the last look succeeded, and when the last one ended.
    synced_at timestamptz,
    tried_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, collection_id, address)
);

-- What a source has offered: the version that was dealt with last, and the document that came of it. Without a document
-- it was refused, or a person deleted the document; it is taken again when its version changes.
CREATE TABLE source_items (
    source_id uuid NOT NULL REFERENCES sources ON DELETE CASCADE,
    id text NOT NULL,
    path text NOT NULL,
    version text,
    document_id uuid REFERENCES documents ON DELETE SET NULL,
    -- Whether the document is there because of a source, and goes when no item needs it any more.
    made boolean NOT NULL DEFAULT false,
    error text,
    checked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source_id, id)
);
CREATE INDEX source_items_of_document ON source_items (document_id);
