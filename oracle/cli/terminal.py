"""What is printed is text: nothing in a name, a path or an error of others steers the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but for tabs and line feeds, ESC among them
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"  # the direction of writing, line ends
    "\U000e0000-\U000e007f\ud800-\udfff]"  # invisible tags, halves of characters
)


def plain(text: str) -> str:
    r"""The text with what would steer a terminal written out: ``\x1b`` for ESC."""
    return _STEERING.sub(lambda found: ascii(found.group())[1:-1], text)


class _PlainStream:
    """A stream that writes plain text only; :attr:`raw` is for a console, which sees to it itself."""

    encoding = "utf-8"  # takes any text: what the stream itself can't write is written out, too

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        known = self.raw.encoding or "utf-8"
        self.raw.write(plain(text).encode(known, "backslashreplace").decode(known))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


class PlainConsole(Console):
    """A console whose styles are its own, and whose text is plain."""

    def __init__(self, file: TextIO | None = None, **options: Any) -> None:
        target = file or sys.stdout
        super().__init__(file=getattr(target, "raw", target), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The renderable's segments, but for what would steer the terminal."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))


def print_document(text: str) -> None:
    """Prints a page or a table of another program's form: to the last byte, unless it goes to a terminal."""
    out = sys.stdout if sys.stdout.isatty() else getattr(sys.stdout, "raw", sys.stdout)
    out.write(text)


@contextmanager
def plain_streams() -> Iterator[None]:
    """Lets only plain text through to standard output and errors, as long as this lasts."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _PlainStream(sys.stdout), _PlainStream(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
