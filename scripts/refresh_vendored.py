"""Fetch the dashboard's libraries as they were published, in the versions that `vendor/versions.json` names.

Change a version there, run this, look at what has changed, run the tests of the dashboard. Needs npm.
"""

from __future__ import annotations

import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

VENDOR = Path(__file__).parent.parent / "src" / "fastproxy" / "admin" / "dashboard" / "assets" / "vendor"


def refresh(name: str, version: str, files: dict[str, str], folder: Path) -> None:
    """Replace the files of one library.

    Args:
        files: name here to path in the package. folder: for the package.
    """
    package = f"{name}@{version}"
    done = subprocess.run(  # noqa: S603 - what this project names
        ["npm", "pack", "--silent", "--ignore-scripts", package],  # noqa: S607 - the one that is installed
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    with tarfile.open(folder / done.stdout.split()[-1]) as archive:
        for ours, theirs in files.items():
            member = archive.extractfile(f"package/{theirs}")
            if member is None:
                raise SystemExit(f"{package} has no file {theirs}")
            (VENDOR / name / ours).write_bytes(member.read())
    print(f"{package}: {', '.join(files)}")


def main() -> None:
    """Refresh all."""
    with tempfile.TemporaryDirectory() as folder:
        for name, facts in json.loads((VENDOR / "versions.json").read_text()).items():
            refresh(name, facts["version"], facts["files"], Path(folder))


if __name__ == "__main__":
    main()
