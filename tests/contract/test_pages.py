"""Pages lead where they say: every link, command, field, value and reason in them is real."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from batchfleet_operator import cli, crd, names
from batchfleet_operator.remediation import standing

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/**/README.md"))
    if not {".venv", "node_modules", ".pytest_cache"} & set(page.parts)
)
TEXT = {page: page.read_text() for page in PAGES}
USERS = [page for page in PAGES if page.parent == ROOT / "docs" or page == ROOT / "README.md"]
TROUBLE = ROOT / "docs" / "troubleshooting.md"

_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`([^`\n]+)`")


def anchors(page: Path) -> set[str]:
    """The fragments that a forge makes of the page's headings."""
    found = set()
    for line in _FENCED.sub("", TEXT[page]).splitlines():
        if line.startswith("#"):
            words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
            found.add(words.replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(_CODE.sub("code", _FENCED.sub("", TEXT[page]))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, fragment = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (fragment and fragment not in anchors(there)):
            broken.append(target)
    assert broken == []


def test_every_page_for_users_stands_in_the_index() -> None:
    index = TEXT[ROOT / "docs" / "README.md"]
    for page in USERS:
        if page.parent == ROOT / "docs" and page.name != "README.md":
            assert f"({page.name}" in index, page.name


# Commands ----------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[str]:
    """Each line of the page's console and indented blocks that somebody would type."""
    for block in _FENCED.findall(TEXT[page]):
        if block.startswith(("```console", "```sh", "```bash")):
            text = block.replace("\\\n", " ")
            yield from (line[2:] for line in text.splitlines() if line.startswith("$ "))
    yield from re.findall(r"^    (\S.*)$", _FENCED.sub("", TEXT[page]), re.MULTILINE)


def test_every_target_of_make_that_a_page_names_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for text in TEXT.values()
        for target in re.findall(r"(?:`|^\$ )(?:ENGINE=\w+ )?make ([a-z][a-z0-9-]*)", text, re.M)
    }
    assert {"demo", "test", "e2e", "bench"} <= named <= targets


def test_make_names_every_bench() -> None:
    (named,) = re.findall(r"\(BENCH=([\w|]+) ", (ROOT / "Makefile").read_text())
    there = {page.parent.name for page in ROOT.glob("bench/*/__main__.py")}
    assert set(named.split("|")) == there


def test_every_module_that_a_page_runs_is_there() -> None:
    for page, text in TEXT.items():
        for module in re.findall(r"python3? -m ((?:bench|e2e|tests)\.[a-z][\w.]*\w)", text):
            path = ROOT / module.replace(".", "/")
            found = path.with_suffix(".py").exists() or (path / "__main__.py").exists()
            assert found, (page.name, module)


def test_every_command_of_ours_in_a_page_is_one_that_the_program_takes() -> None:
    parser = cli._parser()
    checked = set()
    for page in PAGES:
        for line in commands(page):
            if line.startswith("batchfleet-operator "):
                words = shlex.split(line, comments=True)[1:]
                assert _parse(parser, words) is not None, (page.name, line)
                checked.add(words[0])
    assert checked >= {"plan", "simulate"}


def _parse(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace | None:
    try:
        return parser.parse_args(words)
    except SystemExit as ended:
        return None if ended.code else argparse.Namespace()


# Fields and values -------------------------------------------------------------------------------

_SCHEMA: dict[str, Any] = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
_VALUES: dict[str, Any] = yaml.safe_load((ROOT / "helm/batchfleet/values.yaml").read_text())


def _known(path: str) -> bool:
    """Whether a dotted path is a field of the API, from any depth of ``spec``, or a chart value."""
    steps = re.sub(r"\[[^\]]*\]", "", path).split(".")
    roots = [_SCHEMA, _SCHEMA["properties"]["spec"], _SCHEMA["properties"]["status"]]
    return any(_in_schema(root, steps) for root in roots) or _in_values(_VALUES, steps)


def _in_schema(node: dict[str, Any], steps: list[str]) -> bool:
    for step in steps:
        node = node.get("items", node)
        if node.get("x-kubernetes-preserve-unknown-fields"):
            return True
        if step not in node.get("properties", {}):
            return False
        node = node["properties"][step]
    return True


def _in_values(node: Any, steps: list[str]) -> bool:
    for step in steps:
        if node == {}:  # free: labels, podTemplate
            return True
        if not isinstance(node, dict) or step not in node:
            return False
        node = node[step]
    return True


_TOPS = (
    {"spec", "status"}
    | set(_SCHEMA["properties"]["spec"]["properties"])
    | {name for name, value in _VALUES.items() if isinstance(value, dict) and value}
)
_OTHERS = re.compile(r".*\.(py|md|yaml|json|svg|decide|judge|step|enabled)$")
"""Files and functions; ``x.enabled`` is checked as a value below."""


def test_a_field_that_is_not_there_is_not_known() -> None:
    assert _known("batching.maxBatchSize")
    assert _known("spec.alertActions[].action.minBatchSize")
    assert _known("monitoring.prometheus.url")
    assert _known("podTemplate.spec.tolerations")
    assert not _known("batching.maxBatchsize")
    assert not _known("monitoring.prometheus.address")


@pytest.mark.parametrize("page", USERS, ids=lambda page: page.name)
def test_every_field_and_value_that_a_page_names_is_there(page: Path) -> None:
    unknown = []
    for code in _CODE.findall(_FENCED.sub("", TEXT[page])):
        path = re.split(r"[:=\s]", code)[0]
        if "." not in path or path.split(".")[0].split("[")[0] not in _TOPS:
            continue
        if _OTHERS.fullmatch(path) and not path.endswith(".enabled"):
            continue
        if not _known(path):
            unknown.append(code)
    assert unknown == []


# Reasons -----------------------------------------------------------------------------------------

_CONDITIONS_AND_REASONS = {
    value
    for name, value in vars(names).items()
    if name.isupper() and isinstance(value, str) and re.fullmatch(r"[A-Z][A-Za-z]+", value)
} - {names.KIND}


def test_no_reason_is_missing_from_the_page_for_trouble() -> None:
    said = set(_CODE.findall(TEXT[TROUBLE]))
    assert {
        each for each in _CONDITIONS_AND_REASONS if each not in said and each != names.PROGRESSING
    } == set()


def test_every_reason_for_worry_has_a_first_thing_to_do() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", TEXT[TROUBLE], re.MULTILINE)
    told = {name: what for name, what in rows if "|" not in what}
    assert set(told) == names.PROBLEMS


def test_every_rule_that_needs_somebody_is_explained() -> None:
    page = set(_CODE.findall(TEXT[ROOT / "docs" / "alert-actions.md"]))
    states = {"Open": "CircuitOpen"}  # its reason
    for trouble in standing._TROUBLE:
        assert states.get(trouble, trouble) in page
