"""What GitHub leaves of a notebook's HTML output, as far as it has said how.

The allow-list is that of the SanitizationFilter of html-pipeline 2 (github.com/gjtorikian/html-pipeline), which GitHub
published and for long used itself: elements that are not on it are replaced by their content, scripts go with theirs.
The attributes here are the ones of that list that this package's HTML could have.
"""

from __future__ import annotations

import html
from html.parser import HTMLParser

ELEMENTS = frozenset(
    """h1 h2 h3 h4 h5 h6 h7 h8 br b i strong em a pre code img tt div ins del sup sub p ol ul table thead tbody tfoot
    blockquote dl dt dd kbd q samp var hr ruby rt rp li tr td th s strike summary details""".split()
)
ATTRIBUTES = frozenset(
    "abbr align alt border colspan dir height lang open rowspan scope span title valign width".split()
)
_WITH_CONTENT = frozenset(["script", "style"])


class _Sanitiser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.out: list[str] = []
        self.inside = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside += tag in _WITH_CONTENT
        if tag in ELEMENTS and not self.inside:
            kept = "".join(f' {k}="{html.escape(v or "")}"' for k, v in attrs if k in ATTRIBUTES)
            self.out.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        self.inside -= tag in _WITH_CONTENT
        if tag in ELEMENTS and not self.inside:
            self.out.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        if not self.inside:
            self.out.append(html.escape(data, quote=False))


def sanitised(markup: str) -> str:
    """The markup without what GitHub does not allow."""
    parser = _Sanitiser()
    parser.feed(markup)
    parser.close()
    return "".join(parser.out)


class _Table(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.in_cell:
            self.rows[-1][-1] += data


def cells(markup: str) -> list[list[str]]:
    """The text of every cell of every table row."""
    parser = _Table()
    parser.feed(markup)
    return parser.rows


def text(markup: str) -> str:
    """What is read, with one space wherever there is space, or where a block ends."""
    spaced = markup.replace("</p>", " </p>").replace("</td>", " </td>").replace("</th>", " </th>")
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    parser.feed(spaced)
    parser.close()
    return " ".join("".join(parts).split())
