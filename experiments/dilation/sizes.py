"""What the experiment compares, and how large it is on which machine."""

from dataclasses import dataclass
import pathlib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass(frozen=True)
class Model:
    """A model to train: what its training changes of the size's configuration."""
    name: str
    title: str
    recurrence: str  # gated, or none: attention alone
    joint: str  # alternate: a step through D = 64 and a dense one a batch; off: dense ones
    batches: int = 1  # times the batches of the others: 2 has as many updates as joint training makes

    def options(self, steps):
        return [f"--model.recurrence={self.recurrence}", f"--train.joint={self.joint}",
                f"--train.steps={self.batches * steps}"]


MODELS = (
    Model("attention", "attention", "none", "off"),
    Model("attention_joint", "attention, joint", "none", "alternate"),
    Model("rat_plus_dense", "RAT+ without joint", "gated", "off"),
    Model("rat_plus", "RAT+", "gated", "alternate"),
    Model("attention_twice", "attention, 2x batches", "none", "off", 2),
    Model("rat_plus_dense_twice", "RAT+ without joint, 2x batches", "gated", "off", 2),
)
MAIN = MODELS[:4]
ATTENTION, RAT_PLUS = MODELS[0], MODELS[3]


@dataclass(frozen=True)
class View:
    """A pattern to look through: every D-th key and the W before a query, or top-k blocks of `dilation` keys."""
    dilation: int
    window: int = 0
    top_blocks: int = 0
    score: str = ""

    @property
    def name(self):
        if self.top_blocks:
            return f"blocks-{self.dilation}x{self.top_blocks}-{self.score}"
        return f"D{self.dilation}" + (f"-W{self.window}" if self.window else "")

    @property
    def title(self):
        if self.top_blocks:
            return f"{self.top_blocks} blocks of {self.dilation}, {self.score}"
        if self.dilation < 1:
            return "no keys"
        return f"D={self.dilation}" + (f", W={self.window}" if self.window else "")

    def options(self):
        """Of `ratel adapt` and `ratel eval`; top-k blocks go through a pattern file."""
        return ["--dilation", str(self.dilation)] + (["--window", str(self.window)] if self.window else [])

    def toml(self):
        return f'dilation = {self.dilation}\ntop_blocks = {self.top_blocks}\nscore = "{self.score}"\n'


SCORES = ("last", "mean", "minmax")
NO_KEYS = View(-1)  # but a query's own: what is left of a model without attention to others


@dataclass(frozen=True)
class Size:
    name: str
    config: pathlib.Path  # of every model; what tells them apart comes from Model and the seed
    text: str  # austen, medium (texts.py), or a file of this tree whose last tenth is held out
    heldout_bytes: int  # of held-out text that losses are measured on
    seeds: tuple
    jobs: int  # models trained at once, each on its share of the cores
    dilations: tuple = (1, 2, 4, 8, 16, 32, 64)
    compared_dilations: tuple = (1, 16, 64)
    window_view: View = View(16, 64)
    block_size: int = 16
    top_blocks: int = 3
    adapt_steps: int = 50
    adapt_rate: float = 0.1  # of the peak rate
    needle_steps: int = 200
    needle_rate: float = 0.3  # of the peak rate
    needle_examples: int = 200
    needle_dilations: tuple = (1, 16, 64)
    needle_seeds: int = 1  # of the seeds, the first
    bench_length: int = 4096
    bench_seconds: float = 1.0
    bench_repeats: int = 5  # of which the median counts
    search_tokens: int = 65536

    def asks_for_needles(self, model, seed):
        return model in MAIN and seed in self.seeds[:self.needle_seeds]

    def views(self, model=None):
        """Those of dilated keys: of one of the four models all of them, of the others what comparing takes."""
        dilations = self.dilations if model is None or model in MAIN else self.compared_dilations
        return [View(dilation) for dilation in dilations] + [self.window_view]

    def block_views(self):
        return [View(self.block_size, top_blocks=self.top_blocks, score=score) for score in SCORES]


SIZES = {size.name: size for size in (
    Size("cpu", HERE / "cpu.toml", "austen", heldout_bytes=98304, seeds=(0, 1, 2), jobs=2),
    Size("gpu", HERE / "gpu.toml", "medium", heldout_bytes=1_000_000, seeds=(0,), jobs=1, adapt_steps=75,
         bench_length=16384),
    # Everything once and next to nothing of it, to see that it runs.
    Size("smoke", HERE / "smoke.toml", "README.md", heldout_bytes=2048, seeds=(0,), jobs=2,
         dilations=(1, 4), compared_dilations=(1, 4), window_view=View(4, 8), block_size=4, top_blocks=3,
         adapt_steps=2, needle_steps=2, needle_examples=4, needle_dilations=(1, 4), bench_length=64, bench_seconds=0.01,
         bench_repeats=2, search_tokens=512),
)}
