"""The door to sqlite_utils.

When it is loaded it looks for pandas, only to know its types; loading that takes over a second, and no such value gets
into the record. So pandas is out of sight meanwhile.
"""

from __future__ import annotations

import sys

_hidden = "pandas" not in sys.modules
if _hidden:
    sys.modules["pandas"] = None  # type: ignore[assignment]
try:
    import sqlite_utils
finally:
    if _hidden:
        del sys.modules["pandas"]

__all__ = ["sqlite_utils"]
