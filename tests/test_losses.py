"""The losses against a float64 reference written from the paper's equations, and by their properties."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch  # noqa: TID253
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor  # noqa: TID253

from tests.commands import ROOT
from tests.loss_reference import distillation_loss as reference
from ttsd.training import losses
from ttsd.training.losses import Divergence, chunked_distillation_loss

torch.set_num_threads(1)

ALPHAS = (0.0, 0.3, 0.5, 1.0)
Batch = dict[str, Tensor]


def make(seed: int, batch: int, tokens: int, vocab: int, hidden: int = 12, spread: float = 1.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    mask = torch.rand(batch, tokens, generator=generator) < 0.7
    mask[0, 0] = True
    student = normal(batch, tokens, hidden)
    return {
        "student": student,
        "teacher": student + spread * normal(batch, tokens, hidden),
        "head": normal(vocab, hidden) * 0.6,
        "token_ids": torch.randint(vocab, (batch, tokens), generator=generator),
        "mask": mask.float(),
        "old_logprobs": -4 * torch.rand(batch, tokens, generator=generator),
        "rollout_is_weights": 2 * torch.rand(batch, tokens, generator=generator),
    }


def relative(found: Tensor, wanted: Tensor) -> float:
    return float(((found.double() - wanted).norm() / wanted.norm().clamp(min=1e-9)).detach())


def options(alpha: float, topk: int | None, tail: bool) -> dict[str, Any]:
    return {"alpha": alpha, "distillation_topk": topk, "distillation_add_tail": tail}


def of_logits(student: Tensor, teacher: Tensor, batch: Batch, **settings: Any) -> Tensor:
    """Returns the product's loss of logits: an identity projects them."""
    head = torch.eye(student.shape[-1], dtype=student.dtype)
    return chunked_distillation_loss(
        student, teacher, head, batch["token_ids"], batch["mask"], chunk_tokens=4, **settings
    )


@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize(("topk", "tail"), [(1, True), (20, True), (20, False), (40, True), (40, False), (None, True)])
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("mode", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
def test_value_and_gradient_agree_with_the_float64_reference(
    alpha: float, topk: int | None, tail: bool, clipped: bool, mode: Any
) -> None:
    for seed in range(2):
        batch = make(seed, batch=3, tokens=5 + 4 * seed, vocab=40)
        ids, mask, old, factors = (batch[name] for name in ("token_ids", "mask", "old_logprobs", "rollout_is_weights"))
        wide = {name: batch[name].double().requires_grad_() for name in ("student", "teacher", "head")}
        clips = {"is_clip": 2.0, "old_logprobs": old} if clipped else {}
        truth = reference(
            wide["student"] @ wide["head"].T, wide["teacher"] @ wide["head"].T, ids, mask, alpha=alpha, topk=topk,
            tail=tail, clip=1.0 if clipped else None, weights=factors if clipped else None, mode=mode, **clips,
        )  # fmt: skip
        truth_gradients = torch.autograd.grad(truth, (wide["student"], wide["head"]))
        student, head = batch["student"].clone().requires_grad_(), batch["head"].clone().requires_grad_()
        loss = chunked_distillation_loss(
            student, batch["teacher"], head, ids, mask, chunk_tokens=4, loss_agg_mode=mode,
            log_ratio_clip=1.0 if clipped else None, rollout_is_weights=factors if clipped else None, **clips,
            **options(alpha, topk, tail),
        )  # fmt: skip
        gradients = torch.autograd.grad(loss, (student, head))
        assert relative(loss, truth) < 1e-6
        assert all(relative(g, t) < 1e-6 for g, t in zip(gradients, truth_gradients, strict=True))


def test_sampled_token_mode_is_the_score_function_estimate() -> None:
    batch = make(0, 2, 6, 30)
    student = (batch["student"] @ batch["head"].T).double().requires_grad_()
    teacher = (batch["teacher"] @ batch["head"].T).double()
    loss = of_logits(student, teacher, batch, full_logit_distillation=False, **options(1.0, None, True))
    ids = batch["token_ids"][..., None]
    s, t = (x.log_softmax(-1).gather(-1, ids)[..., 0] for x in (student, teacher))
    truth = ((s - t).detach() * s * batch["mask"]).sum() / batch["mask"].sum()
    torch.testing.assert_close(loss, truth)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (loss, truth)))


