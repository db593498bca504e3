-- Assistants of tenants, beside those of the graphs, which are everybody's and have no tenant.
ALTER TABLE assistants
    ADD COLUMN tenant_id uuid REFERENCES tenants ON DELETE CASCADE,
    ADD COLUMN version int NOT NULL DEFAULT 1,
    ADD COLUMN config jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN context jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN metadata jsonb NOT NULL DEFAULT '{}';
CREATE INDEX assistants_listing ON assistants (tenant_id, updated_at DESC);
UPDATE assistants SET metadata = '{"created_by": "system"}';

CREATE TABLE assistant_versions (
    assistant_id uuid NOT NULL REFERENCES assistants ON DELETE CASCADE,
    version int NOT NULL,
    graph_id text NOT NULL,
    name text NOT NULL,
    description text,
    config jsonb NOT NULL,
    context jsonb NOT NULL,
    metadata jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (assistant_id, version)
);
INSERT INTO assistant_versions (assistant_id, version, graph_id, name, description, config, context, metadata, created_at)
    SELECT id, version, graph_id, name, description, config, context, metadata, created_at FROM assistants;

-- A deleted assistant takes the record of its runs along; the threads stay unless the client says otherwise.
ALTER TABLE runs DROP CONSTRAINT runs_assistant_id_fkey,
    ADD CONSTRAINT runs_assistant_id_fkey FOREIGN KEY (assistant_id) REFERENCES assistants ON DELETE CASCADE;
CREATE INDEX runs_of_assistant ON runs (assistant_id);

-- What lists of threads show of the state, without a checkpoint being read: its values and its open interrupts, by the
-- task that waits. They are written with the state that the thread takes on.
ALTER TABLE threads
    ADD COLUMN state jsonb,
    ADD COLUMN interrupts jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN state_updated_at timestamptz,
    ADD COLUMN pruned_at timestamptz,
    ADD COLUMN ttl_minutes double precision CHECK (ttl_minutes > 0),
    ADD COLUMN ttl_strategy text CHECK (ttl_strategy IN ('delete', 'keep_latest'));
CREATE INDEX threads_metadata ON threads USING gin (metadata jsonb_path_ops);
CREATE INDEX threads_to_prune ON threads (state_updated_at) WHERE pruned_at IS NULL OR state_updated_at > pruned_at;
CREATE INDEX threads_expiring ON threads (updated_at) WHERE ttl_minutes IS NOT NULL;

-- The larger values of checkpoints, in pieces that the checkpoints of a thread share: a longer list costs what is new.
CREATE TABLE checkpoint_parts (
    thread_id text NOT NULL,
    hash bytea NOT NULL,
    blob bytea NOT NULL,
    PRIMARY KEY (thread_id, hash)
);
