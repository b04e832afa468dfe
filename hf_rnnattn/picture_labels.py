"""Tokens as labels of pictures: made visible, cut, and in fonts that can draw them."""

import unicodedata

FONT = 9.0  # points
LONG = 24  # characters of a label; what is longer is cut in the middle
# Tokens that a reader could not see, or that would break the line.
VISIBLE = {" ": "␣", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def width_in_inches(text: str) -> float:
    """About the width of a text; the wide letters of East Asia take twice the room."""
    return sum(1.1 if unicodedata.east_asian_width(c) in "WF" else 0.62 for c in text) * FONT / 72


def make_visible(token: str) -> str:
    """The token with signs for spaces and line breaks."""
    return "".join(VISIBLE.get(c, c) for c in token)


def make_label(token: str, drawable: set[str]) -> str:
    """The token as it can be drawn, cut in the middle if it is long."""
    text = escape(make_visible(token), drawable)
    return text if len(text) <= LONG else f"{text[: LONG // 2]}…{text[-LONG // 2 + 1 :]}"


def escape(text: str, drawable: set[str]) -> str:
    """The text with codes for the characters that cannot be drawn."""
    return "".join(c if c in drawable else c.encode("unicode_escape").decode() for c in text)


def choose_fonts(characters: set[str]) -> tuple[list[str], set[str]]:
    """Families that together draw as many of the characters as can be, and the characters that they draw.

    DejaVu Sans, which comes with matplotlib, is the first; then those of the system. The other fonts of matplotlib's
    own have symbols at the codes of letters, or draw boxes for everything.
    """
    import matplotlib
    from matplotlib import font_manager

    own = matplotlib.get_data_path()
    system = {font.name: font.fname for font in font_manager.fontManager.ttflist if not font.fname.startswith(own)}
    wanted = {c for c in characters if c.isprintable()}
    families = ["DejaVu Sans"]
    drawn = {c for c in wanted if ord(c) in _charmap(font_manager.findfont("DejaVu Sans"))}
    for name in sorted(system):
        if drawn == wanted:
            break
        more = {c for c in wanted - drawn if ord(c) in _charmap(system[name])}
        if more:
            families.append(name)
            drawn |= more
    return families, drawn


def _charmap(file: str) -> dict[int, int]:
    from matplotlib.ft2font import FT2Font

    try:
        return FT2Font(file).get_charmap()
    except (OSError, RuntimeError):  # a font that was removed since matplotlib listed it, or that it cannot read
        return {}
