"""What holds for the whole suite: how Hypothesis looks for examples.

By default the same examples are tried each time, and none has a time limit, so that neither chance nor a busy
machine decides whether the suite passes. HYPOTHESIS_PROFILE=search tries others each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.register_profile(
    "search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