def rows(seed: int, count: int = 6, vocab: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    batch = make(seed, 1, count, vocab)
    student, teacher = ((batch[name] @ batch["head"].T)[0] for name in ("student", "teacher"))
    return student, teacher, batch["token_ids"][0]


forms = st.builds(
    Divergence,
    alpha=st.sampled_from(ALPHAS),
    topk=st.sampled_from([1, 3, 30, None]),
    add_tail=st.booleans(),
)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 99), forms)
def test_never_negative_and_zero_where_both_agree(seed: int, form: Divergence) -> None:
    student, teacher, ids = rows(seed)
    assert (losses.token_divergence(student, teacher, ids, form)[0] >= -1e-12).all()
    student.requires_grad_()
    same = losses.token_divergence(student, student, ids, form)[0]
    torch.testing.assert_close(same, torch.zeros_like(same), rtol=0, atol=1e-12)
    (gradient,) = torch.autograd.grad(same.sum(), student)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.sampled_from(ALPHAS), st.booleans())
def test_top_v_is_the_whole_vocabulary(seed: int, alpha: float, tail: bool) -> None:
    student, teacher, ids = rows(seed)
    whole = losses.token_divergence(student, teacher, ids, Divergence(alpha, None, tail))[0]
    torch.testing.assert_close(losses.token_divergence(student, teacher, ids, Divergence(alpha, 30, tail))[0], whole)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 99), st.sampled_from(ALPHAS), st.integers(1, 28))
def test_grouping_outcomes_into_a_tail_can_only_lose_divergence(seed: int, alpha: float, topk: int) -> None:
    student, teacher, ids = rows(seed)
    fine, coarse = (
        losses.token_divergence(student, teacher, ids, Divergence(alpha, k, True))[0] for k in (topk + 1, topk)
    )
    tails = [1 - logits.softmax(-1).gather(-1, student.topk(topk + 1).indices).sum(-1) for logits in (student, teacher)]
    clear = torch.stack(tails).amin(dim=0) > 1e-6  # a tail has at least 1e-7, which adds mass to smaller ones
    assert (coarse <= fine + 1e-6)[clear].all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.sampled_from(ALPHAS), st.sampled_from([3, None]))
def test_what_is_masked_and_the_batch_order_do_not_matter(seed: int, alpha: float, topk: int | None) -> None:
    batch = make(seed, 3, 5, 20)
    student, teacher = batch["student"] @ batch["head"].T, batch["teacher"] @ batch["head"].T
    loss = of_logits(student, teacher, batch, **options(alpha, topk, True))
    order = torch.tensor([2, 0, 1])
    moved = {name: batch[name][order] for name in ("token_ids", "mask")}
    spoilt = student.masked_fill(batch["mask"][..., None] == 0, float("nan"))
    again = of_logits(spoilt[order], teacher[order], moved, **options(alpha, topk, True))
    torch.testing.assert_close(again, loss)


