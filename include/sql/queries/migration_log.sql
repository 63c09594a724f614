-- Which migrations ran.
CREATE TABLE IF NOT EXISTS schema_migrations (
    tier       text        NOT NULL,
    name       text        NOT NULL,
    sha256     text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tier, name)
)
