-- What agents remember beyond a thread. The collation makes a namespace's descendants one range of the index, in the
-- order of the bytes.
CREATE TABLE store_items (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    namespace text[] COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    value jsonb NOT NULL,
    -- The paths of the value that it is found by. The vectors are in a table of their own, made where pgvector is.
    fields text[] NOT NULL DEFAULT '{}',
    ttl_minutes double precision CHECK (ttl_minutes > 0),
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX store_items_place ON store_items (tenant_id, namespace, key);
CREATE INDEX store_items_expired ON store_items (expires_at) WHERE expires_at IS NOT NULL;

-- The answers to requests that were sent with an Idempotency-Key. One without a status is still being worked out, or its
-- process died over it.
CREATE TABLE idempotency_keys (
    principal_id uuid NOT NULL REFERENCES principals ON DELETE CASCADE,
    route text NOT NULL,
    key text NOT NULL,
    fingerprint bytea,
    status int,
    headers jsonb,
    body bytea,
    thread_id uuid REFERENCES threads ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (principal_id, route, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_of_thread ON idempotency_keys (thread_id) WHERE thread_id IS NOT NULL;
