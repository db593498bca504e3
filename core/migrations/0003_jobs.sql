-- The turn of each tenant's last job: jobs are worked on in the order of their turns (docs/decisions/0011-fair-turns.md).
CREATE TABLE turns (
    tenant_id uuid PRIMARY KEY REFERENCES tenants ON DELETE CASCADE,
    last bigint NOT NULL
);

-- Which migrations of the job engine this database has seen.
CREATE TABLE job_migrations (
    name text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- Ingestion into a paused collection waits.
ALTER TABLE collections ADD COLUMN paused_at timestamptz;

CREATE INDEX documents_job ON documents (job_id) WHERE status <> 'indexed';
-- What is looked through every few seconds for documents without a job.
CREATE INDEX documents_unfinished ON documents (updated_at) WHERE status NOT IN ('indexed', 'failed');
