"""How many inputs are tried: some thousands with all other tests, as many as are asked for by ``nox -s fuzz``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

INPUTS = int(os.environ.get("CASTLEDGER_FUZZ_INPUTS", "2500"))

settings.register_profile(
    "castledger-fuzz",
    max_examples=INPUTS,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
FUZZ = settings.get_profile("castledger-fuzz")
"""Of each test here; there are four."""
