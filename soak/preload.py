"""Imported once, by the process that workers are forked from: what staging and checking need."""

import warnings

from perpflow.exchange import rest
from perpflow.quality import validation
from soak import workers as workers

warnings.filterwarnings("ignore", category=DeprecationWarning)
rest.preload()
validation.preload()
