"""What Perpflow's speed and memory are, as ratios to named baselines that are measured in the same run.

    make bench                                       (python -m benchmarks with PYTHONPATH=plugins)
    python -m benchmarks publish memory gate         (some of them)

Everything runs on a TimescaleDB and a simulated exchange of its own, on this machine, and is discarded afterwards.
Nothing here passes or fails by the clock: the table states what each figure should be, a person compares.
"""
