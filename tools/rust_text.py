"""Reads Rust as text, as far as scripts/draw-architecture, scripts/test-sizes and scripts/test-names
need it."""
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


def item_end(text, start):
    """Where the item ends that begins at `start`: behind its semicolon or its last brace."""
    depth, imports = 0, re.match(r"(?:pub(?:\([^)]*\))?\s+)?use\b", text[start:])
    for at in range(start, len(text)):
        if text[at] in "([{":
            depth += 1
        elif text[at] in ")]}":
            depth -= 1
            if depth == 0 and text[at] == "}" and not imports:
                return at + 1
        elif text[at] == ";" and depth == 0:
            return at + 1
    return len(text)


def without_tests(text):
    """The text without items for tests, the declarations of test modules among them."""
    while (found := re.search(r"#\[cfg\(test\)\]\s*", text)) is not None:
        start = found.end()
        while (attribute := re.match(r"#\[[^\]]*\]\s*", text[start:])) is not None:
            start += attribute.end()
        text = text[: found.start()] + text[item_end(text, start) :]
    return text
