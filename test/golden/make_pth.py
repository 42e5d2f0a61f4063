"""Makes the checkpoints of test/golden/pth with a real PyTorch, and beside each what its tensors are, as safetensors.

    python3 make_pth.py            once with PyTorch 1.13 (Debian's python3-torch), once with 2.x

Files are named torch1_* or torch2_* by the PyTorch that made them; what does not depend on it is made by 2.x alone.
Values are a function of the names. Needs nothing but torch and numpy.
"""
import io
import json
import os
import struct
import sys
import tarfile
import types
import zipfile
from collections import OrderedDict

import numpy
import torch

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pth")
MAJOR = int(torch.__version__.split(".")[0])
PREFIX = f"torch{MAJOR}_"

VOCAB, CHANNELS, LAYERS, HEADS = 13, 8, 2, 2


def foreign(module, name, base=object):
    """A class of a package that is not there when the file is read."""
    made = types.ModuleType(module)
    kind = type(name, (base,), {"__module__": module})
    setattr(made, name, kind)
    for depth in range(1, module.count(".") + 2):
        part = ".".join(module.split(".")[:depth])
        sys.modules.setdefault(part, made if part == module else types.ModuleType(part))
    return kind


def easy_dict(values):
    """A dict whose values are attributes too, as EasyDict is: both are in its pickle."""
    made = EASY_DICT()
    for key, value in values.items():
        value = easy_dict(value) if isinstance(value, dict) else value
        made[key] = value
        made.__dict__[key] = value
    return made


EASY_DICT = foreign("easydict", "EasyDict", dict)
DICT_CONFIG = foreign("omegaconf.dictconfig", "DictConfig")
ANY_NODE = foreign("omegaconf.nodes", "AnyNode")


def omega(value, parent=None):
    """Values wrapped as OmegaConf wraps them, with links to their parents."""
    if isinstance(value, dict):
        made = DICT_CONFIG()
        made.__dict__.update(_parent=parent, _metadata=None)
        made.__dict__["_content"] = {key: omega(item, made) for key, item in value.items()}
        return made
    made = ANY_NODE()
    made.__dict__.update(_parent=parent, _val=value)
    return made


def numbers(name, *shape):
    generator = torch.Generator().manual_seed(sum(name.encode()) * 7919 % 2**31)
    return torch.randn(*shape, generator=generator) * 0.05


def model(dtype=torch.float32, projections=5, prefix=""):
    """A RAT+ model's state dict in the authors' names, the head tied."""
    state = OrderedDict()
    add = lambda name, *shape: state.__setitem__(prefix + name, numbers(name, *shape).to(dtype))
    add("embedding.wte.weight", VOCAB, CHANNELS)
    for layer in range(LAYERS):
        at = f"backbone.layers.{layer}."
        add(at + "seq_layer.in_proj.weight", projections * CHANNELS, CHANNELS)
        add(at + "seq_layer.input_norm.weight", CHANNELS)
        add(at + "seq_layer.out_proj.weight", CHANNELS, CHANNELS)
        add(at + "hidden_layer.ln.weight", CHANNELS)
        add(at + "hidden_layer.fc1.weight", 4 * CHANNELS, CHANNELS)
        add(at + "hidden_layer.fc2.weight", CHANNELS, 4 * CHANNELS)
    add("backbone.ln.weight", CHANNELS)
    state[prefix + "head.lm_head.weight"] = state[prefix + "embedding.wte.weight"]
    return state


def config(**more):
    cell = {"_name_": "ratplus", "d_model": CHANNELS, "d_head": CHANNELS // HEADS, "num_head": HEADS,
            "dilation_size": 64, "local_size": 0, "initial_size": 0, "apply_re": True, "joint_train": True}
    cell.update(more)
    return {"model": {"backbone": {"num_layers": LAYERS, "seq_cell": cell},
                      "embedding": {"pe": {"_name_": "rope", "base": 10000}}},
            "trainer": {"betas": [0.9, 0.95], "load_checkpoint": False, "pretrained_path": None}}


def optimizer_state():
    weight = torch.nn.Parameter(numbers("weight", 3, 2))
    optimizer = torch.optim.AdamW([weight], lr=1e-3)
    weight.sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def checkpoint(state, config_value, **more):
    return {"task": state, "config": config_value, "step": 7, "optimizer": optimizer_state(),
            "lr_scheduler": {"last_epoch": 8, "_last_lr": [numpy.float64(0.25)]}, **more}


