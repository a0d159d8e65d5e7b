"""Markdown of other people as harmless HTML."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

from wandb_ckpt.server.pages.formats import visible

__all__ = ["markdown"]

_LONGEST = 50_000
_SCHEMES = frozenset({"http", "https", "mailto"})


def markdown(text: str | None) -> Markup:
    """A description as HTML: CommonMark and tables, no raw HTML, no pictures, links to the web and mail only."""
    if not text:
        return Markup()
    # Parsing takes longer than linear time, so what is too long for a description is not parsed.
    cut = "\n\n…" if len(text) > _LONGEST else ""
    return Markup(_parser().render(visible(text[:_LONGEST]) + cut))  # noqa: S704  what comes out is escaped


@functools.cache
def _parser() -> MarkdownIt:
    # Pictures would have to come from elsewhere, which the pages' policy forbids; what is left is a link.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    # Its documented way to restrict links.
    parser.validateLink = _is_harmless  # type: ignore[method-assign]
    parser.core.ruler.push("page", _fit_into_page)
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    return parser


def _is_harmless(url: str) -> bool:
    try:
        return urlsplit(url).scheme.lower() in _SCHEMES
    except ValueError:
        return False


def _fit_into_page(state: Any) -> None:
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 2)}"
        # Columns are aligned by a style attribute, which the pages' policy forbids.
        if "right" in str(token.attrs.pop("style", "")):
            token.attrSet("class", "right")
        for inline in token.children or ():
            if inline.type == "link_open":
                inline.attrSet("rel", "nofollow noopener noreferrer")


def _open_table(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, _: EnvType) -> str:
    return f'<div class="scroll">{renderer.renderToken(tokens, index, options, _)}'


def _close_table(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, _: EnvType
) -> str:
    return f"{renderer.renderToken(tokens, index, options, _)}</div>"
