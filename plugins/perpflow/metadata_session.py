"""What Airflow's scheduler asks of PostgreSQL for its connections to the metadata.

A scheduler that is killed in the middle of a transaction leaves it open: the workers of its LocalExecutor hold the
connection that they were forked with. Its locks would keep every later scheduler from starting tasks, until the last of
these processes has ended. So the server ends a transaction in which nothing happens for as long as Airflow takes to
call a scheduler dead ([scheduler] scheduler_health_check_threshold, 30 seconds by default).

Named by [database] sql_alchemy_connect_args. The other commands are left alone: `airflow db migrate` holds its lock in
a transaction that is idle all the while. `options` in the metadata's URL, and PGOPTIONS, do not count beside these.
"""

import sys

#: Keyword arguments of psycopg2's connect(), for any Airflow command; empty for all but the scheduler.
CONNECT_ARGS = {"options": "-c idle_in_transaction_session_timeout=30s"} if sys.argv[1:2] == ["scheduler"] else {}
