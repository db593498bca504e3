"""The rules of the house. Each is a function that lists what breaks it, tried on the repository and on a breach."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.__main__ import parser
from app.main import create_app
from app.reference import stale
from core.settings import Settings, variables

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("app", "core", "evals", "graphs", "ingest", "models", "tools", "ui")
LONGEST_FILE = 400  # lines
LARGEST_CORE = 8  # modules and packages
KEPT_HIDDEN = (".ci", ".streamlit", ".env.example", ".gitignore")
TEXT = (".css", ".example", ".gitignore", ".html", ".lock", ".md", ".py", ".sql", ".svg", ".toml", ".yml", ".yaml", "")

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"\b[A-Z][A-Z0-9]*__[A-Z0-9_]+\b")
MAKE = re.compile(r"(?:`|^|&& )make ([a-z][a-z-]*)", re.MULTILINE)
MODULE = re.compile(r"python3? -m ([\w.]+)")
OUR_COMMAND = re.compile(r"python3? -m app((?: [\w.@-]+)*)")
ROUTE = re.compile(r"^\| `([A-Z]+) (/\S*)` \|", re.MULTILINE)
READ_PROMPT = re.compile(r"read_prompt\(\"(\w+)\"\)")
MACHINE = re.compile(r"(?<![\w.])/(?:work|home|Users)/\w|/tmp/w/")


def tree(root: Path) -> Iterator[Path]:
    """The files of the repository, without what is hidden or generated."""
    for top in root.iterdir():
        if top.name.startswith(".") and top.name not in KEPT_HIDDEN:
            continue
        paths = sorted(top.rglob("*")) if top.is_dir() else [top]
        yield from (path for path in paths if path.is_file() and not {"__pycache__", "test-results"} & {*path.parts})


def pages(root: Path) -> dict[Path, str]:
    return {path: path.read_text("utf-8") for path in tree(root) if path.suffix == ".md" and is_page(path, root)}


def is_page(path: Path, root: Path) -> bool:
    """Whether people read it: what lies below ``docs`` and beside the README; a prompt is no page."""
    return path.parent == root or path.relative_to(root).parts[0] == "docs"


def named(pattern: re.Pattern[str], root: Path) -> dict[str, str]:
    """What the pattern finds on the pages, and a page that has it."""
    return {found: path.name for path, text in pages(root).items() for found in pattern.findall(text)}


def long_files(root: Path) -> list[str]:
    files = (path for path in tree(root) if path.suffix == ".py")
    return [path.name for path in files if len(path.read_text("utf-8").splitlines()) > LONGEST_FILE]


def members(folder: Path) -> list[str]:
    """The modules and packages of a package."""
    return sorted(
        path.stem
        for path in folder.iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").is_file()
    )


def clashes(ours: Iterable[str]) -> dict[str, list[str]]:
    """Those of our names that an installed distribution has too."""
    installed = metadata.packages_distributions()
    return {name: installed[name] for name in ours if name in installed}


def shadows(names: Iterable[str]) -> list[str]:
    """Modules of ``ui``, which Streamlit puts first on the path, that hide something that is imported by that name."""
    taken = {*PACKAGES, *sys.stdlib_module_names} - {"ui"}
    return sorted({*names} & taken) + sorted(clashes(names))


def strange_imports(folder: Path, allowed: Iterable[str]) -> list[str]:
    """Imports of our packages by the modules in ``folder`` that are not allowed."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            ours = [name for name in names if name.split(".")[0] in {*PACKAGES} - {folder.name}]
            found += [f"{path.name}: {name}" for name in ours if name not in allowed]
    return found


def broken_links(root: Path) -> list[str]:
    broken = []
    for path, text in pages(root).items():
        for link in LINK.findall(text):
            target, _, anchor = link.partition("#")
            if "://" in link or link.startswith("mailto:"):
                continue
            file = (path.parent / target) if target else path
            if not file.exists() or (anchor and anchor not in anchors(file)):
                broken.append(f"{path.name}: {link}")
    return broken


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def unknown_targets(root: Path) -> list[str]:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (root / "Makefile").read_text("utf-8"), re.MULTILINE))
    return [f"{page}: make {name}" for name, page in named(MAKE, root).items() if name not in targets]


def unknown_modules(root: Path) -> list[str]:
    """What the pages start with ``python -m`` and cannot be started."""
    missing = []
    for name, page in named(MODULE, root).items():
        spec = find_spec(name)
        if spec is None or (spec.submodule_search_locations and find_spec(f"{name}.__main__") is None):
            missing.append(f"{page}: {name}")
    return missing


def unknown_commands(root: Path) -> list[str]:
    """Commands of ``python -m app`` on the pages that its parser does not know."""
    unknown = []
    for words, page in named(OUR_COMMAND, root).items():
        try:
            parser().parse_args(shlex.split(words))
        except SystemExit:
            unknown.append(f"{page}: python -m app{words}")
    return unknown


def unknown_variables(root: Path) -> list[str]:
    """Names like a setting's, on the pages or in what the program says, that are no setting."""
    known = variables()
    files = [path for path in tree(root) if path.suffix in (".py", ".md", ".example") and "tests" not in path.parts]
    return [
        f"{path.name}: {name}"
        for path in files
        for name in VARIABLE.findall(path.read_text("utf-8"))
        if name not in known
    ]


def unread_prompts(root: Path) -> set[str]:
    """Prompts that nothing reads, and prompts that are read and not there."""
    files = {path.stem for path in (root / "graphs" / "prompts").glob("*.md")}
    sources = (path.read_text("utf-8") for path in sorted((root / "graphs").rglob("*.py")))
    return files ^ {name for source in sources for name in READ_PROMPT.findall(source)}


