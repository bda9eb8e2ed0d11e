"""The few packages beyond the standard library that programs may import, found without opening all of site-packages:
what else is installed there (a question's tests, say) is none of their business. Runs in the zygote: standard library
only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

NAMES = ("numpy", "sortedcontainers")


class Packages:
    """A finder, for sys.meta_path, of those of the packages that are installed for this interpreter."""

    def __init__(self) -> None:
        places = [(name, site) for site in reversed(_sites()) for name in NAMES]
        self._sites = {name: site for name, site in places if os.path.isdir(os.path.join(site, name))}

    @property
    def directories(self) -> list[str]:
        """With the shared libraries that wheels put beside a package."""
        places = [os.path.join(site, name + end) for name, site in self._sites.items() for end in ("", ".libs")]
        return list(filter(os.path.isdir, places))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [self._sites[name]]) if name in self._sites else None


def _sites() -> list[str]:
    """site-packages of a virtual environment, which an interpreter does not know under -S, or of the installation."""
    environment = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
    inside = os.path.exists(os.path.join(environment, "pyvenv.cfg"))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    libraries = [os.path.join(environment if inside else sys.prefix, name, version) for name in ("lib", "lib64")]
    places = [os.path.join(library, "site-packages") for library in libraries]
    return places if inside else [*places, f"/usr/local/lib/{version}/dist-packages", "/usr/lib/python3/dist-packages"]