def test_a_bounded_teacher_gives_a_bounded_loss_and_clips_the_advantage() -> None:
    student = torch.tensor([[0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[30.0, -30.0]], dtype=torch.float64)
    value = losses.token_divergence(student, teacher, torch.tensor([0]), Divergence(1.0, None, True, 5.0))[0]
    (gradient,) = torch.autograd.grad(value.sum(), student)
    advantage = torch.tensor([torch.tensor(2.0).log(), -5.0], dtype=torch.float64)  # log(teacher/student), second cut
    probability = torch.tensor([0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(value[0], -(probability * advantage).sum())
    torch.testing.assert_close(gradient[0], -probability * (advantage - (probability * advantage).sum()))


def test_the_gradient_reaches_the_student_only() -> None:
    batch = make(0, 2, 4, 20)
    student, teacher = batch["student"].requires_grad_(), batch["teacher"].requires_grad_()
    loss = chunked_distillation_loss(
        student, teacher, batch["head"], batch["token_ids"], batch["mask"], chunk_tokens=3, **options(0.5, 5, True)
    )
    torch.autograd.backward(loss)
    assert student.grad is not None
    assert teacher.grad is None


@pytest.mark.parametrize("chunk_tokens", [1, 3, 1000])
def test_chunk_size_is_invisible(chunk_tokens: int) -> None:
    batch = make(1, 3, 7, 25)
    found = []
    for chunk in (chunk_tokens, 8):
        student = batch["student"].clone().requires_grad_()
        loss = chunked_distillation_loss(
            student, batch["teacher"], batch["head"], batch["token_ids"], batch["mask"], chunk_tokens=chunk,
            **options(1.0, 5, True),
        )  # fmt: skip
        found.append((loss.detach(), *torch.autograd.grad(loss * 3, student)))
    torch.testing.assert_close(*found)


def test_an_empty_mask_gives_zero_loss_and_zero_gradient() -> None:
    batch = make(0, 2, 4, 20)
    student = batch["student"].requires_grad_()
    loss = chunked_distillation_loss(
        student, batch["teacher"], batch["head"], batch["token_ids"], torch.zeros(2, 4), chunk_tokens=2,
        **options(1.0, 5, True),
    )  # fmt: skip
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


def test_bfloat16_logits_are_compared_in_float32() -> None:
    student, teacher, ids = (x.bfloat16() if x.is_floating_point() else x for x in rows(0))
    narrow, wide = (
        losses.token_divergence(s, t, ids, Divergence(1.0, 5, True))[0]
        for s, t in ((student, teacher), (student.double(), teacher.double()))
    )
    assert narrow.dtype == torch.float32
    torch.testing.assert_close(narrow.double(), wide, rtol=1e-4, atol=1e-6)


def test_one_renormalised_outcome_teaches_nothing() -> None:
    student, teacher, ids = rows(0)
    assert not losses.token_divergence(student, teacher, ids, Divergence(1.0, 1, False))[0].any()


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ({"alpha": 1.5}, "alpha=1.5"),
        ({"topk": 0}, "distillation_topk=0"),
        ({"alpha": 0.5, "sampled_token": True}, "only reverse KL"),
    ],
)
def test_impossible_divergences_are_refused(arguments: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        Divergence(**arguments)


def test_is_clip_without_old_logprobs_is_refused() -> None:
    batch = make(0, 1, 2, 5)
    logits = batch["student"] @ batch["head"].T
    with pytest.raises(ValueError, match="old_logprobs"):
        of_logits(logits, logits, batch, is_clip=2.0, **options(1.0, 2, True))


def test_importance_weights_are_truncated_and_bounded() -> None:
    new, old = torch.tensor([-1.0, -1.0, -1.0, 0.0]), torch.tensor([-1.0, -3.0, 0.0, -1e9])
    torch.testing.assert_close(losses.importance_weights(new, old, 2.0), torch.tensor([1.0, 2.0, 0.36787944, 2.0]))


def test_advantages_sum_to_zero_and_vanish_where_all_rewards_are_equal() -> None:
    advantages = losses.group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    torch.testing.assert_close(advantages.sum(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(advantages[0], torch.tensor(3.0).sqrt())
    assert not losses.group_advantages(torch.ones(4)).any()


def test_policy_gradient_is_minus_advantage_times_score() -> None:
    logprobs = torch.tensor([-1.0, -2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(losses.policy_gradient(logprobs, torch.tensor([2.0, -1.0])).sum(), logprobs)
    torch.testing.assert_close(gradient, torch.tensor([-2.0, 1.0]))


@given(st.floats(-5, 5), st.floats(-5, 5))
def test_distance_to_the_base_is_never_negative_and_pulls_back(student: float, base: float) -> None:
    logprob = torch.tensor([student], dtype=torch.float64, requires_grad=True)
    distance = losses.kl_to_base(logprob, torch.tensor([base], dtype=torch.float64))
    assert distance.item() >= -1e-15
    (gradient,) = torch.autograd.grad(distance.sum(), logprob)
    assert gradient.item() * (student - base) >= 0


def test_scripts_find_the_losses_in_the_package_which_loads_torch_only_then() -> None:
    script = """
import sys
import ttsd
print("torch" in sys.modules)
print(ttsd.losses.chunked_distillation_loss.__module__)
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "ttsd.training.losses"]
