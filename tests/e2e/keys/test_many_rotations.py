"""Keys that change again and again under load: as often as a proxy changes them in years."""

from __future__ import annotations

import os

import pytest

from fastproxy.config.rotation import Rotation
from fastproxy.wire.identity import PrivateKey
from tests.e2e.keys.scene import Load, Scene, wait_for_key


def another_key() -> str:
    """A private key as files have it."""
    return PrivateKey(os.urandom(32)).reveal()


def change_callers_key(scene: Scene, rotation: Rotation, number: int) -> str:
    """Change the key of `web` as the command does, without its questions; return the id of the new one.

    Args:
        number: of rotations before.
    """
    rotation.prepare(another_key)
    scene.distribute()
    scene.inner.log.wait_for_lines(4 * number + 2, message="callers have changed")
    rotation.use()
    key_id = scene.key_id("web.key")
    wait_for_key(scene.out, key_id)
    old_id = scene.key_id("web.key.old")
    while scene.out.metrics().total("fastproxy_key_uses_open", key_id=old_id):
        pass
    rotation.retire()
    scene.distribute()
    scene.inner.log.wait_for_lines(4 * number + 4, message="callers have changed")
    return key_id


def change_receivers_key(scene: Scene, rotation: Rotation) -> str:
    """Have the in proxy prove itself by another key as well, and use it first; return its id."""
    before = scene.key_id("in.key")
    rotation.prepare(another_key)
    following = scene.key_id("in.key.next")
    scene.inner.log.wait_for_lines(2, message="private keys have changed", key_ids=[before, following])
    rotation.use()
    wait_for_key(scene.inner, following)
    return following


@pytest.mark.parametrize(
    "rotations", [2, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_no_call_fails_while_a_callers_key_changes_again_and_again(scene: Scene, rotations: int) -> None:
    load = Load(lambda: scene.out)
    rotation = Rotation(scene.folder / "web.key")
    with load.running():
        for number in range(rotations):
            load.go_on(50)
            key_id = change_callers_key(scene, rotation, number)
        load.go_on(50)
    metrics = scene.inner.metrics()
    assert metrics.total("fastproxy_key_uses_total", kind="caller", key_id=key_id) >= 1
    assert metrics.total("fastproxy_links_ended_total", cause="revoked") == 0


def test_a_key_in_use_that_is_put_back_is_taken_as_well(scene: Scene) -> None:
    """As after a `use` that somebody thinks better of: the peers still accept the former key."""
    load = Load(lambda: scene.out)
    rotation = Rotation(scene.folder / "in.key")
    first = scene.key_id("in.key")
    with load.running():
        load.go_on()
        change_receivers_key(scene, rotation)
        (scene.folder / "in.key.old").rename(scene.folder / "in.key")
        scene.inner.log.wait_for_lines(2, message="private keys have changed", key_ids=[first])
        load.go_on()
