"""Every setting; those of [model] are in `model.py`.

The defaults are the paper's test-time run (arXiv 2601.20802, section 5 and table 12) with LoRA in place of full
fine-tuning. What is ours and not the paper's is in [extensions].

Names and meanings follow the paper's own code where it has them, so that both can be read side by side. An unknown
key is an error; settings that contradict each other are refused with a sentence.
"""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator, model_validator

from ttsd.config.model import Model, check_url
from ttsd.config.setting import Section, expanded, setting


class Sampling(Section):
    """Says how attempts are sampled."""

    group_size: int = setting(16, "attempts of one step", paper="number of rollouts", code="rollout.n", ge=1)
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
    pipeline: Literal["on-policy", "one-step-off"] = setting(
        "on-policy", "one-step-off: the next group is sampled with the old adapter while a step is taken"
    )


class Distillation(Section):
    """Says how the loss is computed (SDPO, sections 2 and 5)."""

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
        "the student's K most likely tokens are compared, and all others as one; none: the whole vocabulary",
        paper="top-K distillation",
        code="self_distillation.distillation_topk",
        ge=1,
    )
    rollout_is_threshold: float | None = setting(
        2.0,
        "cap on each token's weight, trainer's over sampler's probability; none: no weights",
        paper="rollout IS clip",
        code="algorithm.rollout_correction.rollout_is_threshold",
        gt=0,
    )
    token_budget: int = setting(16384, "tokens of one micro-batch", code="ppo_max_token_len_per_gpu", ge=1)
    checkpoint_over: int | None = setting(
        None,
        "gradient checkpointing: tokens of a micro-batch whose activations are kept, the others' are computed again in "
        "the backward pass; none: all are kept",
        code="model.enable_gradient_checkpointing",
        ge=0,
    )


class Lora(Section):
    """Describes the adapter and its optimizer (AdamW, constant rate, no warm-up). The paper trains all weights."""

    init: str | None = setting(
        None,
        "folder of the adapter that student, self-teacher, sampler and reference start from, as `ttsd warm-up` writes "
        "it; none: the base alone",
        min_length=1,
    )
    rank: int = setting(32, "rank of the adapter's matrices", code="model.lora_rank", ge=1)
    alpha: float = setting(64.0, "scale of the adapter, as alpha / rank", code="model.lora_alpha", gt=0)
    lr: float = setting(
        1e-5,
        "learning rate: ten times the paper's 1e-6, as LoRA wants (LoRA Without Regret)",
        paper="learning rate",
        code="optim.lr",
        gt=0,
    )
    weight_decay: float = setting(0.01, "AdamW's decay", paper="weight decay", code="optim.weight_decay", ge=0)

    @field_validator("init")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return path and expanded(path)


class Teacher(Section):
    """Says which weights the self-teacher has."""

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
    """Says how context (feedback, or a demonstration) is added to the question."""

    max_reprompt_len: int = setting(
        10240,
        "tokens of a prompt with context at most, within the model's own limit; the oldest feedback is dropped first",
        code="self_distillation.max_reprompt_len",
        ge=1,
    )
    hints: str | None = setting(
        None,
        "URL of an OpenAI-compatible endpoint that writes a hint on each failed attempt for the self-teacher's prompt",
        min_length=1,
    )
    hints_model: str | None = setting(None, "what that endpoint calls its model", min_length=1)

    @model_validator(mode="after")
    def _hints_have_a_url(self) -> Reprompt:
        if self.hints is not None:
            check_url("hints", self.hints)
        return self


class Extensions(Section):
    """Holds what is ours and not the paper's. With these defaults `sdpo` is the paper's method."""

    feedback_items: int = setting(
        1, "feedback items that the self-teacher reads: the attempt's own, and those that add most to it", ge=1
    )
    history_length: int | None = setting(
        None,
        "feedback items in a multi-turn prompt: the newest, and those that add most to it; none: all that fit",
        ge=1,
    )
    reward: Literal["success", "visible-fraction"] = setting(
        "success", "reward of an attempt, for GRPO: 1 or 0, or the share of the visible cases that it passed"
    )
    return_to_best: bool = setting(
        False,
        "go back to the weights that passed most once four steps pass less than half of what the best four passed, or "
        "less than three quarters with half or twice the tokens, or 1/4 or 4 times the entropy, of the first four",
    )


