"""What people read, against what there is. Each check is a function, and has a sample on which it must speak up."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from tests.support import ROOT

from coinswarm.cli import app
from coinswarm.datasets import STORED
from coinswarm.orchestration.marts import MARTS
from coinswarm.sandbox.__main__ import main as sandbox_main
from coinswarm.sources import SOURCES
from coinswarm.sources.spec import SourceSpec

pytestmark = pytest.mark.unit

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
ENV_EXAMPLE = (ROOT / ".env.example").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
DECISIONS = ROOT / "include" / "decisions"
VARIABLE = r"COINSWARM_[A-Z0-9_]*[A-Z0-9]\b(?!_)"
# Families of variables that no `.env` sets: the README of the part that reads them names them.
FAMILIES = {
    "COINSWARM_DBT_": "dbt_project/README.md",
    "COINSWARM_SANDBOX_": "include/coinswarm/sandbox/README.md",
    "COINSWARM_BENCH_": "benchmarks/README.md",
}


def files(*patterns: str) -> list[Path]:
    """Files of the repository by pattern, without hidden, installed and built folders."""
    left_out = {"node_modules", "target", "dbt_packages", "build"}
    found = (path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file())
    return sorted(
        path
        for path in found
        if not any(
            part.startswith((".", "__py")) or part.endswith(".egg-info") or part in left_out
            for part in path.relative_to(ROOT).parts[:-1]
        )
    )


PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files("**/*.md")}
PEOPLE_READ = "\n".join(PAGES[name] for name in ("README.md", "CONTRIBUTING.md", "AGENTS.md", "tests/README.md"))


# ---- make


def undocumented_targets(makefile: str, pages: str) -> list[str]:
    """Targets for people without a line in `make help`, or that no page mentions; and mentioned ones that are not."""
    phony = set(re.findall(r"^\.PHONY: (\S+)$", makefile, re.M))
    helped = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.M))
    mentioned = set(re.findall(r"(?:`|^|^ +|/ )make\s([a-z-]+)", pages, re.M))
    return [
        *(f"{name} has no help line" for name in sorted(phony - helped)),
        *(f"{name} is not .PHONY" for name in sorted(helped - phony)),
        *(f"{name} is mentioned nowhere" for name in sorted(phony - mentioned)),
        *(f"{name} does not exist" for name in sorted(mentioned - phony)),
    ]


def test_make_targets_when_listed_then_each_has_help_and_a_mention() -> None:
    assert undocumented_targets(MAKEFILE, PEOPLE_READ) == []


def test_make_targets_when_one_is_bare_then_it_is_named() -> None:
    makefile = MAKEFILE + "\n.PHONY: surprise\nsurprise:\n\t@true\n"
    found = undocumented_targets(makefile, PEOPLE_READ + "\nTry `make miracles`.")
    assert found == ["surprise has no help line", "surprise is mentioned nowhere", "miracles does not exist"]


# ---- sources, datasets, marts, DAG files


def source_rows(readme: str) -> dict[str, str]:
    """Rows of the README's table of sources, by slug."""
    section = readme.partition("## Sources")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", section, re.M))


def wrong_sources(rows: Mapping[str, str], specs: Mapping[str, SourceSpec]) -> list[str]:
    """Sources that the table lacks or invents, or whose datasets and need for a key it tells wrongly."""
    found = [f"{slug} is not in exactly one of table and SOURCES" for slug in sorted(rows.keys() ^ specs.keys())]
    for slug in rows.keys() & specs.keys():
        spec = specs[slug]
        told = set(re.findall(r"`(\w+)`", rows[slug]))
        if told != {feed.dataset for feed in spec.feeds}:
            found.append(f"{slug}: the datasets are {sorted({feed.dataset for feed in spec.feeds})}")
        key = "needed" if spec.key_required else "optional" if spec.api_key else "none"
        if rows[slug].split("|")[-1].split(",")[0].strip() != key:
            found.append(f"{slug}: key is {key}")
    return found


def test_sources_when_listed_in_the_readme_then_datasets_and_keys_are_true() -> None:
    assert wrong_sources(source_rows(README), SOURCES) == []


def test_sources_when_the_readme_is_wrong_then_each_lie_is_named() -> None:
    rows = {**source_rows(README), "binance": " x | `ohlcv` | none ", "fred": source_rows(README)["gdelt"]}
    del rows["okx"]
    found = " ".join(wrong_sources(rows, SOURCES))
    assert re.search("okx is not in.*binance: the datasets", found)
    assert "fred: key is optional" in found


def unnamed(names: Iterable[str], text: str) -> list[str]:
    """Names that do not stand in the text as code."""
    return [name for name in names if f"`{name}`" not in text]


