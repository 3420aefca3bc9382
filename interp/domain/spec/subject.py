"""Define the spec of a subject and of its dictionaries."""

from typing import Any, Literal

from pydantic import Field

from interp.domain.polarity import Polarity
from interp.domain.spec.base import LONGEST_NAME, LONGEST_PATH, LONGEST_WORD, Frozen

DEVICE = r"^(auto|spread|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?)$"
# End of the names of dictionaries of random directions.
RANDOM = "-random"


class SubjectSpec(Frozen):
    """The language model under study."""

    model: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="A folder in Hugging Face form, a GGUF file, `upload://ID` of either, or a model name of the Hub.",
        examples=["examples/pystdlib/subject"],
    )
    revision: str | None = Field(default=None, max_length=LONGEST_WORD, description="Commit or tag, for a model of the Hub.")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = Field(
        default="auto",
        pattern=DEVICE,
        description="`auto` takes the first GPU, else the CPU. `spread` places a large model on all GPUs, then in memory, then on disk (accelerate).",
        examples=["auto", "cpu", "cuda:0"],
    )
    load_in: Literal["8bit", "4bit"] | None = Field(
        default=None, description="Quantises the weights as they are loaded (bitsandbytes); it changes the numbers, and so the evidence."
    )
    weights: Literal["trained", "random"] = Field(
        default="trained", description="`random` re-initialises the model: what the same dictionary makes of a subject that has learned nothing."
    )
    backend: Literal["auto", "bridge", "huggingface"] = Field(
        default="auto",
        description="`bridge` is TransformerLens' TransformerBridge; `huggingface` a plain forward hook (sdpa attention). `auto` takes `huggingface` "
        "for architectures of which every hook point is known to agree, else `bridge`.",
    )

    def model_post_init(self, _: Any) -> None:
        if self.backend == "bridge" and (self.load_in or self.device == "spread"):
            raise ValueError("the backend `bridge` neither quantises nor spreads a model; use `auto`")
        if self.weights == "random" and (self.load_in or self.device == "spread"):
            raise ValueError("random weights are drawn on one device, unquantised")


class DictionarySpec(Frozen):
    """The sparse dictionary and the place in the subject that it reads."""

    source: str = Field(
        min_length=1,
        max_length=LONGEST_PATH,
        description="A folder or file of weights, for the format `neurons` the subject's folder; or `hf://organisation/repository@revision/path`, "
        "`upload://ID/path`, `s3://bucket/folder`, `wandb://entity/project/run`, `saelens:RELEASE/ID`, or a Neuronpedia id or URL.",
        examples=["examples/pystdlib/dictionary", "hf://jbloom/GPT2-Small-SAEs-Reformatted/blocks.8.hook_resid_pre"],
    )
    format: str = Field(
        default="auto", max_length=LONGEST_NAME, description="A weight family's name; `auto` finds it out.", examples=["auto", "saelens"]
    )
    name: str | None = Field(
        default=None,
        max_length=LONGEST_WORD,
        pattern=r"^[A-Za-z0-9._-]+@[A-Za-z0-9._-]+$",
        description="`model@layer-set`; made from the files when not given.",
    )
    hook_point: str | None = Field(
        default=None,
        min_length=1,
        max_length=LONGEST_PATH,
        description="In TransformerLens names; needed only when the files don't say. Several are joined by `+`, in the order of training.",
        examples=["blocks.3.mlp.hook_post", "blocks.0.hook_resid_post+blocks.1.hook_resid_post"],
    )
    # Left out where it is the default: jobs of before keep the digest of their request.
    polarity: Polarity = Field(
        default="positive",
        exclude_if=lambda polarity: polarity == "positive",
        description="`both` gives the negative side of each neuron or direction an address of its own (`123-`), with its own evidence, label and "
        "scores; `features` then names both sides of each.",
    )
    norm_scaling_factor: float | None = Field(
        default=None,
        gt=0,
        exclude_if=lambda factor: factor is None,
        description="The factor of a SAELens dictionary's inputs, where its config says `expected_average_only_in` and its files lack the factor.",
    )
    directions: Literal["trained", "random"] = Field(
        default="trained",
        exclude_if=lambda directions: directions == "trained",
        description="`random` draws the directions, and finds biases with which each feature fires as often as the trained one of its number; the "
        "control `random_dictionary` adds such a dictionary for each.",
    )

    @property
    def control(self) -> "DictionarySpec":
        """Return the dictionary of random directions beside this one."""
        name = f"{self.name[: LONGEST_WORD - len(RANDOM)]}{RANDOM}" if self.name else None
        return self.model_copy(update={"directions": "random", "name": name})

    @property
    def sides(self) -> int:
        """Return how many features each neuron or direction has."""
        return 2 if self.polarity == "both" else 1