def machine_paths(root: Path) -> list[str]:
    """Files that name a place of the machine that they were written on."""
    files = [path for path in tree(root) if path.suffix in TEXT and path != Path(__file__)]
    return [path.name for path in files if MACHINE.search(path.read_text("utf-8"))]


def breaches_of_contracts(root: Path) -> str:
    """What import-linter says of the packages below ``root``; empty when every contract is kept."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return "" if process.returncode == 0 else process.stdout + process.stderr


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our packages and of the contracts."""
    copy = tmp_path_factory.mktemp("house")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def test_imports_keep_the_contracts(copied: Path) -> None:
    assert breaches_of_contracts(copied) == ""


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("core/errors.py", "import app.schemas", "Imports point down BROKEN"),
        ("tools/fusion.py", "import ingest.plan", "Imports point down BROKEN"),
        ("ui/markup.py", "import core.domain", "The UI knows nothing but the API's schemas BROKEN"),
        ("app/keys.py", "import models.serving.hub", "The model server is started, never imported BROKEN"),
        (
            "models/chat.py",
            "import models.training.card",
            "Training is a process of its own, imported by nobody BROKEN",
        ),
    ],
)
def test_an_import_against_a_contract_is_found(copied: Path, file: str, line: str, contract: str) -> None:
    module = copied / file
    before = module.read_text("utf-8")
    module.write_text(f"{before}\n{line}\n", "utf-8")
    try:
        assert contract in breaches_of_contracts(copied)
    finally:
        module.write_text(before, "utf-8")


def test_the_user_interface_imports_only_the_schemas_of_the_api(tmp_path: Path) -> None:
    assert strange_imports(ROOT / "ui", {"app.schemas"}) == []
    folder = tmp_path / "ui"
    folder.mkdir()
    (folder / "page.py").write_text("from app.services import Services\nfrom app.schemas import Health\nimport ui.x\n")
    assert strange_imports(folder, {"app.schemas"}) == ["page.py: app.services"]


def test_no_file_is_longer_than_400_lines(tmp_path: Path) -> None:
    assert long_files(ROOT) == []
    (tmp_path / "fits.py").write_text("1\n" * 400)
    (tmp_path / "long.py").write_text("1\n" * 401)
    assert long_files(tmp_path) == ["long.py"]


def test_core_holds_at_most_eight_modules(tmp_path: Path) -> None:
    assert len(members(ROOT / "core")) <= LARGEST_CORE
    (tmp_path / "package").mkdir()
    (tmp_path / "migrations").mkdir()
    for name in ("__init__.py", "one.py", "package/__init__.py"):
        (tmp_path / name).touch()
    assert members(tmp_path) == ["one", "package"]


def test_no_package_of_ours_has_the_name_of_an_installed_one() -> None:
    assert clashes(PACKAGES) == {}
    assert clashes(["app", "pytest"]) == {"pytest": ["pytest"]}


def test_no_module_of_the_user_interface_hides_another() -> None:
    assert shadows(members(ROOT / "ui")) == []
    assert shadows(["client", "types", "app", "httpx"]) == ["app", "types", "httpx"]


def test_the_generated_pages_are_up_to_date(tmp_path: Path) -> None:
    assert stale(ROOT) == []
    assert stale(tmp_path) == ["docs/reference/settings.md", ".env.example"]


def test_what_the_pages_name_exists() -> None:
    assert broken_links(ROOT) == []
    assert unknown_targets(ROOT) == []
    assert unknown_modules(ROOT) == []
    assert unknown_commands(ROOT) == []
    assert unknown_variables(ROOT) == []


def test_what_the_pages_name_and_does_not_exist_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Makefile").write_text("run: x\n")
    (tmp_path / "README.md").write_text(
        "# A page\n[here](#a-page) [gone](gone.md) [part](#no-part) ![picture](picture.png) [web](https://x.org/y)\n"
        "`make run`, `make haste` and to make sense; `python -m nonesuch`, `python -m core`, `python -m app migrate`\n"
        "`python -m app keys create NAME`, `python -m app dance`; API__PORT=1 API__HARBOUR=2\n"
    )
    assert broken_links(tmp_path) == ["README.md: gone.md", "README.md: #no-part", "README.md: picture.png"]
    assert unknown_targets(tmp_path) == ["README.md: make haste"]
    assert unknown_modules(tmp_path) == ["README.md: nonesuch", "README.md: core"]
    assert unknown_commands(tmp_path) == ["README.md: python -m app dance"]
    assert "invalid choice: 'dance'" in capsys.readouterr().err
    assert unknown_variables(tmp_path) == ["README.md: API__HARBOUR"]


def test_the_page_of_the_routes_names_each_route_once() -> None:
    paths = create_app(Settings(_env_file=None)).openapi()["paths"]
    there = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    told = ROUTE.findall((ROOT / "docs/reference/api.md").read_text("utf-8"))
    assert sorted(told) == sorted(there)


def test_every_prompt_is_read(tmp_path: Path) -> None:
    assert unread_prompts(ROOT) == set()
    prompts = tmp_path / "graphs" / "prompts"
    prompts.mkdir(parents=True)
    (prompts / "used.md").touch()
    (prompts / "forgotten.md").touch()
    (tmp_path / "graphs" / "rag.py").write_text('read_prompt("used")\nread_prompt("missing")\n')
    assert unread_prompts(tmp_path) == {"forgotten", "missing"}


def test_no_file_names_a_place_of_the_machine_it_was_written_on(tmp_path: Path) -> None:
    assert machine_paths(ROOT) == []
    (tmp_path / "good.py").write_text("'https://host/work/x' '/homework/x' '/tmp/ragstone-1' '~/work'")
    (tmp_path / "bad.py").write_text("'/home/ann/x'")
    assert machine_paths(tmp_path) == ["bad.py"]
