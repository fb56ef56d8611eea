"""What the pages say is tried: links lead somewhere, examples are accepted, metrics and commands exist."""

import json
import re
from pathlib import Path

import pytest

from gateway import settings
from gateway.core.model import Route
from gateway.core.template import Source
from gateway.discovery.documents import Defaults, parse_defaults, parse_route
from gateway.discovery.documents.filters_document import FilterDocument

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")])
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def _blocks(page: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(page.read_text()) if name == language]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://", "#")):
            assert (page.parent / target.split("#")[0]).exists(), f"{page.name} links to {target}"


def test_tests_that_the_faults_are_proved_by_exist() -> None:
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "operating.md").read_text())
    assert len(named) > 20
    for file, name in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / "tests" / "integration" / file).read_text(), re.MULTILINE)


def test_routes_written_on_a_command_line_are_accepted() -> None:
    found = [
        (page.name, text)
        for page in PAGES
        for block in _blocks(page, "sh")
        for text in re.findall(r"kv put \S+/routes/\S+ '(\{.*\})'", block)
    ]
    assert found
    for name, text in found:
        assert isinstance(parse_route("example", text.encode(), 1), Route), f"{name}: {text}"


def test_parts_of_routes_are_accepted() -> None:
    blocks = _blocks(ROOT / "docs" / "limits.md", "yaml")
    assert blocks
    for block in blocks:
        found = parse_route("example", f"{block}\nbackends: [{{service: orders}}]\n".encode(), 1)
        assert isinstance(found, Route), f"{found}: {block}"


@pytest.mark.parametrize("name", ["transformation.md", "backends.md", "operating.md"])
def test_routes_on_pages_are_accepted(name: str) -> None:
    blocks = _blocks(ROOT / "docs" / name, "yaml")
    assert blocks
    for block in blocks:
        if block.startswith("route:"):
            assert isinstance(parse_defaults(block.encode(), 1), Defaults), block
        else:
            assert isinstance(parse_route("example", block.encode(), 1), Route), block


def test_every_variable_and_filter_is_on_the_page_of_transformation() -> None:
    text = (ROOT / "docs" / "transformation.md").read_text()
    for source in Source:
        assert f"${{{source.value}{'NAME' if source.many else ''}}}" in text
    for name in FilterDocument.model_fields:
        assert f"`{name}" in text


def test_settings_files_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for page in PAGES for block in _blocks(page, "toml")]
    assert blocks
    for block in blocks:
        file = tmp_path / "gateway.toml"
        file.write_text(block)
        settings.load(file=file)


def test_json_is_json() -> None:
    for page in PAGES:
        for block in _blocks(page, "json"):
            json.loads(block)


def test_metrics_that_are_named_exist() -> None:
    from gateway.telemetry.instruments import COUNTERS, GAUGES

    known = {instrument.name.replace(".", "_") for instrument in (*COUNTERS, *GAUGES)}
    text = (ROOT / "docs" / "operating.md").read_text()
    for name in re.findall(r"`(gateway_[a-z_]+)", text):
        assert name.removesuffix("_total").removesuffix("_seconds") in known, name


def test_routes_in_the_page_on_authentication_are_accepted() -> None:
    page = ROOT / "docs" / "authentication.md"
    blocks = [*_blocks(page, "yaml"), *_blocks(page, "json")]
    assert len(blocks) == 7
    for block in blocks:
        found = parse_route("example", block.encode(), 1)
        assert isinstance(found, Route), found
        assert found.auth is not None
