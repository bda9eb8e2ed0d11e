"""The gradient step: what must not change it, what must not move, and that it teaches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch  # noqa: TID253
from safetensors.torch import save_file
from torch import Tensor  # noqa: TID253

from tests.loss_reference import distillation_loss
from tests.tiny import write_model
from ttsd.backbone import generate
from ttsd.config import Config, Lora
from ttsd.errors import InfrastructureError, UserError
from ttsd.nouns import Example, Prompt
from ttsd.training import losses
from ttsd.training.rows import Weighted, weighted
from ttsd.training.state import GRAD_CLIP, _read
from ttsd.training.token_stats import TokenStats
from ttsd.training.trainer import Trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


def trainer(folder: Path, **sections: dict[str, Any]) -> Trainer:
    lora = {"rank": 4, "alpha": 8.0, "lr": 1e-2} | sections.pop("lora", {})
    model = {"dtype": "float32"} | sections.pop("model", {})
    made = Trainer(str(folder), Config.model_validate({"model": model, "lora": lora, **sections}))
    made.create("q", seed=1)
    return made


def ids(count: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(3, 259, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


@pytest.fixture(scope="module")
def examples(folder: Path) -> list[Example]:
    """A group of six of different lengths; two share a teacher's prompt, the last has none."""
    made, prompt = trainer(folder), ids(40, 0)
    drawn = generate(made.base, None, [prompt] * 6, max_tokens=25, stop_token_ids=tuple(range(3, 20)), seed=0)
    return [
        Example(
            attempt, prompt, tokens, logprobs,
            None if attempt == 6 else Prompt((*prompt[:30], *ids(20, min(attempt, 4)), *prompt[30:])),
        )
        for attempt, (tokens, logprobs, _) in enumerate(drawn, start=1)
    ]  # fmt: skip


def per_token(made: Trainer, name: str, example: Example) -> tuple[list[float], list[float]]:
    """Returns student's and teacher's log-probabilities of the example's tokens; the teacher's may be empty."""
    student = made.logprobs(name, example.prompt_ids, example.completion_ids)
    if example.teacher is None:
        return student, []
    with torch.no_grad():
        of_teacher = made._teacher_logits(made._learners[name], [Weighted(example, 1.0, 0.0)], TokenStats())
        ids = torch.tensor(example.completion_ids)
        return student, losses.log_probs_at(of_teacher(slice(None)), ids[:, None])[:, 0].tolist()


def rewarded(examples: Sequence[Example], right: int = 2) -> list[Example]:
    """The same attempts, learned from by their rewards."""
    return [replace(example, teacher=None, reward=float(example.attempt == right)) for example in examples]


def weights(made: Trainer, name: str = "q") -> Tensor:
    return made._learners[name].student.values.clone()


def state(made: Trainer) -> list[Tensor]:
    question = made._learners["q"]
    assert question.teacher is not None
    kept = (question.student.values, question.teacher.values, question.mean, question.square)
    return [*(tensor.clone() for tensor in kept), torch.tensor(question.updates)]


def moved(folder: Path, examples: Sequence[Example], steps: int = 2, **sections: Any) -> tuple[Tensor, list[float]]:
    """Student weights after some steps and every step's loss and gradient norm."""
    made = trainer(folder, **sections)
    found = [made.step("q", examples) for _ in range(steps)]
    return weights(made), [metrics[key] for metrics in found for key in ("loss", "grad_norm")]


