"""The few packages beyond the standard library that programs may import, found without opening all of site-packages:
what else is installed there (a question's tests, say) is none of their business. Runs in the zygote: standard library
only.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Sequence
from types import ModuleType

NAMES = ("numpy", "sortedcontainers")


class Packages:
    """A finder, for sys.meta_path, of those of the packages that are installed for this interpreter."""

    def __init__(self) -> None:
        places = [os.path.join(site, name) for site in _sites() for name in NAMES]
        found = [place for place in places if os.path.isfile(os.path.join(place, "__init__.py"))]
        self._directories = {os.path.basename(place): place for place in reversed(found)}

    @property
    def directories(self) -> list[str]:
        """With the shared libraries that wheels put beside a package."""
        own = list(self._directories.values())
        return own + [f"{place}.libs" for place in own if os.path.isdir(f"{place}.libs")]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._directories:
            return None
        place = self._directories[name]
        location = os.path.join(place, "__init__.py")
        return importlib.util.spec_from_file_location(name, location, submodule_search_locations=[place])


def _sites() -> list[str]:
    """site-packages of a virtual environment, which an interpreter does not know under -S, or of the installation."""
    environment = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    inside = os.path.exists(os.path.join(environment, "pyvenv.cfg"))
    prefix = environment if inside else sys.prefix
    variables = {"base": prefix, "platbase": prefix}
    places = [sysconfig.get_path(kind, "posix_prefix", variables) for kind in ("purelib", "platlib")]
    return places if inside else [*places, sysconfig.get_path("purelib"), "/usr/lib/python3/dist-packages"]
