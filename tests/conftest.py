"""What holds for the whole suite: how Hypothesis looks for examples, and where proxies have their doors.

By default the same examples are tried each time, and none has a time limit, so that neither chance nor a busy
machine decides whether the suite passes. HYPOTHESIS_PROFILE=search tries others each time.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

from hypothesis import HealthCheck, settings

settings.register_profile(
    "same",
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
    database=None,
)
settings.register_profile(
    "search", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A folder for the sockets by which the proxies of this run take commands: its path is short, as has to be.
os.environ.pop("RUNTIME_DIRECTORY", None)
os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="fp-")
atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
