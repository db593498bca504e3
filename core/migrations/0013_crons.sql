-- Runs that begin again and again. The next moment is stored, so that any process finds what is due by the index.
CREATE TABLE crons (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    principal_id uuid NOT NULL REFERENCES principals ON DELETE CASCADE,
    thread_id uuid REFERENCES threads ON DELETE CASCADE,
    assistant_id uuid NOT NULL REFERENCES assistants ON DELETE CASCADE,
    schedule text NOT NULL,
    timezone text,
    end_time timestamptz,
    enabled boolean NOT NULL DEFAULT true,
    on_run_completed text NOT NULL CHECK (on_run_completed IN ('delete', 'keep')),
    -- What each run is asked to do.
    payload jsonb NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX crons_due ON crons (next_run_at) WHERE enabled AND next_run_at IS NOT NULL;
CREATE INDEX crons_listing ON crons (tenant_id, principal_id, created_at DESC);
CREATE INDEX crons_of_thread ON crons (thread_id) WHERE thread_id IS NOT NULL;
CREATE INDEX crons_of_assistant ON crons (assistant_id);
