-- A run waits (`pending`), is claimed by a runner (`running`) and ends (docs/decisions/0020-runs-as-tasks.md).
ALTER TABLE runs
    ADD COLUMN ordinal bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN tenant_id uuid REFERENCES tenants ON DELETE CASCADE,
    ADD COLUMN multitask_strategy text NOT NULL DEFAULT 'reject'
        CHECK (multitask_strategy IN ('reject', 'enqueue', 'interrupt', 'rollback')),
    ADD COLUMN due_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN started_at timestamptz,
    -- What somebody who wants it to stop asked for, and why.
    ADD COLUMN cancel text CHECK (cancel IN ('interrupt', 'rollback')),
    ADD COLUMN cancel_reason text,
    -- The thread's last checkpoint before the run with the keys of its writes, and the run's own last one.
    ADD COLUMN base jsonb,
    ADD COLUMN checkpoint_id text,
    -- Whether the thread was made for this run alone and goes with it.
    ADD COLUMN alone boolean NOT NULL DEFAULT false;
UPDATE runs SET tenant_id = threads.tenant_id, started_at = runs.created_at,
    status = CASE runs.status WHEN 'pending' THEN 'running' ELSE runs.status END
FROM threads WHERE threads.id = runs.thread_id;
ALTER TABLE runs ALTER COLUMN tenant_id SET NOT NULL, DROP COLUMN cancel_requested;

DROP INDEX runs_one_active_per_thread, runs_to_take_over;
CREATE UNIQUE INDEX runs_one_running_per_thread ON runs (thread_id) WHERE status = 'running';
CREATE INDEX runs_to_take_over ON runs (lease_until) WHERE status = 'running';
CREATE INDEX runs_waiting ON runs (ordinal) WHERE status = 'pending';
CREATE INDEX runs_active ON runs (tenant_id, thread_id) WHERE status IN ('pending', 'running');
CREATE INDEX runs_alone ON runs (updated_at) WHERE alone;

-- What the thread was before its active run: it is that again when nothing came of the run.
ALTER TABLE threads ADD COLUMN rest text NOT NULL DEFAULT 'idle' CHECK (rest IN ('idle', 'interrupted', 'error'));

-- The processes that execute runs.
CREATE TABLE runners (
    id uuid PRIMARY KEY,
    heartbeat timestamptz NOT NULL DEFAULT now()
);
