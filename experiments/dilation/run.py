#!/usr/bin/env python3
"""The experiment of this folder: four models of equal size on the same text in the same order, attention and RAT+, each
with and without joint training, looked at through dilated patterns before and after a short adaptation to each.

    run.py cpu     two cores, under two hours
    run.py gpu     one H100, under 25 minutes
    run.py smoke   next to nothing of it, to see that it runs

Builds ratel, makes the text, and does piece by piece what is not done yet: stop it whenever you like, and start it again.
At the end it writes results/SIZE.json, and of all the results there are RESULTS.md and its figure.
"""

import argparse
import concurrent.futures
import datetime
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import threading
import tomllib

import pieces
import report
from pieces import digest
from sizes import HERE, MODELS, ROOT, SIZES, View

PEAK = "--optimizer.peak_rate={:g}"


def say(*words):
    print(datetime.datetime.now().strftime("%H:%M:%S"), *words, flush=True)


class Experiment:
    def __init__(self, size, folder, ratel):
        self.size, self.folder = size, folder
        self.config = tomllib.loads(size.config.read_text())
        self.steps = self.config["train"]["steps"]
        self.seq_len = self.config["data"]["seq_len"]
        self.peak = self.config["optimizer"]["peak_rate"]
        self.device = self.config["train"].get("device", "cpu")
        self.dtype = self.config["train"].get("dtype", "f32")
        self.threads = max(1, (os.cpu_count() or 1) // size.jobs)
        self.store = pieces.Pieces(folder, ratel, commit_of(ROOT), say)

    # The text

    def prepare_text(self):
        """Makes the token files: train.bin, heldout.bin, and needles.bin to fine-tune on."""
        texts = self.folder / "text"
        texts.mkdir(parents=True, exist_ok=True)
        train, heldout = split_text(self.size, texts)
        self.train, self.heldout, self.needles = (texts / f"{name}.bin" for name in ("train", "heldout", "needles"))
        for text, tokens in ((train, self.train), (heldout, self.heldout)):
            self.store.piece(f"text/{tokens.stem}", digest(text, "bytes"), lambda: self.store.run(
                "tokenize", "--tokenizer", "bytes", text, "--output", tokens))

        def make_needles():
            rows, examples = texts / "needles.jsonl", self.size.needle_steps * self.config["data"]["batch_size"]
            self.store.run("needles", "--task", "single_1", "--length", self.seq_len, "--exact", "--examples", examples,
                           "--seed", 1, "--output", rows)
            return self.store.run("tokenize", "--tokenizer", "bytes", rows, "--output", self.needles)

        self.store.piece("text/needles", digest(self.size.needle_steps, self.config["data"]), make_needles)
        self.text_key = digest(train, heldout, "bytes")

    # A model

    def pretrained_key(self, model, seed):
        return digest(self.config, model.options(self.steps), seed, self.text_key)

    def run_folder(self, *names):
        return self.folder / "runs" / "-".join(names)

    def pretrain(self, model, seed):
        """Trains it, or goes on with that; what other settings left is removed."""
        run, key = self.run_folder(f"seed{seed}", model.name), self.pretrained_key(model, seed)
        name = f"seed{seed}/{model.name}/pretrain"
        fresh_folder(run, key)

        def work():
            options = ["--config", self.size.config, *model.options(self.steps), f"--train.seed={seed}",
                       f"--data.seed={seed}", f"--train.threads={self.threads}",
                       "--data", self.train, "--out", run, "--resume"]
            return self.store.run("train", *options)

        self.store.piece(name, key, work)
        return run

    def adapt(self, run, view, steps, rate, data, seed, name, key, evaluate):
        """What evaluate(adapted run) finds after `steps` batches of `data` through the view."""
        adapted = self.run_folder(*name.split("/"))

        def work():
            fresh_folder(adapted, key)
            trained = self.store.run(
                "adapt", "--from", run, *view.options(), f"--train.steps={steps}", PEAK.format(rate),
                f"--data.seed={1000 + seed}", f"--train.threads={self.threads}", "--train.checkpoint_every=1000000",
                "--data", data, "--out", adapted, "--resume")
            result = evaluate(adapted) | {"training": trained}
            shutil.rmtree(adapted)
            return result

        return self.store.piece(name, key, work)

    def place(self):
        return ["--threads", self.threads, "--device", self.device, "--dtype", self.dtype]

    def loss(self, model_folder, view):
        options = view.options()
        if view.top_blocks:
            pattern = self.folder / "patterns" / f"{view.name}.toml"
            pieces.write_atomically(pattern, view.toml())
            options = ["--pattern", pattern]
        return self.store.run("eval", "--model", model_folder, "--data", self.heldout, "--context",
                              self.size.bench_length, *options, *self.place())

    def needle_score(self, model_folder, view):
        return self.store.run("eval", "--task", "single_1", "--length", self.seq_len, "--examples",
                              self.size.needle_examples, "--seed", 2, "--model", model_folder, *view.options(),
                              *self.place())

    def chain(self, model, seed):
        """All that is measured of one model from one seed but its speed."""
        size, key = self.size, self.pretrained_key(model, seed)
        run = self.pretrain(model, seed)
        at = f"seed{seed}/{model.name}"
        for view in size.views(model) + size.block_views():
            self.store.piece(f"{at}/before/{view.name}", digest(key, view.name, size.bench_length),
                             lambda view=view: self.loss(run, view))
        for view in size.views(model):
            self.adapt(run, view, size.adapt_steps, size.adapt_rate * self.peak, self.train, seed,
                       f"{at}/after/{view.name}", digest(key, view.name, size.adapt_steps, size.adapt_rate, size.bench_length),
                       lambda adapted, view=view: self.loss(adapted, view))
        if not size.asks_for_needles(model, seed):
            return
        for dilation in size.needle_dilations:
            view = View(dilation)
            self.adapt(run, view, size.needle_steps, size.needle_rate * self.peak, self.needles, seed,
                       f"{at}/needle/{view.name}",
                       digest(key, view.name, size.needle_steps, size.needle_rate, size.needle_examples),
                       lambda adapted, view=view: self.needle_score(adapted, view))

    # What needs the machine for itself, of the first seed

    def measure(self):
        size, seed = self.size, self.size.seeds[0]
        everything = ["--threads", 0, "--device", self.device, "--dtype", self.dtype]
        for model in (MODELS[0], MODELS[3]):
            run, key = self.pretrain(model, seed), self.pretrained_key(model, seed)
            for view in size.views():
                window = ["--window", view.window] if view.window else []
                self.store.piece(
                    f"seed{seed}/{model.name}/decode/{view.name}",
                    digest(key, view.name, size.bench_length, size.bench_seconds),
                    lambda: self.store.run("bench", "decode", "--model", run, "--dilations", view.dilation, *window,
                                           "--length", size.bench_length, "--seconds", size.bench_seconds, *everything))
        model, found = MODELS[3], self.folder / "patterns" / "sixteenth.toml"
        run, key = self.pretrain(model, seed), self.pretrained_key(model, seed)
        at = f"seed{seed}/{model.name}"
        found.parent.mkdir(parents=True, exist_ok=True)

        def search():
            # On the text of training, so that nothing of the choice follows from the text that judges it.
            found_by = self.store.run("search", "--model", run, "--data", self.train, "--kv-budget", "1/16", "--heads",
                                      "--context", size.bench_length, "--tokens", size.search_tokens,
                                      "--verify-tokens", 4 * size.search_tokens, "--output", found, *everything)
            loss = self.store.run("eval", "--model", run, "--data", self.heldout, "--pattern", found, "--context",
                                  size.bench_length, *everything)
            return {"search": found_by, "before": loss, "pattern": found.read_text()}

        self.store.piece(f"{at}/hybrid/search", digest(key, size.search_tokens, size.bench_length), search)
        gates = lambda: self.store.run("inspect", run, "--gates", "--data", self.heldout, *everything)
        self.store.piece(f"{at}/gates", digest(key, "gates"), gates)

    # All

    def run(self):
        self.prepare_text()
        chains = [(model, seed) for seed in self.size.seeds for model in MODELS]
        with concurrent.futures.ThreadPoolExecutor(self.size.jobs) as pool:
            futures = [pool.submit(self.chain, *chain) for chain in chains]
            try:
                for future in concurrent.futures.as_completed(futures):
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                self.store.stop()
                raise
        self.measure()

    def results(self):
        """Everything that the report needs, of the pieces that there are; places of this machine as WORK."""
        found, folder = {}, self.folder / "pieces"
        for path in sorted(folder.rglob("*.json")):
            text = path.read_text().replace(str(self.folder), "WORK").replace(f"{ROOT}/", "")
            record = json.loads(text)
            record["result"].pop("scores", None)  # example by example: in the piece itself
            found[str(path.relative_to(folder).with_suffix(""))] = record
        return {
            "size": self.size.name, "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": machine(), "cores": os.cpu_count(), "device": self.device, "dtype": self.dtype,
            "commits": sorted({record["commit"] for record in found.values()}),
            "command": f"experiments/dilation/run.py {self.size.name}", "config": self.config,
            "seconds": round(sum(record["seconds"] for record in found.values())), "pieces": found}


def commit_of(tree):
    try:
        return subprocess.run(["git", "-C", str(tree), "describe", "--always", "--dirty"], capture_output=True, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def fresh_folder(run, key):
    """Leaves a run that follows from `key` as it is, to be gone on with; removes any other."""
    note = run.with_name(run.name + ".key")
    if not (note.exists() and note.read_text() == key):
        shutil.rmtree(run, ignore_errors=True)
        pieces.write_atomically(note, key)


def split_text(size, folder):
    """(text to train on, held-out text)."""
    train, heldout = folder / "train.txt", folder / "heldout.txt"
    if size.text == "austen":
        source = folder / "austen"
        subprocess.run([ROOT / "scripts" / "austen.py", source], check=True, stdout=subprocess.DEVNULL)
        novels = ("sense_and_sensibility", "pride_and_prejudice", "mansfield_park", "emma", "northanger_abbey")
        parts = [(source / f"{name}.txt").read_bytes() for name in novels]
        held = (source / "persuasion.txt").read_bytes()
    else:
        path = pathlib.Path(size.text)
        if size.text == "medium":
            subprocess.run([ROOT / "scripts" / "medium_text.py", folder / "medium"], check=True,
                           stdout=subprocess.DEVNULL)
            path = folder / "medium" / "medium.txt"
        whole = path.read_bytes()
        cut = len(whole) - len(whole) // 10
        parts, held = [whole[:cut]], whole[cut:]
    pieces.write_atomically(train, b"".join(parts).decode(errors="replace"))
    pieces.write_atomically(heldout, held[:size.heldout_bytes].decode(errors="replace"))
    return train, heldout


def build():
    """The binary of the preset that fits the machine."""
    preset = "cuda" if shutil.which("nvcc") and shutil.which("nvidia-smi") else "cpu"
    say(f"building ratel (preset {preset})")
    for command in (["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset, "--target", "ratel_cli"]):
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return ROOT / "build" / preset / "cli" / "ratel"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--ratel", type=pathlib.Path, help="the binary; else it is built")
    parser.add_argument("--work", type=pathlib.Path, help="where pieces are kept [runs/dilation-SIZE]")
    parser.add_argument("--results", type=pathlib.Path, default=HERE, help="folder of RESULTS.md and results/")
    parser.add_argument("--report", action="store_true", help="run nothing: write the report of what is there")
    args = parser.parse_args()

    folder = (args.work or ROOT / "runs" / f"dilation-{args.size}").resolve()
    ratel = args.ratel.resolve() if args.ratel else build()
    experiment = Experiment(SIZES[args.size], folder, ratel)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if not args.report:
            experiment.run()
    except KeyboardInterrupt:
        experiment.store.stop()
        print(f"\nstopped; the same command goes on from what is in {folder}", file=sys.stderr)
        sys.exit(130)
    except pieces.Stopped as stopped:
        print(f"run.py: {stopped}", file=sys.stderr)
        sys.exit(1)
    results = experiment.results()
    pieces.write_atomically(args.results / "results" / f"{args.size}.json", json.dumps(results, indent=1) + "\n")
    report.write(args.results, ratel)
    say(f"wrote {args.results / 'RESULTS.md'}")


if __name__ == "__main__":
    main()
