"""Checkpoints between ratel and Python: what each writes the other reads, bit for bit.

    safetensors_peer.py RATEL

ratel's files load in Python's safetensors, and files of safetensors.numpy and safetensors.torch convert here; shards as
transformers names them; and, where torch is there, what torch.save writes.
"""
import json
import os
import subprocess
import sys
import tempfile

SKIPPED = 77
try:
    import numpy
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file
except ImportError as missing:
    print("skipped:", missing)
    sys.exit(SKIPPED)
try:
    import torch
    from safetensors.torch import load_file as load_torch
except ImportError as missing:
    torch = None
    print("the part about PyTorch is skipped:", missing)

RATEL = sys.argv[1]
VOCAB, CHANNELS, LAYERS, HEADS = 19, 8, 3, 2


def ratel(*words):
    done = subprocess.run([RATEL, *words], capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def shapes():
    yield "embedding.wte.weight", (VOCAB, CHANNELS)
    for layer in range(LAYERS):
        at = f"backbone.layers.{layer}."
        yield at + "seq_layer.in_proj.weight", (5 * CHANNELS, CHANNELS)
        yield at + "seq_layer.input_norm.weight", (CHANNELS,)
        yield at + "seq_layer.out_proj.weight", (CHANNELS, CHANNELS)
        yield at + "hidden_layer.ln.weight", (CHANNELS,)
        yield at + "hidden_layer.fc1.weight", (4 * CHANNELS, CHANNELS)
        yield at + "hidden_layer.fc2.weight", (CHANNELS, 4 * CHANNELS)
    yield "backbone.ln.weight", (CHANNELS,)


def model(random):
    """Any bits are a weight: infinities and NaNs with their payloads are to come through too."""
    state = {name: random.integers(0, 2**32, shape, dtype=numpy.uint32).view(numpy.float32) for name, shape in shapes()}
    state["head.lm_head.weight"] = state["embedding.wte.weight"]
    return state


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def check_state(path, state):
    """A file of ratel's in the authors' names, as Python reads it."""
    found = load_file(path)
    assert set(found) == set(state), set(found) ^ set(state)
    for name, value in state.items():
        assert same_bits(found[name], value), name


def there_and_back(folder, state):
    theirs, ours, again = (os.path.join(folder, name) for name in ("theirs.safetensors", "ours", "again.safetensors"))
    save_file(state, theirs, metadata={"format": "pt"})
    ratel("convert", theirs, ours, "--heads", str(HEADS))
    ratel("convert", ours, again, "--names", "authors")
    check_state(again, state)

    # Shards: every file loads by itself, the index says where each tensor is, and its total is right.
    shards = os.path.join(folder, "shards")
    ratel("convert", ours, shards, "--shard-size", "3kB")
    index = json.load(open(os.path.join(shards, "model.safetensors.index.json")))
    found = {}
    for name in set(index["weight_map"].values()):
        part = load_file(os.path.join(shards, name))
        assert all(index["weight_map"][tensor] == name for tensor in part)
        found.update(part)
    assert len(set(index["weight_map"].values())) > 2
    assert set(found) == set(index["weight_map"])
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in found.values())
    whole = load_file(os.path.join(ours, "model.safetensors"))
    assert all(same_bits(found[name], value) for name, value in whole.items())

    # Shards cut elsewhere, by Python.
    mixed = os.path.join(folder, "mixed")
    os.mkdir(mixed)
    names = list(whole)
    index = {"metadata": {"total_size": sum(value.nbytes for value in whole.values())}, "weight_map": {}}
    for number in range(2):
        name = f"model-{number + 1:05}-of-00002.safetensors"
        part = {key: whole[key] for key in names[number::2]}
        save_file(part, os.path.join(mixed, name))
        index["weight_map"].update({key: name for key in part})
    json.dump(index, open(os.path.join(mixed, "model.safetensors.index.json"), "w"))
    with open(os.path.join(ours, "config.json")) as old, open(os.path.join(mixed, "config.json"), "w") as new:
        new.write(old.read())
    ratel("convert", mixed, again, "--names", "authors", "--force")
    check_state(again, state)