def of_all_kinds():
    base = torch.arange(24, dtype=torch.float32) / 8 - 1
    halves = torch.tensor([0.0, -0.0, 1.5, 65504.0, 6e-8, float("inf"), float("nan"), -0.1]).half()
    state = OrderedDict()
    state["f32"] = base.clone()
    state["f64"] = base.double() / 3
    state["bf16"] = base.bfloat16()
    state["f16"] = halves
    state["i64"] = torch.tensor([-(2**63), 2**63 - 1])
    state["i32"] = torch.tensor([[-(2**31)], [2**31 - 1]], dtype=torch.int32)
    state["u8"] = torch.arange(7, dtype=torch.uint8)
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.empty(0, 3)
    state["shared"] = base
    state["shared.slice"] = base[5:17]
    state["shared.transposed"] = base.view(4, 6).t()
    state["shared.steps"] = base.view(4, 6)[1:, ::2]
    state["stretched"] = torch.tensor([[1.0], [2.0]]).expand(2, 3)
    state["half.transposed"] = halves.view(2, 4).t()
    state["parameter"] = torch.nn.Parameter(base[:3].clone())
    state["nested"] = {"a": base[:2].clone(), "b": OrderedDict(c=base[2:4].clone())}
    return state


def flat(state, prefix=""):
    for name, value in state.items():
        if isinstance(value, dict):
            yield from flat(value, prefix + name + ".")
        else:
            yield prefix + name, value.detach()


DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
          torch.uint8: "U8"}


def write_expected(name, state):
    """f16 is expected as f32, which is how it is read."""
    header, data = {}, b""
    for key, value in flat(state):
        value = value.float() if value.dtype == torch.float16 else value
        value = value.contiguous()
        raw = value.view(torch.int16) if value.dtype == torch.bfloat16 else value
        raw = raw.numpy().tobytes()
        header[key] = {"dtype": DTYPES[value.dtype], "shape": list(value.shape),
                       "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    with open(os.path.join(HERE, PREFIX + name + ".safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def path_of(name):
    return os.path.join(HERE, PREFIX + name + ".pth")


def save(name, value, expected=None, **options):
    torch.save(value, path_of(name), **options)
    if expected is not None:
        write_expected(name, expected)


def rewrite(source, name, method=zipfile.ZIP_STORED, zip64=False, change=lambda name, data: data):
    """The same archive written by Python's zipfile."""
    limit = zipfile.ZIP_FILECOUNT_LIMIT
    if zip64:
        zipfile.ZIP_FILECOUNT_LIMIT = 0  # then the end record is one of zip64 too
    with zipfile.ZipFile(path_of(source)) as old, zipfile.ZipFile(path_of(name), "w", method) as new:
        for entry in old.infolist():
            info = zipfile.ZipInfo(entry.filename)
            info.compress_type = method
            with new.open(info, "w", force_zip64=zip64) as file:
                file.write(change(entry.filename, old.read(entry)))
    zipfile.ZIP_FILECOUNT_LIMIT = limit


def main():
    os.makedirs(HERE, exist_ok=True)
    kinds = of_all_kinds()
    save("kinds", checkpoint(kinds, easy_dict(config())), kinds)
    state = model(prefix="_orig_mod.")
    save("model", checkpoint(state, easy_dict(config())), state)
    if MAJOR < 2:
        return
    save("protocol4", kinds, kinds, pickle_protocol=4)
    save("unsigned", {"state_dict": {"u16": torch.arange(5).to(torch.uint16)}})  # of a storage without a type
    state = model(torch.bfloat16, projections=4, prefix="module._orig_mod.")
    save("baseline_bf16", {"model": state, "epoch": 1}, state)
    state = model(torch.float16)
    for layer in range(LAYERS):  # the gate's projection apart, as in checkpoints of before
        at = f"backbone.layers.{layer}.seq_layer."
        whole = state[at + "in_proj.weight"]
        state[at + "in_proj.weight"] = whole[: 4 * CHANNELS].clone()
        state[at + "fgate_proj.weight"] = whole[4 * CHANNELS:].clone()
    save("gate_apart_f16", checkpoint(state, omega(config())), state)
    state = model()
    save("adapted", checkpoint(state, easy_dict(config(dilation_size=[16, 8], local_size=4, joint_train=False))), state)
    state = model()
    state["head.lm_head.weight"] = state["embedding.wte.weight"] + 1
    save("untied", checkpoint(state, easy_dict(config())))
    save("legacy", model(), _use_new_zipfile_serialization=False)
    rewrite("model", "zip64", zip64=True)
    rewrite("model", "deflated", method=zipfile.ZIP_DEFLATED)
    rewrite("model", "big_endian", change=lambda name, data: b"big" if name.endswith("/byteorder") else data)
    with tarfile.open(path_of("tar"), "w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"\0\0\0\0"))


main()
