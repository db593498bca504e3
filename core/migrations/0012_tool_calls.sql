-- The tool call ledger: a row for every tool call that has an effect or needs a person's decision. Its id is the
-- approval's. A call is known by the message that holds it as well as by its own id, because not every model server
-- gives a new id to every call.
CREATE TABLE tool_calls (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    tenant_id uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    thread_id uuid NOT NULL REFERENCES threads ON DELETE CASCADE,
    run_id uuid,
    message_id text NOT NULL,
    tool_call_id text NOT NULL,
    name text NOT NULL,
    args jsonb NOT NULL,
    description text,
    effect boolean NOT NULL,
    allowed text[] NOT NULL,
    decided_by text[] NOT NULL,
    expires_at timestamptz,
    status text NOT NULL CHECK (status IN
        ('pending', 'approved', 'running', 'done', 'failed', 'unknown', 'rejected', 'responded', 'cancelled')),
    decision text CHECK (decision IN ('approve', 'edit', 'reject', 'respond')),
    decided_args jsonb,
    message text,
    decider_id uuid REFERENCES principals ON DELETE SET NULL,
    decider_name text,
    decided_at timestamptz,
    result_type text,
    result bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (thread_id, message_id, tool_call_id)
);
CREATE INDEX tool_calls_listing ON tool_calls (tenant_id, created_at DESC, id DESC) WHERE allowed <> '{}';
CREATE INDEX tool_calls_pending ON tool_calls (tenant_id, created_at DESC, id DESC) WHERE status = 'pending';
CREATE INDEX tool_calls_to_expire ON tool_calls (expires_at) WHERE status = 'pending' AND expires_at IS NOT NULL;
-- Decisions that have not reached their graph yet.
CREATE INDEX tool_calls_decided ON tool_calls (thread_id)
    WHERE decision IS NOT NULL AND result IS NULL AND status IN ('approved', 'rejected', 'responded');

-- An idle thread waits for nothing: a call that was left behind, by an answer that was given up, a stop, a rollback or a
-- change of the state by hand, is never carried out.
CREATE FUNCTION cancel_calls_left_behind() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE tool_calls SET status = 'cancelled', updated_at = clock_timestamp()
    WHERE thread_id = NEW.id AND status IN ('pending', 'approved');
    RETURN NULL;
END $$;
CREATE TRIGGER thread_is_idle AFTER UPDATE OF status ON threads
    FOR EACH ROW WHEN (NEW.status = 'idle' AND OLD.status <> 'idle') EXECUTE FUNCTION cancel_calls_left_behind();
