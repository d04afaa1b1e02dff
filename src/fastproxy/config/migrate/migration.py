"""From config files of the Go original to a set of configs of its own: YAML texts in, YAML texts out.

Read each old file → plan the set → write the new texts. As with `load`, everything that is wrong is said at
once. Touches no file; private keys come from an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fastproxy.config.document import parse_document
from fastproxy.config.migrate.old import PathCheck, read_old
from fastproxy.config.migrate.plan import Planner, Target
from fastproxy.config.migrate.source import Change, Source
from fastproxy.config.migrate.yaml import config_text
from fastproxy.config.problem import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Migration:
    """What is to be written. File names are relative to one folder.

    configs: text by file name. secrets: text by file name, for their owner's eyes only. origins: the old
    file of each config. changes: what became of every old setting. notes: what its owner must know.
    """

    configs: Mapping[str, str]
    secrets: Mapping[str, str]
    origins: Mapping[str, str]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def migrate(
    texts: Sequence[tuple[str, str]],
    target: Target,
    *,
    check_path: PathCheck,
    private_key: Callable[[str], bytes],
) -> Migration:
    """Plan and write out a set of configs.

    Args:
        texts: name, for messages, and YAML text of each old file; each name once.
        target: what to migrate to.
        check_path: judges the paths of routes, by raising ValueError; give it `policy.pattern.parse_pattern`.
        private_key: returns the 32 bytes for a key file, by its name; fresh random ones are right.

    Raises:
        ConfigError: the set can't be migrated; holds all problems.
    """
    problems: list[Problem] = []
    sources, files = [], []
    for name, text in texts:
        try:
            document = parse_document(text, name)
        except ConfigError as exc:
            problems += exc.problems
            continue
        source = Source(document)
        files.append(read_old(source, compat=target.transport == "compat", check_path=check_path))
        sources.append(source)
        problems += document.problems
    planner = Planner(files, target, private_key)
    # With a file missing from the set, the plan would complain of what only that file could say.
    plan = planner.plan() if len(files) == len(texts) else None
    problems += planner.problems
    if problems or plan is None:
        raise ConfigError(problems)
    changes = {
        source.file: tuple(sorted(source.changes, key=lambda change: change.line)) for source in sources
    }
    return Migration(
        configs={
            proxy.file: config_text(proxy, changes[proxy.old.file], target.center) for proxy in plan.proxies
        },
        secrets=plan.secrets,
        origins={proxy.file: proxy.old.file for proxy in plan.proxies},
        changes=tuple(change for name, _ in texts for change in changes[name]),
        notes=plan.notes,
    )
