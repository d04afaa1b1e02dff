"""`python -m fastproxy.bench.performance_page FILE`: the page of the documentation that shows a record."""

from __future__ import annotations

import sys
from pathlib import Path

from fastproxy.bench.markdown import page
from fastproxy.bench.store import load

if __name__ == "__main__":
    print(page(load(Path(sys.argv[1]))), end="")