@pytest.mark.parametrize(
    "distillation",
    [
        {"token_budget": 1},
        {"token_budget": 150},
        {"checkpoint_over": 0},
        {"checkpoint_over": 100, "token_budget": 100},
    ],
)
def test_how_the_work_is_cut_is_invisible(folder: Path, examples: list[Example], distillation: dict[str, Any]) -> None:
    for batch in (examples, rewarded(examples)):
        whole = moved(folder, batch)
        cut = moved(folder, batch, distillation=distillation)
        torch.testing.assert_close(cut[1], whole[1], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(cut[0], whole[0], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize(("over", "again"), [(0, 1.0), (0.5, 0.5), (10, 0.0)])
def test_layers_beyond_what_is_kept_are_computed_again(
    folder: Path, examples: list[Example], over: float, again: float
) -> None:
    """`over`: in row lengths; `again`: share of the layers."""
    row = trainer(folder).step("q", examples)["tokens/student"]
    made = trainer(folder, distillation={"checkpoint_over": int(over * row)})
    layers, counts = made.base.model.get_decoder().layers, list[bool]()
    for layer in layers:
        layer.mlp.register_forward_pre_hook(lambda *_: counts.append(torch.is_grad_enabled()))
    for _ in range(2):
        made.step("q", examples)
    assert sum(counts) == 2 * len(layers) * (1 + again)


@pytest.mark.parametrize("token_budget", [100, 100_000])
def test_a_step_leaves_what_teacher_and_student_made_of_each_token(
    folder: Path, examples: list[Example], token_budget: int
) -> None:
    made = trainer(folder, distillation={"token_budget": token_budget})
    made.step("q", examples)
    scores = {example.attempt: per_token(made, "q", example) for example in examples if example.teacher}
    made.step("q", examples)
    found = made.snapshot("q").token_advantages
    assert found.keys() == scores.keys()
    for attempt, (student, teacher) in scores.items():
        assert found[attempt] == pytest.approx([t - s for s, t in zip(student, teacher, strict=True)], abs=1e-4)
    made.step("q", rewarded(examples))
    assert made.snapshot("q").token_advantages == {}


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_loss_is_that_of_plain_padded_forwards(folder: Path, examples: list[Example], temperature: float) -> None:
    """Every example on its own by plain transformers, whole logits, padded to a batch."""
    made = trainer(folder, sampling={"temperature": temperature})
    made.step("q", examples)
    taught = [example for example in examples if example.teacher is not None]
    length = max(len(example.completion_ids) for example in taught)

    def logits(prompt: tuple[int, ...], example: Example) -> Tensor:
        count = len(example.completion_ids)
        read = made.base.model(input_ids=torch.tensor([(*prompt, *example.completion_ids[:-1])])).logits[0, -count:]
        return torch.cat([read / temperature, torch.zeros(length - count, read.shape[-1])])

    def padded(values: Sequence[float]) -> list[float]:
        return [*values, *[0] * (length - len(values))]

    question = made._learners["q"]
    with torch.no_grad():
        with made.base.attached(question.student):
            student = torch.stack([logits(example.prompt_ids, example) for example in taught])
        with made.base.attached(question.teacher):
            teacher = torch.stack(
                [logits(example.teacher.token_ids if example.teacher else (), example) for example in taught]
            )
    token_ids = torch.tensor([padded(example.completion_ids) for example in taught]).long()
    sampler = torch.tensor([padded(example.sampler_logprobs) for example in taught])
    sampled = student.log_softmax(-1).gather(-1, token_ids[..., None])[..., 0]
    mask = torch.tensor([padded([1] * len(example.completion_ids)) for example in taught])
    weights = (sampled - sampler).exp().clamp(max=2.0)
    truth = distillation_loss(student, teacher, token_ids, mask, alpha=1.0, topk=20, clip=5.0, weights=weights)
    assert made.step("q", examples)["loss"] == pytest.approx(truth.item(), rel=1e-4)


def test_nothing_to_teach_moves_nothing(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder)
    made.step("q", examples)
    before = state(made)
    metrics = made.step("q", [replace(example, teacher=None) for example in examples])
    assert metrics["updated"] == metrics["loss"] == metrics["tokens"] == 0
    torch.testing.assert_close(state(made), before, rtol=0, atol=0)
    assert made.step("q", [])["updated"] == 0


def test_a_reprompt_that_says_nothing_gives_no_loss(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder)
    metrics = made.step("q", [replace(example, teacher=Prompt(example.prompt_ids)) for example in examples])
    assert metrics["loss"] == pytest.approx(0, abs=1e-9)
    assert metrics["grad_norm"] == pytest.approx(0, abs=1e-6)


def test_only_the_adapter_learns(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder)
    base = {name: tensor.clone() for name, tensor in made.base.model.state_dict().items()}
    start = weights(made)
    losses = [made.step("q", examples)["loss"] for _ in range(20)]
    assert all(torch.equal(tensor, base[name]) for name, tensor in made.base.model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in made.base.model.parameters())
    assert not torch.equal(weights(made), start)
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("kind", ["ema", "trust-region", "frozen"])
def test_every_regularised_teacher_draws_the_student_to_itself(
    folder: Path, examples: list[Example], kind: str
) -> None:
    made = trainer(folder, teacher={"teacher_regularization": kind, "teacher_update_rate": 0.1})
    example = examples[0]
    student, teacher = per_token(made, "q", example)
    for _ in range(10):
        made.step("q", [example])
    after, _ = per_token(made, "q", example)

    def distance(values: list[float]) -> float:
        return sum((value - wanted) ** 2 for value, wanted in zip(values, teacher, strict=True))

    assert distance(after) < distance(student)
    assert per_token(made, "q", replace(example, teacher=None)) == (after, [])


def test_a_live_teacher_is_the_student_with_the_teachers_prompt(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder, teacher={"teacher_regularization": "live"})
    made.step("q", examples)
    example = examples[0]
    assert example.teacher is not None
    student = made.logprobs("q", example.teacher.token_ids, example.completion_ids)
    assert per_token(made, "q", example)[1] == pytest.approx(student, abs=1e-5)


def test_the_mean_teacher_starts_as_a_copy_and_follows_at_its_rate(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder, teacher={"teacher_update_rate": 0.25})
    start = weights(made)
    made.step("q", examples)
    torch.testing.assert_close(state(made)[1], start.lerp(weights(made), 0.25))


def test_a_trust_region_teacher_interpolates_logits(folder: Path, examples: list[Example]) -> None:
    found = {}
    for rate in (0.0, 0.5, 1.0):
        made = trainer(folder, teacher={"teacher_regularization": "trust-region", "teacher_update_rate": rate})
        made.perturb("q", seed=0, scale=0.1)
        question = made._learners["q"]
        found[rate] = made._teacher_logits(question, weighted(examples)[:2], TokenStats())(slice(None))
    torch.testing.assert_close(found[0.5], (found[0.0] + found[1.0]) / 2, rtol=1e-4, atol=1e-4)
    assert (found[0.0] - found[1.0]).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["ema", "frozen"])
def test_saving_and_loading_goes_on_bit_for_bit(
    folder: Path, examples: list[Example], tmp_path: Path, kind: str
) -> None:
    made = trainer(folder, teacher={"teacher_regularization": kind})
    for _ in range(3):
        made.step("q", examples)
    made.snapshot("q").write(tmp_path / "state")
    other = trainer(folder, teacher={"teacher_regularization": kind})
    other.load("elsewhere", tmp_path / "state")
    for _ in range(2):
        assert other.step("elsewhere", examples) == made.step("q", examples)
    assert torch.equal(weights(other, "elsewhere"), weights(made))


def test_a_state_of_other_settings_is_refused(folder: Path, tmp_path: Path) -> None:
    trainer(folder).snapshot("q").write(tmp_path / "state")
    with pytest.raises(UserError, match="saved under"):
        trainer(folder, lora={"rank": 8}).load("q", tmp_path / "state")


def test_questions_on_one_base_do_not_touch_each_other(folder: Path, examples: list[Example]) -> None:
    alone, _ = moved(folder, examples)
    made = trainer(folder)
    made.create("other", seed=5)
    for _ in range(2):
        made.step("q", examples)
        made.step("other", examples[:2])
    torch.testing.assert_close(weights(made), alone, rtol=0, atol=0)
    made.drop("other")
    assert weights(made).shape == alone.shape


def test_the_exported_adapter_is_the_student(folder: Path, examples: list[Example], tmp_path: Path) -> None:
    made = trainer(folder)
    made.step("q", examples)
    made.export("q", tmp_path / "adapter")
    assert torch.equal(made.base.load_adapter(tmp_path / "adapter").values, weights(made))


def test_a_fresh_adapter_says_what_the_base_says(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder)
    example = examples[0]
    assert made.logprobs("q", example.prompt_ids, example.completion_ids) == pytest.approx(
        made.logprobs(None, example.prompt_ids, example.completion_ids), abs=1e-5
    )
    metrics = made.step("q", examples)
    assert metrics["logprob_gap/max"] < 1e-4
    assert metrics["tis_clip_fraction"] == 0
    assert metrics["kl/base"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_point_the_same_way(folder: Path, examples: list[Example], dtype: str) -> None:
    """The update goes the way of float32's, and the adapter stays in float32."""
    gradients = []
    for kind in ("float32", dtype):
        made = trainer(folder, model={"dtype": kind})
        start = weights(made)
        metrics = made.step("q", examples)
        gradients.append(made._learners["q"].mean)
        assert (weights(made) - start).dtype == torch.float32
        assert metrics["updated"] == 1
        assert metrics["logprob_gap/mean"] < 0.1
    exact, rounded = gradients
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.97
    assert rounded.norm() == pytest.approx(float(exact.norm()), rel=0.1)


def test_tokens_count_by_how_likely_the_student_finds_them(folder: Path, examples: list[Example]) -> None:
    """Truncated importance weights: half as likely halves the gradient; from twice as likely on it is doubled."""

    def gradient(shift: float) -> float:
        made = trainer(folder)
        honest = made.logprobs("q", examples[0].prompt_ids, examples[0].completion_ids)
        sampled = tuple(value - shift for value in honest)
        return made.step("q", [replace(examples[0], sampler_logprobs=sampled)])["grad_norm"]

    plain = gradient(0.0)
    assert gradient(-math.log(2)) == pytest.approx(plain / 2, rel=1e-4)
    assert gradient(5.0) == pytest.approx(plain * 2, rel=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_a_four_bit_base_stays_as_it_is_and_points_the_same_way(folder: Path, examples: list[Example]) -> None:
    pytest.importorskip("bitsandbytes", reason="four-bit bases need bitsandbytes")
    gradients = []
    for kind in ("none", "nf4"):
        made = trainer(folder, model={"quantization": kind})
        before = {name: value.clone() for name, value in made.base.model.state_dict().items()}
        assert made.step("q", examples)["updated"] == 1
        after = made.base.model.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)
        gradients.append(made._learners["q"].mean)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.8


def test_grpo_makes_the_rewarded_attempt_likelier(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder, lora={"lr": 1e-3})

    def likelihoods() -> list[float]:
        return [sum(made.logprobs("q", example.prompt_ids, example.completion_ids)) for example in examples]

    before = likelihoods()
    for _ in range(5):
        metrics = made.step("q", rewarded(examples))
    moves = [after - start for after, start in zip(likelihoods(), before, strict=True)]
    assert metrics["tokens/teacher"] == 0
    assert moves[1] == max(moves) > 0
    unmoved = made.step("q", rewarded(examples, right=9))
    assert unmoved["updated"] == 0


def test_distillation_and_rewards_add_up(folder: Path, examples: list[Example]) -> None:
    """A column may give both: each part of the loss is a mean over its own tokens."""
    one, other = examples[:3], rewarded(examples[3:5], right=4)
    gradients = []
    for batch in (one, other, [*one, *other]):
        made = trainer(folder)
        made.step("q", batch)
        gradients.append(made._learners["q"].mean.clone())
    torch.testing.assert_close(gradients[2], gradients[0] + gradients[1], rtol=1e-3, atol=1e-6)


def test_an_update_is_torchs_adamw_on_the_clipped_gradient(folder: Path) -> None:
    made = trainer(folder)
    question = made._learners["q"]
    parameter = torch.nn.Parameter(question.student.values.clone())
    optimizer = torch.optim.AdamW([parameter], lr=1e-2, weight_decay=0.1)
    for step in range(5):
        gradient = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        question.student.gradient.copy_(gradient)
        parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_([parameter], GRAD_CLIP)
        optimizer.step()
        assert question.learn(Lora(lr=1e-2, weight_decay=0.1), 0.1) == pytest.approx(float(norm))
    torch.testing.assert_close(question.student.values, parameter.data)


def test_a_gradient_that_is_not_finite_moves_nothing(folder: Path) -> None:
    made = trainer(folder)
    before = state(made)
    made._learners["q"].student.gradient[0] = float("nan")
    assert math.isnan(made._learners["q"].learn(Lora(), 0.1))
    torch.testing.assert_close(state(made), before, rtol=0, atol=0)


def test_a_step_that_broke_off_leaves_nothing_behind(folder: Path, examples: list[Example]) -> None:
    made = trainer(folder)
    made._learners["q"].student.gradient.fill_(7.0)
    made.step("q", examples)
    torch.testing.assert_close(weights(made), moved(folder, examples, steps=1)[0], rtol=0, atol=0)


def warm(folder: Path, tmp_path: Path, **sections: Any) -> Trainer:
    """A trainer whose questions start from an adapter that is far from the base."""
    first = trainer(folder)
    first.perturb("q", 5, 0.3)
    first.export("q", tmp_path / "init")
    lora = {"init": str(tmp_path / "init")} | sections.pop("lora", {})
    return trainer(folder, lora=lora, **sections)


def test_a_question_starts_from_the_adapter_of_lora_init_and_the_distance_is_measured_from_there(
    folder: Path, examples: list[Example], tmp_path: Path
) -> None:
    made = warm(folder, tmp_path)
    pair = examples[0].prompt_ids, examples[0].completion_ids
    start = made.base.load_adapter(tmp_path / "init").values
    assert torch.equal(weights(made), start)
    assert torch.equal(state(made)[1], start)  # the teacher's average
    assert made.logprobs("q", *pair) != pytest.approx(made.logprobs(None, *pair), abs=0.1)
    assert made.step("q", examples)["kl/base"] == pytest.approx(0, abs=1e-6)
    assert made.step("q", examples)["kl/base"] > 1e-5
    made.export("q", tmp_path / "learned")
    assert torch.equal(made.base.load_adapter(tmp_path / "learned").values, weights(made))
    made.create("q", seed=9)
    assert torch.equal(weights(made), start)


@pytest.mark.parametrize("teacher", ["frozen", "trust-region"])
def test_a_teacher_without_weights_of_its_own_starts_from_there_too(
    folder: Path, examples: list[Example], tmp_path: Path, teacher: str
) -> None:
    made = warm(folder, tmp_path, teacher={"teacher_regularization": teacher})
    own = replace(examples[0], teacher=Prompt(examples[0].prompt_ids))
    student, taught = per_token(made, "q", own)
    assert taught == pytest.approx(student, abs=1e-5)


def test_an_adapter_of_another_shape_or_model_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"set lora\.rank=4 and lora\.alpha=8"):
        warm(folder, tmp_path, lora={"rank": 2})
    other = write_model(tmp_path / "other", small=False)
    warm(other, tmp_path)
    with pytest.raises(UserError, match="is for another model"):
        trainer(folder, lora={"init": str(tmp_path / "init")})


@pytest.mark.parametrize("token_budget", [1, 100_000])
def test_imitation_is_cross_entropy_on_the_completions(folder: Path, token_budget: int) -> None:
    pairs = [(ids(30, 1), ids(12, 2)), (ids(30, 1), ids(5, 3)), (ids(9, 4), ids(7, 5))]
    made = trainer(folder, distillation={"token_budget": token_budget, "rollout_is_threshold": None})
    before = weights(made)
    expected = -sum(sum(made.logprobs("q", *pair)) for pair in pairs) / 24
    assert made.imitate("q", pairs, 0.0) == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(weights(made), before)
    losses = [made.imitate("q", pairs, 1e-2) for _ in range(30)]
    assert losses[0] == pytest.approx(expected, abs=1e-4)
    assert losses[-1] < losses[0] - 1


def test_the_gradient_of_imitation_is_that_of_plain_cross_entropy(folder: Path) -> None:
    prompt, completion = ids(30, 1), ids(12, 2)
    made = trainer(folder, distillation={"rollout_is_threshold": None})
    made.perturb("q", 3, 0.1)
    made.imitate("q", [(prompt, completion)], 0.0)
    found = made._learners["q"].student.gradient.clone()
    student = made._learners["q"].student
    student.gradient.zero_()
    with made.base.attached(student, learns=True):
        logits = made.base.model(input_ids=torch.tensor([(*prompt, *completion[:-1])])).logits[0, -len(completion) :]
        torch.nn.functional.cross_entropy(logits, torch.tensor(completion)).backward()
    clipped = student.gradient * min(1.0, GRAD_CLIP / float(student.gradient.norm()))
    torch.testing.assert_close(found, clipped, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("part", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"updates": 1', b"[]", b"\xff" * 100])
def test_a_damaged_state_is_one_sentence_with_its_folder_and_a_remedy(
    part: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "state.json").write_text('{"updates": 1}')
    tensors = {name: torch.zeros(1) for name in ("student", "mean", "square")}
    save_file(tensors, tmp_path / "state.safetensors")
    (tmp_path / part).write_bytes(content)
    with pytest.raises(InfrastructureError, match="or start another run with --fresh") as refused:
        _read(tmp_path, "cpu")
    assert repr(str(tmp_path)) in str(refused.value)
