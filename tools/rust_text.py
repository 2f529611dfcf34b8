"""Reads Rust as text, as far as scripts/draw-architecture and scripts/test-sizes need it."""
import re

# Comments, raw strings, strings and characters: what may hold braces and words that are no code.
NO_CODE = re.compile(
    r"""//[^\n]*|/\*.*?\*/|b?r(?P<h>#*)".*?"(?P=h)|b?"(?:\\.|[^"\\])*"|b?'(?:\\[^']+|[^'\\])'""", re.S
)


def code_of(text, keep_lines=False):
    """The text without comments, and with empty strings. With `keep_lines` each piece of code stays
    in its line."""

    def empty(found):
        rest = "" if found.group(0).startswith(("//", "/*")) else '""'
        return rest + ("\n" * found.group(0).count("\n") if keep_lines else "")

    return NO_CODE.sub(empty, text)