class JudgeSection(Section):
    """Says which cases drive training and what a program may use."""

    split: Literal["auto", "all", "half", "public"] = setting(
        "auto", "which cases drive training; auto: half for LiveCodeBench, all elsewhere"
    )
    cpu_seconds: float = setting(6.0, "processor time of a program on one case", code="TIME_LIMIT", gt=0)
    wall_seconds: float = setting(
        24.0, "time of a program on one case, waiting included; all its cases together may wait no longer", gt=0
    )
    comparison: Literal["question", "livecodebench"] = setting(
        "question", "question: outputs may differ as the statement grants; livecodebench: by the leaderboard's own rule"
    )
    memory_mib: int = setting(1024, "memory of a program, in MiB", ge=64)
    max_question_seconds: float = setting(
        60.0, "processor time on one case that a question may ask for; one that asks for more is refused", gt=0
    )
    max_question_mib: int = setting(
        4096, "memory, in MiB, that a question may ask for; one that asks for more is refused", ge=64
    )
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

    @field_validator("python")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return path and expanded(path)


class Endpoint(Section):
    """Says how an endpoint is asked: the one that samples (`model.path`), or the one that writes hints."""

    key_variable: str = setting(
        "OPENAI_API_KEY", "variable of the environment that has the key; the key itself is never recorded"
    )
    requests: int = setting(16, "requests at once", ge=1)
    timeout_seconds: float = setting(300.0, "silence after which a request is given up and repeated", gt=0)
    retries: int = setting(8, "how often a request that failed is repeated, after pauses that grow to a minute", ge=0)
    prompt_price: float = setting(0.0, "dollars for a million tokens of prompts", ge=0)
    completion_price: float = setting(0.0, "dollars for a million tokens of completions", ge=0)

    @model_validator(mode="after")
    def _a_variable_and_no_key(self) -> Endpoint:
        if not self.key_variable.isidentifier():
            raise ValueError(
                "key_variable is no name of a variable; put the key into the environment and its name here"
            )
        return self


class Budget(Section):
    """Says when a run ends."""

    attempts: int = setting(512, "attempts of a run at most", ge=1)
    tokens: int | None = setting(None, "prompt and completion tokens after which no round begins; none: no limit", ge=1)
    seconds: float | None = setting(None, "wall time after which no round begins; none: no limit", gt=0)
    dollars: float | None = setting(
        None, "price of an endpoint's answers after which no round begins; none: no limit", gt=0
    )
    continue_after_discovery: bool = setting(False, "spend the whole budget, for studies")


class Store(Section):
    """Says where runs are stored."""

    path: str = setting("ttsd.sqlite", "the database", min_length=1)
    state_dir: str | None = setting(
        None, "folder of adapters and optimizer states; none: next to the database", min_length=1
    )
    track: Literal["none", "wandb", "tensorboard", "trackio"] = setting(
        "none", "also send metrics there", code="trainer.logger"
    )
    track_text: bool = setting(False, "also send the model's answers there")

    @field_validator("path", "state_dir")
    @classmethod
    def _expand(cls, path: str | None) -> str | None:
        return path and expanded(path)


class Config(Section):
    """All settings of a run."""

    method: str = setting("sdpo", "what attempts read and what the weights learn: see `ttsd methods`")
    model: Model = Model()
    sampling: Sampling = Sampling()
    distillation: Distillation = Distillation()
    lora: Lora = Lora()
    teacher: Teacher = Teacher()
    reprompt: Reprompt = Reprompt()
    extensions: Extensions = Extensions()
    judge: JudgeSection = JudgeSection()
    endpoint: Endpoint = Endpoint()
    budget: Budget = Budget()
    store: Store = Store()

    def changed(self, section: str, **settings: object) -> Config:
        """Returns these settings with some of one section changed."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=settings)})

    @model_validator(mode="after")
    def _quantized_sampler_needs_importance_weights(self) -> Config:
        if self.model.sampler_bits != "none" and self.distillation.rollout_is_threshold is None:
            raise ValueError(
                f"model.quantization={self.model.quantization} samples from other weights than those that learn, and "
                "distillation.rollout_is_threshold=none would not correct for it; give a number, as in 2"
            )
        return self

    @model_validator(mode="after")
    def _dollars_need_prices(self) -> Config:
        if self.budget.dollars is not None and not self.endpoint.prompt_price + self.endpoint.completion_price:
            raise ValueError(
                f"budget.dollars={self.budget.dollars} needs prices; set endpoint.prompt_price and "
                "endpoint.completion_price"
            )
        return self
