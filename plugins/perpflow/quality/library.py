"""Great Expectations as it is used here: imported late, since that costs seconds, and without its talk.

It reports its use to its makers, tells every user of its temporary folders, and says of each query that does not name
the batch that it does not, by logger and in print: ours read derived tables, which are of the batch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

#: The library's loggers; the second one has a level of its own.
TALKATIVE = ("great_expectations", "great_expectations.data_context.types.base")


@contextmanager
def great_expectations() -> Iterator[Any]:
    """The library, quiet; warnings and errors are logged as ever. While it is in use, nothing is printed."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx

    # Afterwards: that one's level it sets when it is imported.
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    with redirect_stdout(None):
        yield gx
