"""Every setting there is; those of [model] are in `model.py`. The defaults are the best method known (docs/method.md):
the paper's loss, on LoRA, taken at the prompt that attempts are drawn from. `configs/paper.toml` is the paper's run.

Names and meanings follow the paper's own code where it has them, so that both can be read side by side. An unknown
key is an error; settings that contradict each other are refused with a sentence.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from ttsd.config.model import Model
from ttsd.config.setting import Section, setting
from ttsd.prompts import FEEDBACK_TEMPLATE, REPROMPT_TEMPLATE, SOLUTION_TEMPLATE

# Settings of earlier versions, and why they are gone. In a record they are ignored.
RETIRED = {
    "distillation.is_clip": "each group is used for one update, so there is no ratio of new to old policy to cap",
}

# What runs did before a setting was recorded, where that is not its default today.
UNRECORDED: dict[str, dict[str, Any]] = {
    "sampling": {
        "group_size": 16,
        "teacher_fraction": 0.0,
        "round_size": None,
        "round_growth": 1.0,
        "reading_window": None,
    },
    "reprompt": {"student_reads": "question", "feedback_blocks": 1, "feedback_from": "group"},
}


class Sampling(Section):
    """How attempts are drawn."""

    group_size: int = setting(8, "attempts of one step", paper="number of rollouts", code="rollout.n", ge=1)
    max_tokens: int = setting(
        8192, "tokens of a completion at most", paper="max. response length", code="data.max_response_length", ge=1
    )
    max_prompt_len: int = setting(
        2048,
        "tokens of the question's prompt at most; a longer question is refused, never cut",
        paper="max. prompt length",
        code="data.max_prompt_length",
        ge=1,
    )
    temperature: float = setting(1.0, "sampling temperature", paper="temperature", code="rollout.temperature", gt=0)
    top_p: float = setting(1.0, "nucleus sampling: the share of probability kept", code="rollout.top_p", gt=0, le=1)
    teacher_fraction: float = setting(1.0, "share of a round that is drawn under a reprompt", ge=0, le=1)
    reading_window: int | None = setting(
        64,
        "newest attempts by which reading is weighed: a round reads the question alone while that passes more of the "
        "visible cases; none: every round reads",
        ge=1,
    )
    round_size: int | None = setting(
        8,
        "attempts drawn at once at most; each round's reprompts read the verdicts of the rounds before it; "
        "none: the whole group",
        ge=1,
    )
    round_growth: float = setting(
        0.25, "a round has this share of the verdicts known at most, where that is more than its least", gt=0, le=1
    )
    round_least: int = setting(
        1,
        "attempts drawn at once at least, while the group has so many left: 2 waits less often, for more attempts",
        ge=1,
    )
    pipeline: Literal["on-policy", "one-step-off"] = setting(
        "on-policy", "one-step-off: the next group is drawn, with the old adapter, while a step is taken"
    )


class Distillation(Section):
    """The loss (SDPO, sections 2 and 5)."""

    full_logit_distillation: bool = setting(
        True,
        "compare distributions; false: only the sampled token's log-probabilities",
        code="self_distillation.full_logit_distillation",
    )
    alpha: float = setting(
        1.0,
        "0 forward KL, 1 reverse KL, between: generalised JSD",
        paper="divergence",
        code="self_distillation.alpha",
        ge=0,
        le=1,
    )
    distillation_topk: int | None = setting(
        20,
        "the student's K most likely tokens are compared; none: the whole vocabulary",
        paper="top-K distillation",
        code="self_distillation.distillation_topk",
        ge=1,
    )
    distillation_add_tail: bool = setting(
        True,
        "what is outside the top K is one more outcome; false: both sides are renormalised on the top K",
        code="self_distillation.distillation_add_tail",
    )
    rollout_is: Literal["token", "none"] = setting(
        "token",
        "weight each token by trainer's / sampler's probability, to make up for their differences",
        code="algorithm.rollout_correction.rollout_is",
    )
    rollout_is_threshold: float = setting(
        2.0,
        "cap on that weight",
        paper="rollout IS clip",
        code="algorithm.rollout_correction.rollout_is_threshold",
        gt=0,
    )
    log_ratio_clip: float | None = setting(
        5.0, "bound on |log teacher - log student| of an outcome; none: no bound", paper="clip advantages", gt=0
    )
    loss_agg_mode: Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"] = setting(
        "token-mean", "how the tokens' losses become one number", code="loss_agg_mode"
    )
    grpo_weight: float = setting(0.0, "lambda of lambda * GRPO + (1 - lambda) * SDPO", paper="lambda", ge=0, le=1)
    kl_to_base: float = setting(0.0, "weight of the penalty KL(student || base)", ge=0)
    token_budget: int = setting(16384, "tokens of one micro-batch", code="ppo_max_token_len_per_gpu", ge=1)
    chunk_tokens: int = setting(256, "tokens whose vocabulary logits exist at once", ge=1)
    gradient_checkpointing: bool = setting(
        False,
        "compute activations again in the backward pass: less memory for one more forward pass",
        code="model.enable_gradient_checkpointing",
    )
    checkpoint_over: int = setting(
        0,
        "tokens whose activations are kept nevertheless; a larger micro-batch computes a share of its layers again",
        ge=0,
    )

    @model_validator(mode="after")
    def _sampled_token_is_reverse(self) -> Distillation:
        if not self.full_logit_distillation and self.alpha != 1.0:
            raise ValueError(
                f"alpha={self.alpha} needs whole distributions; use full_logit_distillation=true, or alpha=1"
            )
        return self


class Lora(Section):
    """The adapter and its optimizer (AdamW, constant rate, no warm-up). The paper trains all weights."""

    rank: int = setting(32, "rank of the adapter's matrices", code="model.lora_rank", ge=1)
    alpha: float = setting(64.0, "scale of the adapter, as alpha / rank", code="model.lora_alpha", gt=0)
    target_modules: Literal["all-linear"] | list[str] = setting(
        "all-linear", "layers that get an adapter: all-linear, or a list of their names", code="model.target_modules"
    )
    lr: float = setting(
        1e-5, "learning rate; the paper's 1e-6 is for all weights", paper="learning rate", code="optim.lr", gt=0
    )
    weight_decay: float = setting(0.0, "AdamW's decay", paper="weight decay", code="optim.weight_decay", ge=0)
    grad_clip: float = setting(1.0, "the gradient's norm at most", paper="gradient clip norm", code="grad_clip", gt=0)


class Teacher(Section):
    """Whose weights read the reprompt."""

    teacher_regularization: Literal["ema", "trust-region", "frozen", "live"] = setting(
        "ema",
        "ema: moving average of the student; trust-region: base and student mixed; frozen: the base; live: the student",
        paper="teacher regularization",
        code="self_distillation.teacher_regularization",
    )
    teacher_update_rate: float = setting(
        0.01,
        "ema: step towards the student; trust-region: the student's share of the mix",
        paper="teacher update rate",
        code="self_distillation.teacher_update_rate",
        ge=0,
        le=1,
    )


class Reprompt(Section):
    """What the teacher reads beside the question, and what a multi-turn chain reads."""

    max_reprompt_len: int = setting(
        10240,
        "tokens of a teacher's prompt at most; no more than the model has room for, where it is drawn from",
        code="self_distillation.max_reprompt_len",
        ge=1,
    )
    reprompt_truncation: Literal["left", "right", "error"] = setting(
        "right",
        "which end of demonstration and feedback goes when they are too long; never the question",
        code="self_distillation.reprompt_truncation",
    )
    student_reads: Literal["question", "reading"] = setting(
        "reading", "which prompt learns from an attempt: the question, or what that attempt had read"
    )
    reward: Literal["success", "visible-fraction"] = setting(
        "success", "of an attempt, for GRPO: 1 or 0, or the share of visible cases that it passed"
    )
    success_reward_threshold: float = setting(
        1.0,
        "share of the visible cases from which on an attempt counts as a demonstration",
        code="self_distillation.success_reward_threshold",
        ge=0,
        le=1,
    )
    dont_reprompt_on_self_success: bool = setting(
        False,
        "true: an attempt is never its own demonstration, so a run's only success gets no loss",
        code="self_distillation.dont_reprompt_on_self_success",
    )
    remove_thinking_from_demonstration: bool = setting(
        True, "show what follows the thinking only", code="self_distillation.remove_thinking_from_demonstration"
    )
    include_environment_feedback: bool = setting(
        True, "the teacher reads the judge's feedback", code="self_distillation.include_environment_feedback"
    )
    feedback_blocks: int = setting(
        6, "feedback texts that a teacher reads: its own attempt's, and those that add most to it", ge=1
    )
    feedback_from: Literal["run", "group"] = setting(
        "run", "whose texts those others are: run: any earlier attempt's of this run too"
    )
    feedback_shows_attempt: bool = setting(False, "the teacher reads the attempt above its own feedback")
    feedback_restates_cases: bool = setting(
        False, "failing cases are read as examples of the question, without what the attempt printed"
    )
    environment_feedback_only_without_solution: bool = setting(
        True,
        "feedback is shown only where there is no demonstration",
        code="self_distillation.environment_feedback_only_without_solution",
    )
    demonstrations_from: Literal["run", "group"] = setting("run", "run: any earlier success of this run")
    reprompt_template: str = setting(
        REPROMPT_TEMPLATE,
        "the teacher's prompt, of {prompt}, {solution} and {feedback}",
        code="self_distillation.reprompt_template",
    )
    solution_template: str = setting(
        SOLUTION_TEMPLATE,
        "its demonstration, of {successful_previous_attempt}",
        code="self_distillation.solution_template",
    )
    feedback_template: str = setting(
        FEEDBACK_TEMPLATE, "its feedback, of {feedback_raw}", code="self_distillation.feedback_template"
    )
    multi_turn_history: Literal["feedback", "attempt_and_feedback"] = setting(
        "feedback", "what a multi-turn chain reads of its earlier attempts"
    )
    multi_turn_max_prompt_len: int = setting(
        32000, "tokens of a multi-turn prompt at most; the oldest attempts go first", ge=1
    )
    multi_turn_window: int | None = setting(None, "earlier attempts spoken of at most; none: all", ge=1)
    multi_turn_chains: int = setting(1, "chains that share a run's attempts; one turn of each is drawn at once", ge=1)

    @model_validator(mode="after")
    def _placeholders(self) -> Reprompt:
        wanted = {
            "reprompt_template": ("{prompt}", "{solution}", "{feedback}"),
            "solution_template": ("{successful_previous_attempt}",),
            "feedback_template": ("{feedback_raw}",),
        }
        for name, placeholders in wanted.items():
            for placeholder in placeholders:
                if placeholder not in getattr(self, name):
                    raise ValueError(f"{name} lacks the placeholder {placeholder}; add it")
        return self


class JudgeSection(Section):
    """Which cases drive training, and what a program may use."""

    split: Literal["auto", "all", "half", "public"] = setting(
        "auto", "which cases drive training; auto: half for LiveCodeBench, all elsewhere"
    )
    split_seed: int = setting(0, "seed of the division into visible and hidden cases")
    cpu_seconds: float = setting(6.0, "processor time of a program on one case", code="TIME_LIMIT", gt=0)
    wall_seconds: float = setting(
        24.0, "time of a program on one case, waiting included; all its cases together may wait no longer", gt=0
    )
    comparison: Literal["question", "livecodebench"] = setting(
        "question", "question: outputs may differ as the statement grants; livecodebench: by the leaderboard's own rule"
    )
    memory_mib: int = setting(1024, "memory of a program, in MiB", ge=64)
    output_mib: int = setting(16, "output of a program on one case, in MiB", ge=1)
    slots: int | None = setting(
        None, "programs judged at once; none: a core each, less one if several runs train", ge=1
    )
    shuffle_feedback: bool = setting(
        False, "a control: feedback on programs names the expected outputs of other cases; verdicts stay right"
    )
    packages: list[str] = setting(
        ["numpy", "scipy", "networkx", "sympy", "mpmath", "sortedcontainers"],
        "packages that programs may import where they are installed; a program pays only for those that it mentions",
    )
    python: str | None = setting(None, "interpreter for solutions; none: the one that runs ttsd", min_length=1)
    unsafe_no_sandbox: bool = setting(False, "run programs without the sandbox; recorded with the run")


class Budget(Section):
    """When a run ends."""

    attempts: int = setting(512, "attempts of a run at most", ge=1)
    tokens: int | None = setting(None, "prompt and completion tokens after which no round begins; none: no limit", ge=1)
    seconds: float | None = setting(None, "wall time after which no round begins; none: no limit", gt=0)
    continue_after_discovery: bool = setting(False, "spend the whole budget, for studies")
    restart_after_collapse: bool = setting(
        False, "sdpo begins anew once four steps pass less than half of what its best four passed"
    )


class Store(Section):
    """Where the record lies."""

    path: str = setting("ttsd.sqlite", "the database", min_length=1)
    state_dir: str | None = setting(
        None, "folder of adapters and optimizer states; none: beside the database", min_length=1
    )
    track: Literal["none", "wandb", "tensorboard", "trackio"] = setting(
        "none", "also send metrics there", code="trainer.logger"
    )


class Config(Section):
    model: Model = Model()
    sampling: Sampling = Sampling()
    distillation: Distillation = Distillation()
    lora: Lora = Lora()
    teacher: Teacher = Teacher()
    reprompt: Reprompt = Reprompt()
    judge: JudgeSection = JudgeSection()
    budget: Budget = Budget()
    store: Store = Store()

    @model_validator(mode="after")
    def _what_differs_is_made_up_for(self) -> Config:
        quantised = self.model.sampler_quantization
        if quantised != "none" and self.distillation.rollout_is == "none":
            raise ValueError(
                f"model.sampler_quantization={quantised} draws from other weights than those that learn, and "
                "distillation.rollout_is=none would not make up for it; use distillation.rollout_is=token"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        length = self.model.max_model_len
        if length is not None and length <= self.sampling.max_tokens:
            raise ValueError(
                f"model.max_model_len={length} leaves no room for a prompt beside "
                f"sampling.max_tokens={self.sampling.max_tokens}; lower sampling.max_tokens"
            )
        return self
