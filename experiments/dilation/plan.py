"""The experiment as pieces: what is run, on what, and what follows from what."""

import tomllib

import texts
from pieces import Piece, digest
from sizes import ATTENTION, MODELS, NO_KEYS, RAT_PLUS, View


class Plan:
    def __init__(self, size, store):
        self.size, self.store, self.work = size, store, store.work
        self.config = tomllib.loads(size.config.read_text())
        self.steps = self.config["train"]["steps"]
        self.seq_len = self.config["data"]["seq_len"]
        self.peak = self.config["optimizer"]["peak_rate"]
        # Where a model is evaluated; training says so in its configuration.
        self.place = ("--device", self.config["train"].get("device", "cpu"),
                      "--dtype", self.config["train"].get("dtype", "f32"))
        text, heldout = texts.prepare(size, self.work / "text")
        self.train = self.tokens("train", text)
        self.heldout = self.tokens("heldout", heldout)
        self.needles = self.needle_tokens()
        for view in size.block_views():  # a file each, since options name no top-k blocks
            path = self.pattern_file(view)
            if not path.exists() or path.read_text() != view.toml():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(view.toml())

    def pattern_file(self, view):
        return self.work / "patterns" / f"{view.name}.toml"

    def follows(self, *pieces):
        return tuple(self.store.key(piece) for piece in pieces)

    # The text

    def tokens(self, name, text):
        made = self.work / "text" / f"{name}.bin"
        return Piece(f"text/{name}", (("tokenize", "--tokenizer", "bytes", text, "--output", made),), (digest(text),),
                     makes=made)

    def needle_tokens(self):
        """Texts of exactly T tokens, so that each window of a fine-tune is one example."""
        rows, made = (self.work / "text" / name for name in ("needles.jsonl", "needles.bin"))
        examples = self.size.needle_steps * self.config["data"]["batch_size"]
        return Piece("text/needles", (
            ("needles", "--task", "single_1", "--length", self.seq_len, "--exact", "--examples", examples, "--seed", 1,
             "--output", rows),
            ("tokenize", "--tokenizer", "bytes", rows, "--output", made)), makes=made)

    def text(self):
        return [self.train, self.heldout, self.needles]

    # One model from one seed

    def pretrain(self, model, seed):
        run = self.work / "runs" / f"seed{seed}-{model.name}"
        return Piece(f"seed{seed}/{model.name}/pretrain", (
            ("train", "--config", self.size.config, *model.options(self.steps), f"--train.seed={seed}",
             f"--data.seed={seed}", "--data", self.train.makes, "--out", run, "--resume"),),
            (digest(self.size.config), *self.follows(self.train)), makes=run)

    def loss(self, folder, view):
        """The command that finds the held-out loss of a model through a view."""
        options = ("--pattern", self.pattern_file(view)) if view.top_blocks else view.options()
        return ("eval", "--model", folder, "--data", self.heldout.makes, "--context", self.size.bench_length, *options,
                *self.place)

    def before(self, model, seed, view):
        start = self.pretrain(model, seed)
        pattern = (view.toml(),) if view.top_blocks else ()
        return Piece(f"seed{seed}/{model.name}/before/{view.name}", (self.loss(start.makes, view),),
                     (*self.follows(start, self.heldout), *pattern))

    def adapt(self, model, seed, view, data, steps, rate, run):
        """The command that goes on with a model through a view."""
        start = self.pretrain(model, seed)
        return ("adapt", "--from", start.makes, *view.options(), f"--train.steps={steps}",
                f"--optimizer.peak_rate={rate * self.peak:g}", f"--data.seed={1000 + seed}",
                "--train.checkpoint_every=1000000", "--data", data.makes, "--out", run, "--resume")

    def after(self, model, seed, view):
        size, run = self.size, self.work / "runs" / f"seed{seed}-{model.name}-after-{view.name}"
        return Piece(f"seed{seed}/{model.name}/after/{view.name}", (
            self.adapt(model, seed, view, self.train, size.adapt_steps, size.adapt_rate, run), self.loss(run, view)),
            self.follows(self.pretrain(model, seed), self.train, self.heldout), scratch=run)

    def needle(self, model, seed, dilation):
        size, view = self.size, View(dilation)
        run = self.work / "runs" / f"seed{seed}-{model.name}-needle-{view.name}"
        return Piece(f"seed{seed}/{model.name}/needle/{view.name}", (
            self.adapt(model, seed, view, self.needles, size.needle_steps, size.needle_rate, run),
            ("eval", "--task", "single_1", "--length", self.seq_len, "--examples", size.needle_examples, "--seed", 2,
             "--model", run, *view.options(), *self.place)),
            self.follows(self.pretrain(model, seed), self.needles), scratch=run)

    def chain(self, model, seed):
        """Everything of one model from one seed but its speed, in order."""
        size = self.size
        pieces = [self.pretrain(model, seed)]
        pieces += [self.before(model, seed, view) for view in [*size.views(model), NO_KEYS, *size.block_views()]]
        pieces += [self.after(model, seed, view) for view in size.views(model)]
        if size.asks_for_needles(model, seed):
            pieces += [self.needle(model, seed, dilation) for dilation in size.needle_dilations]
        return pieces

    def chains(self):
        return [self.chain(model, seed) for seed in self.size.seeds for model in MODELS]

    # What gets the machine for itself, of the first seed

    def decode(self, model, view):
        start, size = self.pretrain(model, self.size.seeds[0]), self.size
        window = ("--window", view.window) if view.window else ()
        bench = ("bench", "decode", "--model", start.makes, "--dilations", view.dilation, *window, "--length",
                 size.bench_length, "--seconds", size.bench_seconds, *self.place)
        return Piece(f"seed{size.seeds[0]}/{model.name}/decode/{view.name}", (bench,) * size.bench_repeats,
                     self.follows(start), alone=True)

    def hybrid(self):
        """Found on the text of training, so that nothing of the choice follows from the text that judges it."""
        start, size = self.pretrain(RAT_PLUS, self.size.seeds[0]), self.size
        found = self.work / "patterns" / "sixteenth.toml"
        return Piece(f"seed{size.seeds[0]}/{RAT_PLUS.name}/hybrid", (
            ("search", "--model", start.makes, "--data", self.train.makes, "--kv-budget", "1/16", "--heads", "--context",
             size.bench_length, "--tokens", size.search_tokens, "--verify-tokens", 4 * size.search_tokens, "--output",
             found, *self.place),
            ("eval", "--model", start.makes, "--data", self.heldout.makes, "--pattern", found, "--context",
             size.bench_length, *self.place)), self.follows(start, self.train, self.heldout), alone=True)

    def gates(self):
        start = self.pretrain(RAT_PLUS, self.size.seeds[0])
        return Piece(f"seed{self.size.seeds[0]}/{RAT_PLUS.name}/gates", (
            ("inspect", start.makes, "--gates", "--data", self.heldout.makes, *self.place),),
            self.follows(start, self.heldout), alone=True)

    def alone(self):
        decodes = [self.decode(model, view) for model in (RAT_PLUS, ATTENTION) for view in self.size.views()]
        return [*decodes, self.hybrid(), self.gates()]

    def all(self):
        return [*self.text(), *(piece for chain in self.chains() for piece in chain), *self.alone()]
