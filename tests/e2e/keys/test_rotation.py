"""Keys are changed in stages while calls go over links and envelopes, with two workers: no call fails."""

from __future__ import annotations

import json

import pytest

from tests.e2e.keys.scene import Done, Load, Scene, wait_for_key


def test_a_caller_changes_its_key_and_no_call_fails(scene: Scene) -> None:
    load = Load(lambda: scene.out)
    first = scene.key_id("web.key")
    with load.running():
        load.go_on()
        done = scene.keys("rotate", "out.yaml", "prepare")
        assert done.returncode == 0, done
        second = scene.key_id("web.key.next")
        assert second in done.stdout
        early = scene.keys("rotate", "out.yaml", "use")
        assert early.returncode == 1, "nobody was told of the next key"
        for way in ("link", "http"):
            assert f"not yet   in at 127.0.0.1:{scene.inner.listen[1]} over {way}" in early.stdout
        assert scene.key_id("web.key") == first
        load.go_on()

        scene.distribute()
        scene.inner.log.wait_for_lines(2, message="callers have changed")
        done = scene.keys("rotate", "out.yaml", "confirm")
        assert (done.returncode, done.stdout.count("accepted")) == (0, 2), done
        assert scene.keys("rotate", "out.yaml", "use").returncode == 0
        assert scene.key_id("web.key") == second
        wait_for_key(scene.out, second)
        load.go_on()

        hasty = scene.keys("rotate", "out.yaml", "retire")
        assert hasty.returncode == 1
        assert "not yet" in hasty.stdout
        until_done(scene, "rotate", "out.yaml", "retire", "--quiet-s", "0")
        scene.distribute()
        load.go_on()
    metrics = scene.inner.metrics()
    assert metrics.total("fastproxy_key_uses_total", kind="caller", key_id=second) >= 4
    assert metrics.total("fastproxy_links_ended_total", cause="revoked") == 0


def until_done(scene: Scene, *arguments: str) -> Done:
    """Run a command until it is done: it goes by what workers say, one of which may be late.

    The test's time limit bounds it.
    """
    while (done := scene.keys(*arguments)).returncode == 1:
        pass
    assert done.returncode == 0, done
    return done


def test_a_receiver_changes_its_key_and_no_call_fails(scene: Scene) -> None:
    proxies = [scene.out]
    load = Load(lambda: proxies[-1])
    first = scene.key_id("in.key")
    with load.running():
        load.go_on()
        assert scene.keys("rotate", "in.yaml", "prepare").returncode == 0
        second = scene.key_id("in.key.next")
        scene.inner.log.wait_for_lines(2, message="private keys have changed", key_ids=[first, second])
        early = scene.keys("rotate", "in.yaml", "use")
        assert early.returncode == 1
        assert "not yet   web: used the key in use last" in early.stdout
        assert scene.key_id("in.key") == first

        settings = scene.out_settings(*(scene.folder / "in.pub").read_text().split())
        settings["admin"] = {"address": f"unix:{scene.folder}/out2.admin"}
        settings["name"] = "out2"
        proxies.append(scene.start(settings))
        load.go_on()
        done = until_done(scene, "rotate", "in.yaml", "use")
        assert "accepted  web" in done.stdout
        wait_for_key(scene.inner, second)
        load.go_on()

        still = scene.keys("rotate", "in.yaml", "retire", "--quiet-s", "0")
        assert still.returncode == 1, "the former out proxy has links by it"
        assert " by web, " in still.stdout
        shown = json.loads(scene.keys("status", "in.yaml", "--json").stdout)
        (old,) = (key for key in shown["keys"] if key["state"] == "old")
        assert (old["key_id"], old["used_by"]) == (first, ["web"])
    assert scene.inner.metrics().total("fastproxy_key_uses_total", kind="own", key_id=second) >= 4


@pytest.mark.parametrize(
    "path", ["/linked/", pytest.param("/sealed/", marks=[pytest.mark.long, pytest.mark.timeout(400)])]
)
def test_a_receivers_old_key_goes_when_nobody_uses_it_any_more(scene: Scene, path: str) -> None:
    """A link when it has gone; a session of envelopes when all that it sealed has expired, 80 s later."""
    proxies = [scene.out]
    load = Load(lambda: proxies[-1], paths=(path,))
    first = scene.key_id("in.key")
    with load.running():
        load.go_on()
        assert scene.keys("rotate", "in.yaml", "prepare").returncode == 0
        settings = scene.out_settings(*(scene.folder / "in.pub").read_text().split())
        settings |= {"name": "out2", "admin": {"address": "127.0.0.1:0"}}
        second = scene.key_id("in.key.next")
        scene.inner.log.wait_for_lines(2, message="private keys have changed", key_ids=[first, second])
        proxies.append(scene.start(settings))
        load.go_on()
        until_done(scene, "rotate", "in.yaml", "use")
        assert scene.keys("rotate", "in.yaml", "retire", "--quiet-s", "0").returncode == 1
        load.leave(scene.out)
        scene.out.stop()
        until_done(scene, "rotate", "in.yaml", "retire", "--quiet-s", "0")
        scene.inner.log.wait_for_lines(2, message="private keys have changed", key_ids=[second])
        load.go_on()
    assert not (scene.folder / "in.key.old").exists()
    assert scene.inner.metrics().total("fastproxy_links_ended_total", cause="revoked") == 0


def test_an_old_key_of_a_receiver_that_is_removed_all_the_same_costs_no_call_over_links(scene: Scene) -> None:
    """Its links are replaced by those of a key that the out proxy knows as well."""
    first = scene.key_id("in.key")
    assert scene.keys("rotate", "in.yaml", "prepare").returncode == 0
    second = scene.key_id("in.key.next")
    scene.inner.log.wait_for_lines(2, message="private keys have changed", key_ids=[first, second])
    known = (scene.folder / "in.pub").read_text().split()[::-1]  # the old one is preferred
    settings = scene.out_settings(*known) | {"name": "out2", "admin": {"address": "127.0.0.1:0"}}
    del settings["services"]["sealed"]
    out = scene.start(settings)
    load = Load(lambda: out, paths=("/linked/",))
    with load.running():
        load.go_on()
        (scene.folder / "in.key.next").rename(scene.folder / "in.key")
        scene.inner.log.wait_for(message="links by a key or certificate that is gone are replaced")
        load.go_on(400)
    assert scene.inner.metrics().total("fastproxy_key_uses_total", kind="own", key_id=second) >= 1
