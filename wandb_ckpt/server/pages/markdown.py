"""Renders Markdown that anyone may have written as safe HTML."""

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
    """Return a description as HTML: CommonMark and tables, no raw HTML, no images, only web and mail links."""
    if not text:
        return Markup()
    # The time of parsing grows faster than the text, so very long texts are cut.
    cut = "\n\n…" if len(text) > _LONGEST else ""
    return Markup(_parser().render(visible(text[:_LONGEST]) + cut))  # noqa: S704  what comes out is escaped


@functools.cache
def _parser() -> MarkdownIt:
    # The content security policy forbids images of other sites. Without the rule, an image becomes a link.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    # The documented way to restrict links.
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
        # Columns are aligned by a style attribute, which the content security policy forbids.
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
