"""The report and the proof in a browser: WCAG by axe-core, 320 px, targets, paper. Needs chromium, on CI always."""

import html
import json
import os
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest

from gateway import cli
from gateway.month import month_of
from gateway.report_facts import of_city
from gateway.report_figures import of_month
from gateway.report_page import report
from simulator.month_story import MONTH, Told

CHROMIUM = shutil.which("chromium")
# Loading one page, judging it, and the same page in a frame as wide as a small phone, all in one start of the browser.
JUDGE = """
addEventListener("load", async () => {
  const found = await axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] });
  const frame = document.createElement("iframe");
  frame.style.cssText = "width:320px;height:640px;border:0";
  frame.srcdoc = SOURCE;
  await new Promise(done => { frame.onload = done; document.body.append(frame); });
  const inner = frame.contentDocument;
  inner.querySelectorAll("details").forEach(each => { each.open = true; });
  const small = [...inner.querySelectorAll("a, summary, button, input")].map(each => each.getBoundingClientRect())
    .filter(box => box.width < 24 || box.height < 24).length;
  const said = { violations: found.violations.map(each => each.id + ": " + each.nodes.map(n => n.html).join(" | ")),
    passes: found.passes.length, incomplete: found.incomplete.map(each => each.id),
    wide_px: inner.documentElement.scrollWidth, small, plots: inner.querySelectorAll("svg rect").length };
  document.body.innerHTML = "<pre id=said></pre>";
  document.getElementById("said").textContent = JSON.stringify(said);
});
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(told_month: Told, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI=true, and this test needs a browser: apt-get install -y chromium", pytrace=False)
        pytest.skip("needs a browser: apt-get install -y chromium")
    folder = tmp_path_factory.mktemp("pages")
    month = ["--month", MONTH, "--out"]
    [centre] = of_city(told_month.ledger, [], *month_of(MONTH, "Asia/Shanghai", "").widest)
    both = [of_month(each, MONTH) for each in (centre, centre._replace(gateway="demo-centre-b"))]
    (folder / "report.html").write_text(report(MONTH, both), encoding="utf-8")
    assert cli.main(["facility", "--state", str(told_month.state), *month, str(folder), "export"]) == 0
    return {name: folder / f"{name}.html" for name in ("report", "proof")}


def chromium(*arguments: str) -> str:
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


def judged(page: Path, change: tuple[str, str] = ("", "")) -> dict:
    """What the browser says of a page. change: a mistake put into it first."""
    source = page.read_text().replace(*change) if change[0] else page.read_text()
    axe = (files("axe_core_python") / "axe.min.js").read_text()
    script = JUDGE.replace("SOURCE", json.dumps(source).replace("</", "<\\/"))
    trial = page.with_name(f"judged-{page.name}")
    trial.write_text(source.replace("</head>", f"<script>{axe}</script><script>{script}</script></head>"))
    dom = chromium("--virtual-time-budget=30000", "--window-size=1000,1200", "--dump-dom", trial.as_uri())
    said = re.search(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL)
    assert said, dom[-2000:]
    return json.loads(html.unescape(said[1]))


@pytest.mark.parametrize("name", ["report", "proof"])
def test_a_page_is_clean_for_axe_reflows_at_320_px_and_has_targets_of_24_px(pages, name):
    said = judged(pages[name])
    assert said["violations"] == []
    assert said["passes"] > 15, "axe looked"
    assert said["wide_px"] <= 320
    assert said["small"] == 0
    assert said["plots"] > 50 or name == "proof", "the bars are there, and not one within another"


def test_a_mistake_in_the_page_is_seen(pages):
    said = judged(pages["proof"], ("--soft: #4d5662", "--soft: #b0b0b0"))
    assert any(each.startswith("color-contrast") for each in said["violations"])
    said = judged(pages["proof"], (".wide { overflow-x: auto;", "table { min-width: 700px; }\n.wide {"))
    assert said["wide_px"] > 320


def test_on_paper_each_language_begins_on_a_page_of_its_own(pages):
    paper = pages["proof"].with_name("proof.pdf")
    chromium(f"--print-to-pdf={paper}", "--no-pdf-header-footer", pages["proof"].as_uri())
    assert paper.read_bytes().count(b"/Type /Page\n") + paper.read_bytes().count(b"/Type /Page ") >= 4
