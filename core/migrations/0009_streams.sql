-- What has been streamed: the order of a thread's runs, what is no longer kept, and the news that wake readers.
ALTER TABLE runs ADD COLUMN turn int;
ALTER TABLE runs ADD COLUMN events_until int;
COMMENT ON COLUMN runs.turn IS 'the how manieth run of its thread began; NULL before it begins';
COMMENT ON COLUMN runs.events_until IS 'the last event that was removed when they were kept long enough';

-- No foreign key: its lock on the thread would cross the one of whoever deletes the thread.
CREATE TABLE run_turns (
    thread_id uuid PRIMARY KEY,
    last int NOT NULL
);

WITH begun AS (
    SELECT id, row_number() OVER (PARTITION BY thread_id ORDER BY created_at, id) AS turn
    FROM runs WHERE status <> 'pending'
)
UPDATE runs SET turn = begun.turn FROM begun WHERE begun.id = runs.id;
INSERT INTO run_turns SELECT thread_id, max(turn) FROM runs WHERE turn IS NOT NULL GROUP BY thread_id;

CREATE UNIQUE INDEX runs_in_turn ON runs (thread_id, turn);
CREATE INDEX runs_with_old_events ON runs (updated_at)
    WHERE events_until IS NULL AND status NOT IN ('pending', 'running');

CREATE FUNCTION give_turn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.turn IS NULL AND NEW.status = 'running' THEN
        INSERT INTO run_turns AS t (thread_id, last) VALUES (NEW.thread_id, 1)
        ON CONFLICT (thread_id) DO UPDATE SET last = t.last + 1 RETURNING last INTO NEW.turn;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER runs_give_turn BEFORE INSERT OR UPDATE OF status ON runs FOR EACH ROW EXECUTE FUNCTION give_turn();

CREATE FUNCTION forget_turns() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM run_turns WHERE thread_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER threads_forget_turns AFTER DELETE ON threads FOR EACH ROW EXECUTE FUNCTION forget_turns();

-- Whoever waits for a run or a thread, in any process, learns of every change of a run's status by this.
CREATE FUNCTION tell_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    run runs;
BEGIN
    run := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
    PERFORM pg_notify('ragstone_runs', concat_ws(' ', run.thread_id, run.id,
        CASE WHEN TG_OP = 'DELETE' THEN 'deleted' ELSE run.status END));
    RETURN NULL;
END $$;
CREATE TRIGGER runs_tell AFTER INSERT OR DELETE ON runs FOR EACH ROW EXECUTE FUNCTION tell_run();
CREATE TRIGGER runs_tell_status AFTER UPDATE OF status ON runs FOR EACH ROW
    WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION tell_run();