def test_changelog_when_read_then_names_every_dataset_and_mart() -> None:
    assert unnamed([*(dataset.name for dataset in STORED), *MARTS, "feature_catalog"], CHANGELOG) == []
    assert unnamed(["no_such_mart"], CHANGELOG) == ["no_such_mart"]


def test_marts_when_listed_then_readme_and_dbt_describe_each() -> None:
    models = yaml.safe_load((ROOT / "dbt_project/models/marts/planner/_models.yml").read_text("utf-8"))["models"]
    described = {model["name"] for model in models if len(model.get("description", "")) > 20}
    assert {*MARTS, "feature_catalog"} == described
    assert unnamed(MARTS, README) == []


@pytest.mark.parametrize("pattern", ["dags/*.py", "plugins/*.py", "benchmarks/bench_*.py"])
def test_files_when_listed_then_the_readme_of_their_folder_names_each(pattern: str) -> None:
    names = [path.name for path in files(pattern)]
    assert names
    assert unnamed(names, PAGES[f"{Path(pattern).parent}/README.md"]) == []


# ---- environment


def undocumented_variables(read: Iterable[str], example: str, pages: Mapping[str, str]) -> list[str]:
    """Variables that neither `.env.example` nor, for a family, the README of its part names."""
    documented = set(re.findall(rf"^#?({VARIABLE})=", example, re.M))
    found = []
    for name in sorted(set(read)):
        page = next((page for prefix, page in FAMILIES.items() if name.startswith(prefix)), None)
        if name not in documented and not (page and f"`{name}`" in pages.get(page, "")):
            found.append(name)
    return found


def variables(*patterns: str) -> set[str]:
    return {name for path in files(*patterns) for name in re.findall(VARIABLE, path.read_text("utf-8"))}


def test_variables_when_code_reads_them_then_they_are_documented() -> None:
    code = variables(
        "include/**/*.py", "include/**/*.sh", "dags/*.py", "plugins/*.py", "benchmarks/*.py", "dbt_project/*.yml"
    )
    assert undocumented_variables({*code, *variables("Makefile", "docker-compose.yaml")}, ENV_EXAMPLE, PAGES) == []
    assert undocumented_variables(["COINSWARM_NEW", "COINSWARM_DBT_NEW"], ENV_EXAMPLE, PAGES) == [
        "COINSWARM_DBT_NEW",
        "COINSWARM_NEW",
    ]


def test_variables_when_documented_then_something_reads_them() -> None:
    read = variables("include/**/*.py", "docker-compose.yaml")
    keys = {f"COINSWARM_API_KEY_{spec.slug.upper()}" for spec in SOURCES.values() if spec.api_key}
    documented = set(re.findall(rf"^#?({VARIABLE})=", ENV_EXAMPLE, re.M))
    assert documented - read - keys == set()
    assert keys <= documented


# ---- command line


def options_of(command: Any, name: str = "") -> dict[str, set[str]]:
    """Options of each command by its name, which for one of a group is `group command`."""
    if not hasattr(command, "commands"):
        return {name: {option for one in command.params for option in (*one.opts, *one.secondary_opts)}}
    found = [options_of(sub, f"{name} {sub_name}".strip()) for sub_name, sub in command.commands.items()]
    return {key: value for one in found for key, value in one.items()}


CLI: Mapping[str, set[str]] = options_of(typer.main.get_command(app))


def sandbox_options() -> set[str]:
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        sandbox_main(["--help"])
    return set(re.findall(r"--[a-z-]+", out.getvalue()))


def spoken(text: str) -> list[tuple[str, set[str]]]:
    """Commands with their options, as the pages write them: `coinswarm verify --lake`, also in tables and blocks."""
    lines = re.findall(r"`coinswarm ([^`]+)`", text) + re.findall(r"^ *(?:\S*/)?coinswarm (.+)$", text, re.M)
    return [(command_in(line), set(re.findall(r"(?<!\S)\[?(--[a-z-]+)", line))) for line in lines]


def command_in(line: str) -> str:
    first, *others = line.split()
    return f"{first} {others[0]}" if others and f"{first} {others[0]}" in CLI else first


def wrong_commands(text: str) -> list[str]:
    found = []
    for name, options in spoken(text):
        known = CLI.get(name)
        if known is None:
            found.append(f"no command {name}")
            continue
        if name == "sandbox":
            known = known | sandbox_options()
        found += [f"{name} has no {option}" for option in sorted(options - known)]
    return found


def table_of_commands(readme: str) -> str:
    section = readme.partition("## Command line")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.M)
    return "\n".join(f"coinswarm {command}" for cell in cells for command in re.findall(r"`([a-z][^`]*)`", cell))


