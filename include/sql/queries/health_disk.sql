-- How large this database is; where the server keeps its files, if this role may know; and whether that is on this machine.
SELECT pg_database_size(current_database()) AS bytes,
       CASE WHEN pg_has_role('pg_read_all_settings', 'MEMBER') THEN current_setting('data_directory') END AS folder,
       coalesce(inet_server_addr() <<= '127.0.0.0/8' OR inet_server_addr() = '::1', true) AS is_local
