"""Settings fitted to a model and a machine: the table of what is chosen, the order of quality, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT
from tests.real_models import smollm2
from ttsd.config import Config, load_config
from ttsd.errors import UserError
from ttsd.machine.fit import PLACES, Fit, check_sampler, fitted, hungriest
from ttsd.machine.gpus import GIB, GPUS, Machine, machine_named, this_machine
from ttsd.machine.memory import memory_of, vllm_cache
from ttsd.machine.shape import KNOWN, Shape
from ttsd.methods import METHODS
from ttsd.sampling.kinds import sampler_named


def sizes(hidden: int, layers: int, heads: int, keys: int, width: int, vocab: int, length: int, **more: Any) -> Any:
    """Returns a config.json."""
    return {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": keys,
        "intermediate_size": width, "vocab_size": vocab, "max_position_embeddings": length, **more,
    }  # fmt: skip


MODELS = {
    "SmolLM2-135M": sizes(576, 30, 9, 3, 1536, 49_152, 8192, tie_word_embeddings=True),
    "Qwen2.5-Coder-0.5B": KNOWN["Qwen/Qwen2.5-Coder-0.5B-Instruct"],
    "Qwen2.5-Coder-1.5B": sizes(1536, 28, 12, 2, 8960, 151_936, 32_768, tie_word_embeddings=True),
    "TinyLlama-1.1B": sizes(2048, 22, 32, 4, 5632, 32_000, 2048),
    "Qwen3-4B": KNOWN["Qwen/Qwen3-4B"],
    "Mistral-7B": sizes(4096, 32, 32, 8, 14_336, 32_768, 32_768),
    "Qwen3-8B": KNOWN["Qwen/Qwen3-8B"],
    "Gemma-3-12B": sizes(3840, 48, 16, 8, 15_360, 262_208, 131_072, head_dim=256, tie_word_embeddings=True),
    "Qwen3-14B": KNOWN["Qwen/Qwen3-14B"],
    "Qwen3-30B-A3B": sizes(
        2048, 48, 32, 4, 6144, 151_936, 40_960, head_dim=128, num_experts=128, moe_intermediate_size=768,
        num_experts_per_tok=8,
    ),
    "Qwen3-32B": sizes(5120, 64, 64, 8, 25_600, 151_936, 40_960, head_dim=128),
    "Llama-3.3-70B": sizes(8192, 80, 64, 8, 28_672, 128_256, 131_072),
}  # fmt: skip
MACHINES = ("l4-24", "l40s-48", "h100-80", "h200-141", "2xrtx4090-24", "2xh100-80", "cpu-16", "cpu-64")

# Each cell: `2:` on two GPUs; v(llm) or t(ransformers); bits; completion x group; `-` where nothing fits.
TABLE = """
SmolLM2-135M        v16/4096x16  v16/4096x16      v16/4096x16      v16/4096x16  v16/4096x16        v16/4096x16        t32/1024x8  t32/1024x8
Qwen2.5-Coder-0.5B  v16/8192x16  v16/8192x16      v16/8192x16      v16/8192x16  v16/8192x16        v16/8192x16        t32/1024x8  t32/1024x8
Qwen2.5-Coder-1.5B  v16/8192x16  v16/8192x16      v16/8192x16      v16/8192x16  v16/8192x16        v16/8192x16        t16/1024x8  t32/1024x8
TinyLlama-1.1B      v16/1024x16  v16/1024x16      v16/1024x16      v16/1024x16  v16/1024x16        v16/1024x16        t32/1024x8  t32/1024x8
Qwen3-4B            t16/4096x4   v16/8192x16      v16/8192x16      v16/8192x16  2:v16/8192x16      v16/8192x16        -           t32/1024x8
Mistral-7B          tnf4/4096x8  v16/4096x8       v16/8192x16      v16/8192x16  2:vnf4/8192x8      v16/8192x16        -           t16/1024x8
Qwen3-8B            tnf4/4096x4  vfp8/4096x16     v16/8192x16      v16/8192x16  2:vnf4/8192x4      v16/8192x16        -           t16/1024x8
Gemma-3-12B         tnf4/1024x4  vfp8+nf4/4096x8  v16/8192x4       v16/8192x16  2:vfp8+nf4/4096x8  2:v16/8192x16      -           t16/1024x8
Qwen3-14B           tnf4/1024x4  vfp8+nf4/4096x4  v16/4096x8       v16/8192x16  2:vfp8+nf4/4096x8  2:v16/8192x16      -           t16/1024x8
Qwen3-30B-A3B       -            -                t16/8192x4       v16/8192x16  -                  2:v16/8192x16      -           -
Qwen3-32B           -            tnf4/2048x4      vfp8+nf4/4096x4  vfp8/8192x4  -                  2:vnf4/8192x8      -           -
Llama-3.3-70B       -            -                tnf4/2048x8      tnf4/8192x8  -                  2:vfp8+nf4/4096x4  -           -
"""  # noqa: E501


@cache
def fit(model: str, machine: str) -> Fit | None:
    try:
        return fitted(load_config(model=model), MODELS[model], machine_named(machine))
    except UserError:
        return None


def in_short(found: Fit | None) -> str:
    if found is None:
        return "-"
    model, sampling = found.config.model, found.config.sampling
    bits = {"none": {"float32": "32", "bfloat16": "16", "float16": "16"}[model.dtype]}.get(
        model.quantization, model.quantization
    )
    return f"{'2:' * model.apart}{model.sampler[0]}{bits}/{sampling.max_tokens}x{sampling.group_size}"


def table() -> str:
    """Returns what is chosen for each model on each machine."""
    return "\n".join(" ".join([model, *(in_short(fit(model, machine)) for machine in MACHINES)]) for model in MODELS)


def test_what_is_chosen_for_twelve_models_on_eight_machines() -> None:
    assert table().split() == TABLE.split()


FITS = [(model, machine) for model in MODELS for machine in MACHINES if fit(model, machine)]


@pytest.mark.parametrize(("model", "machine"), FITS)
def test_what_is_chosen_fits_by_the_memory_model_and_leaves_nothing_open(model: str, machine: str) -> None:
    found, there = fit(model, machine), machine_named(machine)
    assert found is not None
    assert found.memory is not None
    config, hardware = found.config, there.used_by(found.config.model)
    memory = memory_of(config, Shape.read(MODELS[model]), hardware, questions=1)
    assert memory == found.memory
    assert all(memory.needs[process] <= memory.limits[process] for process in memory.needs)
    assert sum(memory.needs.values()) <= there.size
    check_sampler(config)
    if sampler_named(config.model.sampler).own_weights:  # one sequence of full length has room
        assert vllm_cache(config, MODELS[model], hardware, 1)[0] > 0
    assert Config.model_validate(config.model_dump()) == config
    again = fitted(Config.model_validate(config.model_dump()), MODELS[model], there)
    assert (again.config, again.chosen) == (config, frozenset())
    others = config.model_copy(update={"method": "best-of-k"})
    assert memory_of(others, Shape.read(MODELS[model]), hardware, questions=1).fits


@pytest.mark.parametrize("model", MODELS)
def test_a_larger_machine_never_gives_less(model: str) -> None:
    """Neither shorter completions nor fewer bits."""
    for smaller, larger in (
        ("l4-24", "l40s-48"),
        ("l40s-48", "h100-80"),
        ("h100-80", "h200-141"),
        ("cpu-16", "cpu-64"),
    ):
        before, after = fit(model, smaller), fit(model, larger)
        if before is None:
            continue
        assert after is not None
        assert after.config.sampling.max_tokens >= before.config.sampling.max_tokens
        if before.config.model.quantization == "none":
            assert after.config.model.quantization in ("none", "fp8")


@pytest.mark.parametrize("place", PLACES)
def test_what_somebody_has_set_is_kept(place: str) -> None:
    values = {
        "model.device": "cuda:0", "model.dtype": "float32", "model.sampler": "vllm", "model.quantization": "nf4",
        "model.tensor_parallel_size": 1, "model.max_model_len": 4000, "sampling.group_size": 3,
        "sampling.max_tokens": 777, "sampling.max_prompt_len": 333, "reprompt.max_reprompt_len": 555,
        "distillation.token_budget": 999, "distillation.checkpoint_over": 11,
    }  # fmt: skip
    config = load_config(None, [f"{place}={values[place]}"], model="Qwen/Qwen3-0.6B")
    found = fitted(config, KNOWN["Qwen/Qwen3-0.6B"], machine_named("h100-80"))
    section, _, name = place.partition(".")
    assert getattr(getattr(found.config, section), name) == values[place]
    assert place not in found.chosen


@pytest.mark.parametrize(
    ("gpu", "dtype", "bits"),
    [("t4-16", "float16", "none"), ("a6000-48", "bfloat16", "none"), ("l40s-48", "bfloat16", "fp8")],
)
def test_older_gpus_get_what_they_compute(gpu: str, dtype: str, bits: str) -> None:
    """float16 before Ampere, products in 8 bits from Ada on."""
    model = "Qwen/Qwen3-8B" if bits == "fp8" else "Qwen/Qwen3-0.6B"
    found = fitted(load_config(model=model), KNOWN[model], machine_named(gpu)).config.model
    assert (found.dtype, found.quantization) == (dtype, bits)
    never = {"t4-16", "a6000-48"}
    whole = fitted(load_config(model="x"), MODELS["Gemma-3-12B"], machine_named("a6000-48")).config.model
    assert "fp8" not in whole.quantization or gpu not in never


def test_a_machine_without_vllm_samples_with_transformers() -> None:
    machine = Machine((80 * GIB,), capability=90, samplers=("transformers",))
    assert fitted(load_config(model="x"), MODELS["Qwen3-4B"], machine).config.model.sampler == "transformers"


def test_the_line_says_what_and_why() -> None:
    whole, less = fit("Qwen3-4B", "h200-141"), fit("Qwen3-8B", "l40s-48")
    assert whole
    assert less
    assert less.line.count("\n") == 0
    assert less.line.startswith("Qwen3-8B: vllm on cuda, bfloat16 (fp8), groups of 16, completions of 4096 tokens, ")
    assert " of a GPU of 44.5 GiB; the first choice (bfloat16, completions of 8192 tokens, contexts of " in less.line
    small = fit("Qwen2.5-Coder-0.5B", "h100-80")
    assert small
    assert small.line.endswith("of a GPU of 79.1 GiB; nothing had to be given up")


@pytest.mark.parametrize(
    ("model", "machine", "settings", "said"),
    [
        ("Qwen3-32B", "l4-24", [], "what fits: -m Qwen/Qwen3-14B there, or Qwen3-32B on a"),
        ("Qwen3-8B", "cpu-16", [], "what fits: -m Qwen/Qwen3-1.7B there, or Qwen3-8B on cpu-32"),
        ("Llama-3.3-70B", "l40s-48", [], "Llama-3.3-70B on h100-80"),
        ("Qwen3-8B", "l4-24", ["model.quantization=none"], "what fits: model.quantization=nf4, or "),
        ("Qwen3-8B", "l4-24", ["sampling.max_tokens=30000"], "what fits: sampling.max_tokens="),
    ],
)
def test_what_fits_nowhere_names_the_nearest_that_does(
    model: str, machine: str, settings: list[str], said: str
) -> None:
    with pytest.raises(UserError) as error:
        fitted(load_config(None, settings, model=model), MODELS[model], machine_named(machine))
    assert said in str(error.value)
    assert f"{model} does not fit " in str(error.value)
    assert "\n" not in str(error.value)


def test_settings_that_somebody_has_all_set_are_not_refused() -> None:
    """But it is said that they do not fit."""
    whole = fit("Qwen3-32B", "h200-141")
    assert whole
    found = fitted(Config.model_validate(whole.config.model_dump()), MODELS["Qwen3-32B"], machine_named("l4-24"))
    assert found.memory is not None
    assert not found.memory.fits
    assert "DOES NOT FIT" in found.line


def test_lengths_follow_the_model_and_what_is_set() -> None:
    short = fit("TinyLlama-1.1B", "h100-80")
    assert short
    sampling, room = short.config.sampling, short.config.reprompt.max_reprompt_len
    assert (sampling.max_tokens, sampling.max_prompt_len, room, short.config.model.max_model_len) == (
        1024,
        1024,
        1024,
        2048,
    )
    small = load_config(None, ["model.max_model_len=1024", "sampling.max_tokens=24"], model="x")
    found = fitted(small, MODELS["SmolLM2-135M"], machine_named("cpu-16")).config
    assert (found.sampling.max_prompt_len, found.reprompt.max_reprompt_len) == (1000, 1000)
    with pytest.raises(UserError, match=r"sampling\.max_tokens=9000 leaves no room for a prompt in the 8192 tokens"):
        fitted(
            load_config(None, ["sampling.max_tokens=9000"], model="x"), MODELS["SmolLM2-135M"], machine_named("cpu-16")
        )
    with pytest.raises(UserError, match=r"the 1024 tokens that model\.max_model_len allows"):
        fitted(small.changed("sampling", max_tokens=1024), MODELS["SmolLM2-135M"], machine_named("cpu-16"))


def test_a_model_of_unknown_shape_is_not_checked_and_says_so() -> None:
    found = fitted(load_config(model="x"), {"model_type": "mamba", "vocab_size": 5}, machine_named("h100-80"))
    assert (found.config.model.sampler, found.memory) == ("vllm", None)
    assert "memory is not known: the model's config.json has no 'num_attention_heads'" in found.line


def test_the_bundled_model_stays_as_its_configuration_says() -> None:
    config = load_config("micro")
    for machine in (machine_named("h100-80"), Machine(memory=16 * GIB, bfloat16=True)):
        found = fitted(config, {**MODELS["SmolLM2-135M"], "vocab_size": 640}, machine).config
        assert (found.model, found.sampling, found.reprompt) == (
            config.model.model_copy(update={"tensor_parallel_size": 1, "quantization": "none"}),
            config.sampling,
            config.reprompt,
        )


def test_the_most_demanding_method_decides() -> None:
    assert hungriest(METHODS.values()).name.startswith("multi-turn+")
    assert hungriest([METHODS["best-of-k"], METHODS["sdpo"], METHODS["multi-turn"]]).name == "sdpo"


def test_machines_have_names() -> None:
    assert machine_named("cpu-16").memory == 16e9
    assert machine_named("2xrtx4090-24").gpus == (machine_named("rtx4090-24").gpus[0],) * 2
    assert str(machine_named("3xl4-24")) == "3 GPUs of 22.0 GiB"
    for name in ("voodoo2", "0xh100-80", "cpu-", "h100"):
        with pytest.raises(UserError, match=r"is known; choose one of h200-141, .* as in 2xh100-80, or cpu-16"):
            machine_named(name)
    assert all(gib < float(name.rpartition("-")[2]) for name, (gib, _) in GPUS.items())


def test_this_machine_is_examined() -> None:
    found = this_machine()
    assert found.memory > GIB
    assert "transformers" in found.samplers


@pytest.mark.parametrize(("model", "settings"), [(smollm2, []), (smollm2, ["distillation.checkpoint_over=0"])])
@pytest.mark.slow
def test_the_planned_peak_is_the_measured_one(model: Callable[[], Path], settings: list[str]) -> None:
    """Of a whole step at its limits, in a process of its own: within 15 %."""
    limits = ["sampling.group_size=4", "sampling.max_tokens=192", "sampling.max_prompt_len=320"]
    command = [sys.executable, "-m", "tests.peak", str(model()), *limits, "reprompt.max_reprompt_len=512", *settings]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["planned"] == pytest.approx(found["peak"], rel=0.15), found


if __name__ == "__main__":
    print(table())