def test_commands_when_a_page_names_them_then_they_and_their_options_exist() -> None:
    everything = "\n".join(PAGES.values())
    assert spoken(everything)
    assert wrong_commands(everything) == []
    assert wrong_commands("`coinswarm verify --lake`, `coinswarm verify --deep`, `coinswarm vanish`") == [
        "verify has no --deep",
        "no command vanish",
    ]


def test_commands_when_they_exist_then_the_readme_lists_them() -> None:
    listed = table_of_commands(README)
    assert wrong_commands(listed) == []
    assert {name for name, _ in spoken(listed)} == set(CLI)


def test_commands_when_asked_for_help_then_every_option_says_what_it_is() -> None:
    command = typer.main.get_command(app)
    bare = [
        f"{name} {parameter.name}"
        for name, sub in command.commands.items()
        for parameter in sub.params
        if not getattr(parameter, "help", None) and parameter.name != "help"
    ]
    assert bare == []
    assert all(inspect.getdoc(sub.callback) for sub in command.commands.values())


# ---- pages


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(pages: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Links of pages to files or headings that are not there."""
    found = []
    for name, text in pages.items():
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", link):
                continue
            target, _, anchor = link.partition("#")
            path = (root / name).parent / target if target else root / name
            headings = anchors(pages.get(path.resolve().relative_to(root).as_posix(), "")) if anchor else {anchor}
            if not path.exists() or anchor not in headings:
                found.append(f"{name}: {link}")
    return found


def test_links_when_followed_then_they_lead_somewhere() -> None:
    assert broken_links(PAGES) == []
    bad = {"README.md": "# Start here\n[a](#start-here) [b](#elsewhere) [c](nowhere.md) [d](Makefile) [e](https://x.y)"}
    assert broken_links(bad) == ["README.md: #elsewhere", "README.md: nowhere.md"]


def folders_without_readme(folders: Iterable[Path], root: Path = ROOT) -> list[str]:
    """Folders without a README, unless that of the folder above names them."""
    found = []
    for folder in folders:
        above = folder.parent / "README.md"
        named = above.is_file() and re.search(rf"\b{re.escape(folder.name)}\b", above.read_text("utf-8"))
        if not (folder / "README.md").is_file() and not named:
            found.append(folder.relative_to(root).as_posix())
    return found


def test_folders_when_listed_then_each_says_what_belongs_in_it(tmp_path: Path) -> None:
    folders = {path.parent for path in files("include/**/*.*", "plugins/*", "dags/*", "benchmarks/*", "tests/*/*")}
    folders |= {ROOT / "dbt_project", ROOT / "tests", DECISIONS}
    assert folders_without_readme(sorted(folders - {ROOT / "include", ROOT / "include/coinswarm"})) == []
    (tmp_path / "README.md").write_text("Only `known` is named.")
    strangers = [tmp_path / "known", tmp_path / "unknown"]
    assert folders_without_readme(strangers, tmp_path) == ["unknown"]


def poor_decisions(pages: Mapping[str, str]) -> list[str]:
    """Decision files whose name, number, date or parts are not as the folder's README says."""
    found = []
    for number, (name, text) in enumerate(sorted(pages.items()), start=1):
        if not re.fullmatch(rf"{number:04}-[a-z0-9]+(-[a-z0-9]+)*\.md", name):
            found.append(f"{name}: expected {number:04}-title.md")
        if not re.match(rf"# {number}\. \S.*\n\n20\d\d-\d\d-\d\d\n", text):
            found.append(f"{name}: begins with `# {number}. Title`, an empty line and the date")
        for part in (r"\*\*Decisions?\.\*\*", r"\*\*Why\.\*\*", r"\*\*Alternatives\.\*\*"):
            if not re.search(part, text):
                found.append(f"{name}: lacks {part}".replace("\\", ""))
    return found


def test_decisions_when_listed_then_are_numbered_dated_and_weighed() -> None:
    pages = {path.name: path.read_text("utf-8") for path in DECISIONS.glob("*.md") if path.name != "README.md"}
    assert pages
    assert poor_decisions(pages) == []
    bad = {"0001-good-one.md": "# 1. Good\n\n2026-11-23\n\n**Decision.** x **Why.** y", "0003-Gap.md": "# 3. Gap"}
    found = poor_decisions(bad)
    assert len(found) == 6
    assert "0001-good-one.md: lacks **Alternatives.**" in found


def test_decisions_when_code_refers_to_one_then_it_exists() -> None:
    numbers = {path.name[:4] for path in DECISIONS.glob("[0-9]*.md")}
    for path in files("include/**/*.py", "dbt_project/**/*.sql", "dbt_project/**/*.yml", "dags/*.py", "plugins/*.py"):
        assert set(re.findall(r"decision (\d{4})", path.read_text("utf-8"))) <= numbers, path