def every_dtype(folder):
    """What `inspect` says of a file of Python's, for each dtype that ratel knows."""
    path = os.path.join(folder, "dtypes.safetensors")
    arrays = {str(dtype): numpy.arange(6, dtype=dtype).reshape(2, 3)
              for dtype in ("float64", "float32", "int64", "int32", "uint16", "uint8")}
    save_file({**arrays, "empty": numpy.zeros((0, 4), numpy.float32), "scalar": numpy.array(2.5)}, path)
    seen = json.loads(ratel("inspect", path, "--json"))
    dtypes = {tensor["name"]: (tensor["dtype"], tuple(tensor["shape"])) for tensor in seen["tensors"]}
    assert dtypes == {"float64": ("f64", (2, 3)), "float32": ("f32", (2, 3)), "int64": ("i64", (2, 3)),
                      "int32": ("i32", (2, 3)), "uint16": ("u16", (2, 3)), "uint8": ("u8", (2, 3)),
                      "empty": ("f32", (0, 4)), "scalar": ("f64", ())}, dtypes


def training_state(folder):
    """A checkpoint of ratel's own: f32 weights and moments."""
    data = os.path.join(folder, "data.bin")
    (numpy.arange(4000) % 257).astype(numpy.uint16).tofile(data)
    run = os.path.join(folder, "run")
    ratel("train", "--data", data, "--out", run, "--train.steps=2", "--data.batch_size=2", "--data.seq_len=32",
          "--model.layers=1", "--model.channels=16", "--model.heads=2")
    checkpoints = os.path.join(run, "checkpoints")
    newest = os.path.join(checkpoints, sorted(os.listdir(checkpoints))[-1])
    for name in ("model.safetensors", "optimizer.safetensors"):
        with safe_open(os.path.join(newest, name), "numpy") as file:
            assert all(numpy.isfinite(file.get_tensor(key)).all() for key in file.keys()), name


def with_torch(folder, random):
    """What torch.save writes, in each float dtype, compiled and wrapped; and bf16 back."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        state = {name: torch.from_numpy(random.standard_normal(shape)).to(dtype) for name, shape in shapes()}
        transposed = "backbone.layers.1.seq_layer.out_proj.weight"
        state[transposed] = state[transposed].t().contiguous().t()
        big = torch.cat([torch.zeros(5, dtype=dtype), state["backbone.ln.weight"], torch.ones(3, dtype=dtype)])
        state["backbone.ln.weight"] = big[5:5 + CHANNELS]
        state["head.lm_head.weight"] = state["embedding.wte.weight"]
        path, ours, back = (os.path.join(folder, f"{dtype}{end}") for end in (".pth", "", ".safetensors"))
        named = {"module._orig_mod." + name: torch.nn.Parameter(value) for name, value in state.items()}
        torch.save({"task": named, "config": {"num_head": HEADS}, "step": 3}, path)
        ratel("convert", path, ours)
        ratel("convert", ours, back, "--names", "authors")
        found = load_torch(back)
        assert set(found) == set(state)
        for name, value in state.items():
            wanted = value.float() if dtype == torch.float16 else value
            assert found[name].dtype == wanted.dtype and torch.equal(found[name], wanted), (dtype, name)
    model_file = load_torch(os.path.join(folder, "torch.bfloat16", "model.safetensors"))
    assert all(value.dtype == torch.bfloat16 for value in model_file.values())


def main():
    random = numpy.random.default_rng(5)
    with tempfile.TemporaryDirectory() as folder:
        there_and_back(folder, model(random))
        every_dtype(folder)
        training_state(folder)
        if torch is not None:
            with_torch(folder, random)
    print("bit for bit" + ("" if torch is not None else "; without PyTorch"))


main()
