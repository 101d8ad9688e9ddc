r"""Find regular expressions that hang a backtracking JavaScript engine; a library in itself (see README.md).

It takes a pattern as text, as it would be given to `new RegExp` (leading inline flags such as `(?i)` taken off). It
reads no clock, and imports nothing else of this product.

    >>> from app.rules.redos import examine
    >>> examine(r"(a+)+$").hangs
    True
    >>> examine(r"^\w+@\w+$").hangs
    False

* `examine(pattern)` answers an `Examination`: whether the pattern `hangs`, the worst number of steps to expect, a
  text that shows it, and whether the examination was complete within its allowance of steps;
* `parse_js(pattern, unicode=...)` answers the tree of the pattern (`app.rules.redos.js_tree`);
* `wants_unicode(pattern)` answers whether the ATR engine compiles the pattern with the u flag;
* `PatternSyntaxError` is raised for what JavaScript refuses; it is the only error.
"""

from app.rules.redos.blowup import HANG_CHARS, HANG_STEPS, PATTERN_STEPS, Examination, examine
from app.rules.redos.js_parser import parse_js, wants_unicode
from app.rules.redos.js_tree import PatternSyntaxError

__all__ = [
    "HANG_CHARS",
    "HANG_STEPS",
    "PATTERN_STEPS",
    "Examination",
    "PatternSyntaxError",
    "examine",
    "parse_js",
    "wants_unicode",
]
