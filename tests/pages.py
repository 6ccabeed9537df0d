"""The pages that people read, and what stands in them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("silo", "trials", "oracle", "dashboards", "docker")
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *(page for name in PACKAGES for page in (ROOT / name).rglob("*.md")))
    if "examples" not in path.parts
}
ON_A_CLUSTER = "oracle/jobs/README.md"
"""The page whose commands tests/on_ray runs."""


def blocks(page: str, language: str) -> list[str]:
    """What stands in a page's fences of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def commands(page: str, first: str) -> list[str]:
    """The commands of a page that begin with a word, without the prompt and what is said of them."""
    lines = [line for line in "".join(blocks(page, "console")).splitlines() if line]
    assert all(line.startswith("$ ") for line in lines)
    found = (re.split(r"  +#", line)[0].removeprefix("$ ").strip() for line in lines)
    return [command for command in found if command.split()[0] == first]
