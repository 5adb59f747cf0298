"""Rows of CSV tables whose cells a spreadsheet does not take for formulas.

A spreadsheet computes a cell that begins with =, +, -, @, a tab or a carriage return. In the tables of this package such
a cell begins with an apostrophe instead, unless it is a number; a cell of apostrophes before such a character gets one
more. So `unescape_cell(escape_cell(text)) == text` for every text.
"""

import csv
import io
import re
from collections.abc import Iterable

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def escape_cell(value: object) -> str:
    """Formats a cell, None as an empty one; text that a spreadsheet would compute is preceded by an apostrophe."""
    text = "" if value is None else str(value)
    return f"'{text}" if _FORMULA.match(text) and not _is_number(text) else text


def format_row(cells: Iterable[object]) -> str:
    """Formats a line of a table, each cell by `escape_cell`; it ends with a newline."""
    text = io.StringIO()
    csv.writer(text).writerow(map(escape_cell, cells))
    return text.getvalue().removesuffix("\r\n") + "\n"  # written with \r\n, so that cells with a \r are quoted


def unescape_cell(text: str) -> str:
    """Removes the apostrophe that `escape_cell` put before a text."""
    return text[1:] if _ESCAPED.match(text) else text


def remove_formulas(content: bytes) -> bytes:
    """Returns the content of a CSV file in UTF-8, written anew if a spreadsheet would compute one of its cells."""
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    texts = [[unescape_cell(cell) for cell in row] for row in rows]
    is_safe = [[escape_cell(text) for text in row] for row in texts] == rows
    return content if is_safe else "".join(map(format_row, texts)).encode()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
