"""What comes before every command: options of ttsd itself, the log, and what an unknown option may have meant."""

from __future__ import annotations

import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ttsd.cli.options import expand
from ttsd.errors import UserError

log = logging.getLogger("ttsd")

_SPINS = "5000"  # a fraction of a millisecond


class Commands(TyperGroup):
    """Logs what ends a command, and looks an unknown option up among the settings: `--attempts 5` wants `--set`."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            option = str(getattr(error, "option_name", ""))
            if places := _settings_named(option):
                raise UserError(f"there is no option {option}; it is a setting: --set {places[0]}=VALUE") from None
            log.debug("the command ended", exc_info=True)
            raise


def _print_version(wanted: bool) -> None:
    if wanted:
        from ttsd.machine.version import version

        print(f"ttsd {version()}")
        raise typer.Exit


def global_options(
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Print the version and end.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also print what libraries say, and where an error arose.")
    ] = False,
    log_file: Annotated[
        Path | None,
        typer.Option("--log", help="Write that to a file, for a bug report.", metavar="FILE", callback=expand),
    ] = None,
) -> None:
    if verbose or log_file:
        _start_log(verbose, log_file)
    else:
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # no retries of the hub's client before our one sentence
    yield_cores_soon()
    _check_neighbours()


def yield_cores_soon() -> None:
    """How long threads of OpenMP wait awake for the next product, unless the user has said so.

    By themselves they wait for milliseconds. On cores that another program wants too, each product then takes as long
    as the others' turns: a token of a 0.5B model takes seconds instead of three tenths of one.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


def _start_log(verbose: bool, file: Path | None) -> None:
    from ttsd.machine.version import version

    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)] if verbose else []
    if verbose:
        os.environ["TTSD_TRACEBACK"] = "1"
    if file is not None:
        try:
            handlers.append(logging.FileHandler(file, encoding="utf-8"))
        except OSError as error:
            raise UserError(f"can't write the log {str(file)!r} ({error.strerror}); give --log another file") from None
    logging.basicConfig(level=logging.INFO, handlers=handlers, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    log.setLevel(logging.DEBUG)
    log.info("ttsd %s, Python %s, %s", version(), sys.version.split()[0], sys.argv[1:])


def _check_neighbours() -> None:
    """Checks `problems`, `sandbox` and `configs`, plain names: another package may come first on the path."""
    home = Path(__file__).parents[2]
    for name in ("problems", "sandbox", "configs"):
        found = find_spec(name)
        if found is None or found.origin is None or Path(found.origin).resolve().parents[1] != home.resolve():
            other = (found.origin or found.submodule_search_locations) if found else None
            raise UserError(
                f"the package {name!r} that Python finds is not ttsd's ({other or 'there is none'}): "
                "uninstall the other, leave its folder, or install ttsd into an environment of its own"
            )


def _settings_named(option: str) -> list[str]:
    """Returns the settings that an unknown option may mean, as in budget.attempts."""
    if not option.startswith("--"):
        return []
    from ttsd.config import Config

    name = option.removeprefix("--").replace("-", "_")
    return [f"{section}.{name}" for section, table in Config().model_dump().items() if name in table]
