CREATE TABLE tenants (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE principals (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    role text NOT NULL CHECK (role IN ('administrator', 'member', 'service', 'viewer')),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

-- A key is 256 random bits, so that one SHA-256 is enough: there is no password to guess.
CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    principal_id uuid NOT NULL REFERENCES principals ON DELETE CASCADE,
    name text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE TABLE collections (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    name text NOT NULL,
    embedder text NOT NULL,
    embedder_revision text NOT NULL,
    dimension int NOT NULL,
    chunker text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, name)
);

CREATE TABLE documents (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    collection_id uuid NOT NULL REFERENCES collections ON DELETE CASCADE,
    sha256 text NOT NULL,
    name text NOT NULL,
    media_type text NOT NULL,
    size bigint NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    status text NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'loading', 'chunking', 'embedding', 'indexed', 'failed', 'deleting')),
    done int NOT NULL DEFAULT 0,
    total int NOT NULL DEFAULT 0,
    error text,
    warnings text[] NOT NULL DEFAULT '{}',
    pages int,
    chunks int NOT NULL DEFAULT 0,
    generation int NOT NULL DEFAULT 1,
    job_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- A document that is being deleted gives its identity free, so that the same bytes can come back at once.
CREATE UNIQUE INDEX documents_identity ON documents (tenant_id, collection_id, sha256) WHERE status <> 'deleting';
CREATE INDEX documents_listing ON documents (tenant_id, created_at DESC, id DESC);
CREATE INDEX documents_changes ON documents (tenant_id, updated_at);

CREATE TABLE document_texts (
    document_id uuid PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
    text text NOT NULL
);

CREATE TABLE chunks (
    id uuid PRIMARY KEY,
    document_id uuid NOT NULL REFERENCES documents ON DELETE CASCADE,
    ordinal int NOT NULL,
    digest bytea NOT NULL,
    text text NOT NULL,
    start_offset int NOT NULL,
    end_offset int NOT NULL,
    page int,
    page_starts int[] NOT NULL DEFAULT '{}',
    section text[] NOT NULL DEFAULT '{}'
);
CREATE INDEX chunks_of_document ON chunks (document_id, ordinal);

CREATE TABLE assistants (
    id uuid PRIMARY KEY,
    graph_id text NOT NULL,
    name text NOT NULL,
    description text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE threads (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    principal_id uuid NOT NULL REFERENCES principals ON DELETE CASCADE,
    status text NOT NULL DEFAULT 'idle' CHECK (status IN ('idle', 'busy', 'interrupted', 'error')),
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX threads_listing ON threads (tenant_id, principal_id, updated_at DESC);

CREATE TABLE runs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    thread_id uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
    assistant_id uuid NOT NULL REFERENCES assistants,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'running', 'success', 'error', 'timeout', 'interrupted')),
    metadata jsonb NOT NULL DEFAULT '{}',
    kwargs jsonb NOT NULL,
    error jsonb,
    attempt int NOT NULL DEFAULT 0,
    worker uuid,
    lease_until timestamptz,
    cancel_requested boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX runs_one_active_per_thread ON runs (thread_id) WHERE status IN ('pending', 'running');
CREATE INDEX runs_listing ON runs (thread_id, created_at DESC);
CREATE INDEX runs_to_take_over ON runs (lease_until) WHERE status IN ('pending', 'running');

CREATE TABLE run_events (
    run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
    seq int NOT NULL,
    event text NOT NULL,
    data text NOT NULL,
    PRIMARY KEY (run_id, seq)
);
