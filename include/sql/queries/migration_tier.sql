-- What this server can do. The extension is created where the server offers it and the role may.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') AS timescale,
       current_setting('timescaledb.license', true) AS licence
