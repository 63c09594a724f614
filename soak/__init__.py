"""A bounded campaign of faults and kills; afterwards whole tables equal the simulated exchange's truth.

    make soak                                        (python -m soak with PYTHONPATH=plugins)
    make soak ARGS="--seed 3"                        the same choices again; what falls when cannot be repeated
    python -m soak --short                           what CI runs, in less than ten minutes

`workers` kills processes that stage, check and publish, and the servers under them; `airflow` does the same to a real
Airflow, `stream` to live streams; `politeness` holds requests against the exchange's limits. Everything runs on servers
and a simulated exchange of its own, and is discarded afterwards; after a failure logs and data stay, and the command
that repeats it is printed.
"""
