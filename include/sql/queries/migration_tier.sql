-- What this server can do, and whether it could do more. TimescaleDB's loader defines its settings only where it was
-- loaded at the start of the server; elsewhere creating the extension ends the session.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') AS timescale,
       current_setting('timescaledb.license', true) AS licence,
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') AS offered,
       current_setting('timescaledb.disable_load', true) IS NOT NULL AS preloaded
