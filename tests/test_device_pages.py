"""Every device file has its page, and what the pages tell people to write is a good site file."""

import re
from pathlib import Path

import pytest

from drivers import device_file
from gateway.config import problems

PAGES = Path(__file__).parent.parent / "docs/devices"
FRAME = """
schema = 1
site = {{ id = "page", gateway = "page-a", name = "Page" }}
{snippet}
uplink = {{ broker = "mqtt://127.0.0.1:1883" }}
"""


@pytest.mark.parametrize("model", device_file.models())
def test_a_device_file_has_its_page_and_the_page_says_whether_it_was_tried(model: str) -> None:
    page = (PAGES / f"{model}.md").read_text()
    device = device_file.load(device_file.models()[model])
    assert f'model = "{model}"' in page
    assert device.line in page
    if not device.verified:
        assert re.search(r"Not tried on a real one by us|Compare it with your module's leaflet", page)


@pytest.mark.parametrize("page", sorted(path.name for path in PAGES.glob("*.md") if path.name != "README.md"))
def test_the_snippet_of_a_page_is_a_good_site_file(page: str, tmp_path: Path) -> None:
    [snippet] = re.findall(r"```toml\n(.*?)```", (PAGES / page).read_text(), re.DOTALL)
    path = tmp_path / "site.toml"
    path.write_text(FRAME.format(snippet=snippet))
    assert problems(path) == []
    assert page in (PAGES / "README.md").read_text()
