"""What happens to settings before runs are planned: a model is named and is all there, and open settings are fitted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ttsd.config import BUNDLED_MODEL, Config
from ttsd.errors import TtsdError, UserError
from ttsd.machine.doctor import Finding, examine
from ttsd.machine.fit import Fit, fitted, hungriest
from ttsd.machine.gpus import Machine, this_machine
from ttsd.machine.memory import Memory, memory_of
from ttsd.machine.shape import Shape, model_facts
from ttsd.methods import Method, method_named

BUNDLED_QUESTIONS = "micro:"


def fitted_here(config: Config, questions: Iterable[str], methods: Iterable[Method]) -> Fit:
    """Returns `config` fitted to this machine, for runs of `methods` on `questions`.

    UserError: nobody has named a model for a real question, the model is not all there, or nothing fits.
    """
    from ttsd.backbone import check_weight_files, resolve

    check_named(config, questions)
    if config.model.local:
        check_weight_files(resolve(config.model.path, config.model.revision))
    fit = fit_for(config, this_machine(), methods)
    return replace(fit, line="") if config.model.path == BUNDLED_MODEL else fit  # its configuration says it all


def fit_for(config: Config, machine: Machine, methods: Iterable[Method] = ()) -> Fit:
    """Returns the settings for `machine` that fit the most demanding of `methods` (none: the configuration's own)."""
    if not config.model.local:
        return Fit(config, frozenset(), None, "")
    method = hungriest([*methods] or [method_named(config.method)])
    fit = fitted(
        config.model_copy(update={"method": method.name}),
        model_facts(config.model.path, config.model.revision)[0],
        machine,
    )
    return replace(fit, config=fit.config.model_copy(update={"method": config.method}))


def examined(config: Config, *, every_promise: bool = False) -> tuple[list[Finding], Config]:
    """Returns what works on this machine for `config`, and the settings that fit it; `config` where none do."""
    if not config.model.local:
        return examine(config, None, every_promise=every_promise), config
    facts = None
    try:
        facts = model_facts(config.model.path, config.model.revision)
        fit = fit_for(config, this_machine())
        config, last = fit.config, Finding("settings", True, fit.line)
    except UserError as error:
        last = Finding("settings" if facts else "model", False, str(error))
        if config.model.sampler == "auto":
            config = config.changed("model", sampler="transformers")
    return [*examine(config, facts, every_promise=every_promise), last], config


async def hot_swap(config: Config) -> Finding:
    """Starts the configured engine and sees whether a non-zero adapter changes what it samples, as it should."""
    from ttsd.running.engine import load_tokenizer, open_engine

    if not config.model.local:
        return Finding("adapter hot-swap", False, f"{config.model.path} is an endpoint, which takes no adapters")
    try:
        async with open_engine(config, load_tokenizer(config)) as engine:
            found = engine.agreement
            detail = f"{config.model.sampler} and trainer agree to {found['gap/mean']:.1g} nats a token"
            return Finding("adapter hot-swap", True, f"{detail}; an adapter changes them by {found['change']:.2g}")
    except TtsdError as error:
        return Finding("adapter hot-swap", False, str(error))


def memory_for(config: Config, machine: Machine, questions: int) -> Memory:
    """Returns what `questions` questions that share an engine need of `machine`."""
    shape = Shape.read(model_facts(config.model.path, config.model.revision)[0])
    return memory_of(config, shape, machine.used_by(config.model), questions=questions)


def check_named(config: Config, questions: Iterable[str]) -> None:
    """Checks that somebody has named a model, where questions are not the bundled ones. UserError: nobody has."""
    named = "path" in config.model.model_fields_set
    real = next((name for name in questions if not name.startswith(BUNDLED_QUESTIONS)), None)
    if real is not None and not named:
        raise UserError(
            f"{real} needs a model: name one with -m, as in -m Qwen/Qwen2.5-Coder-0.5B-Instruct, or take the bundled "
            f"one, which knows the bundled questions only, with -m {BUNDLED_MODEL}"
        )
