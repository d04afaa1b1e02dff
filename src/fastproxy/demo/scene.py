"""A scene of the demo: what was seen, and what went otherwise than it should.

Knows nothing of how it is printed.
"""

from __future__ import annotations


class Scene:
    """What happened in one scene.

    title: what it is about. told: pairs of a label and what there is to see. wrong: what was expected and
    not found; a scene went well when this is empty.
    """

    __slots__ = ("title", "told", "wrong")

    def __init__(self, title: str) -> None:
        self.title = title
        self.told: list[tuple[str, str]] = []
        self.wrong: list[str] = []

    def tell(self, label: str, text: str) -> None:
        """Note something to see; `text` may have several lines."""
        self.told.append((label, text))

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note it as wrong when `what` was found to be another than wanted."""
        if found != wanted:
            self.wrong.append(f"{what}: {found!r}, and should be {wanted!r}")
