"""What TensorBoard itself reads of a run: the numbers of metrics.jsonl, the texts, and after a crash no step twice."""
import json
import math
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util
except ImportError as missing:
    print(missing)
    sys.exit(77)

ratel = sys.argv[1]
COLUMNS = {"loss/dense": "loss", "loss/sparse": "sparse_loss", "validation/dense": "validation_loss",
           "validation/sparse": "validation_sparse_loss", "learning_rate": "learning_rate", "gradient_norm": "grad_norm",
           "gradient_norm_sparse": "sparse_grad_norm", "tokens_per_second": "tokens_per_second",
           "memory/live": "memory_live", "memory/peak": "memory_peak"}


def run(*words):
    subprocess.run([ratel, *map(str, words)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def check(folder, sessions):
    files = sorted(folder.glob("events.out.tfevents.*"))
    assert len(files) == sessions, files
    events = event_accumulator.EventAccumulator(str(folder), size_guidance={event_accumulator.SCALARS: 0,
                                                                            event_accumulator.TENSORS: 0})
    events.Reload()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert set(events.Tags()["scalars"]) == set(COLUMNS), events.Tags()
    for tag, column in COLUMNS.items():
        wanted = [(row["step"], row[column]) for row in rows if column in row]
        found = [(one.step, one.value) for one in events.Scalars(tag)]
        assert [step for step, _ in found] == [step for step, _ in wanted], (tag, found, wanted)
        for (step, value), (_, exact) in zip(found, wanted):
            assert value == float(np.float32(exact)), (tag, step, value, exact)
    texts = {tag: [tensor_util.make_ndarray(one.tensor_proto).item().decode() for one in events.Tensors(tag)]
             for tag in events.Tags()["tensors"]}
    assert set(texts) == {"config", "command"}, texts
    assert all(events.SummaryMetadata(tag).plugin_data.plugin_name == "text" for tag in texts)
    config = "\n".join(line[4:] for line in texts["config"][-1].split("\n"))
    assert config == (folder / "config.toml").read_text(), config
    assert "ratel train --config" in texts["command"][-1] and "\n    ratel " in texts["command"][-1], texts["command"]
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in COLUMNS}


with tempfile.TemporaryDirectory() as name:
    scratch = pathlib.Path(name)
    (scratch / "text.txt").write_text("it was a truth universally acknowledged, that a house was white. " * 120)
    (scratch / "held.txt").write_text("the house was universally white, that was the truth. " * 10)
    for text in ("text", "held"):
        run("tokenize", scratch / f"{text}.txt", "--output", scratch / f"{text}.bin")
    (scratch / "c.toml").write_text(
        "[model]\nlayers = 2\nchannels = 16\nheads = 2\n[data]\nseq_len = 32\nbatch_size = 2\n"
        "[train]\nsteps = 14\ncheckpoint_every = 4\nkeep_checkpoints = 9\nsparse_dilation = 8\nvalidate_every = 5\n")
    words = ["train", "--config", scratch / "c.toml", "--data", scratch / "text.bin", "--validation", scratch / "held.bin"]
    whole, cut = scratch / "whole", scratch / "cut"
    run(*words, "--out", whole)
    exact = check(whole, sessions=1)
    assert all(math.isfinite(value) for curve in exact.values() for _, value in curve)

    # As a crash after step 14 leaves it, where the checkpoints of steps 12 and 14 are lost and a record was cut short.
    run(*words, "--out", cut)
    for step in (12, 14):
        shutil.rmtree(cut / f"checkpoints/step-{step}")
    first = next(cut.glob("events.out.tfevents.*"))
    first.write_bytes(first.read_bytes()[:-7])
    run(*words, "--out", cut, "--resume")
    again = check(cut, sessions=2)
    for tag in COLUMNS:
        if "memory" not in tag and "second" not in tag:
            assert again[tag] == exact[tag], tag
print("as TensorBoard reads them")
