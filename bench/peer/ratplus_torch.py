"""RAT+ on a GPU in PyTorch as its authors compute it: the figures ratel's CUDA benchmarks stand beside.

    ratplus_torch.py [--seconds S] [--limit S] [--out FILE] NAME...

NAME is a name of one of our benchmarks with --device=cuda ("recurrent_attention/forward/8x4096x2048/H=16,D=64",
"train_step/1b/4x4096"), which says what to compute; one that has no counterpart here is passed over. All of it is
compiled with torch.compile and computes in bf16 as theirs does, with f32 for the gate, the scan, softmax and loss.

Forms:  authors   associative_scan on keys and values side by side with the gate beside them twice; FlexAttention over the
                  dilated keys with a mask that every forward builds anew, the query's own key merged in by its LSE
        cached    the same with the mask kept
        sdpa      for D = 1: scaled_dot_product_attention instead of FlexAttention
The fastest counts; rows say which it was ("best") and what the others took ("forms"). Every form is first checked
against a plain loop in f64. JSON as Google Benchmark writes it.
"""
import argparse
import json
import math
import re
import statistics
import sys
import time

import torch
import torch._dynamo
import torch.nn.functional as F
from torch._higher_order_ops.associative_scan import associative_scan
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

DEVICE, DTYPE = "cuda", torch.bfloat16
# Every shape is compiled anew; without this dynamo would give up after eight, and FlexAttention run unfused.
torch._dynamo.config.recompile_limit = 256
torch._dynamo.config.fail_on_recompile_limit_hit = True
compiled_flex = torch.compile(flex_attention, dynamic=False)


# --- Gated recurrence: h[t] = g[t] h[t-1] + (1 - g[t]) x[t] ---

def combine(left, right):
    return left[0] * right[0], right[0] * left[1] + right[1]


@torch.compile(dynamic=False)
def scan(a, b):
    return associative_scan(combine, (a, b), dim=1, combine_mode="pointwise")[1]


@torch.compile(dynamic=False)
def scan_back(a, b):
    """d[t] = a[t+1] d[t+1] + b[t]."""
    a = torch.cat([a[:, 1:], torch.zeros_like(a[:, :1])], dim=1)
    return associative_scan(combine, (a.flip(1), b.flip(1)), dim=1, combine_mode="pointwise")[1].flip(1)


class Recurrence(torch.autograd.Function):
    """(gate, x), f32, (B, T, C); associative_scan has no backward of its own."""

    @staticmethod
    def forward(ctx, gate, x):
        h = scan(gate, (1 - gate) * x)
        ctx.save_for_backward(gate, x, h)
        return h

    @staticmethod
    def backward(ctx, grad):
        gate, x, h = ctx.saved_tensors
        dh = scan_back(gate, grad)
        before = F.pad(h[:, :-1], (0, 0, 1, 0))
        return dh * (before - x), dh * (1 - gate)


def recurrence(gate, x):
    return Recurrence.apply(gate.float(), x.float()).to(x.dtype)


# --- Dilated attention on (B, H, T, d) ---

def mask_of(T, D):
    """Query i sees row r of the dilated keys, token r D + D - 1, where that lies before it; its own key comes apart."""
    return create_block_mask(lambda b, h, i, r: r * D + D - 1 < i, None, None, T, T // D, device=DEVICE)


MASKS = {}


def cached_mask(T, D):
    if (T, D) not in MASKS:
        MASKS[T, D] = mask_of(T, D)
    return MASKS[T, D]


@torch.compile(dynamic=False)
def merge(q, k, v, out, lse):
    own = (q.float() * k.float()).sum(-1) / math.sqrt(q.shape[-1])
    share = torch.sigmoid(own - lse)[..., None]  # of the query's own key; where no other is seen lse is -inf: 1
    return (share * v.float() + (1 - share) * out.float()).to(q.dtype)


def dilated(q, k, v, D, mask):
    out, lse = compiled_flex(q, k[:, :, D - 1::D], v[:, :, D - 1::D], block_mask=mask(q.shape[2], D), return_lse=True)
    return merge(q, k, v, out, lse)


def sdpa(q, k, v, D, mask):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def attention_forms(D):
    forms = {"authors": (dilated, mask_of), "cached": (dilated, cached_mask)}
    if D == 1:
        forms["sdpa"] = (sdpa, cached_mask)
    return forms


# --- The core of a layer, and the model ---

def rotate(x, cos, sin):
    left, right = x.float().chunk(2, -1)
    return torch.cat([left * cos - right * sin, right * cos + left * sin], -1).to(x.dtype)


def angles(T, d):
    turn = torch.arange(T, device=DEVICE)[:, None] * 10000.0 ** (-torch.arange(0, d, 2, device=DEVICE) / d)
    return turn.cos(), turn.sin()


@torch.compile(dynamic=False)
def before_attention(projection, heads, cos, sin):
    B, T, C5 = projection.shape
    o, q, k, v, g = projection.split(C5 // 5, -1)
    gate = torch.sigmoid(g.float())
    both = torch.cat([k, v], -1).float()
    return o, q.view(B, T, heads, -1).transpose(1, 2), torch.cat([gate, gate], -1), both


@torch.compile(dynamic=False)
def after_scan(h, q, heads, cos, sin, dtype):
    B, T, _ = h.shape
    k, v = (part.view(B, T, heads, -1).transpose(1, 2).to(dtype) for part in h.chunk(2, -1))
    return rotate(q, cos, sin), rotate(k, cos, sin), v


@torch.compile(dynamic=False)
def gated(a, o):
    B, H, T, d = a.shape
    return a.transpose(1, 2).reshape(B, T, H * d) * torch.sigmoid(o.float()).to(o.dtype)


def mix(projection, heads, D, attention, mask):
    B, T, C5 = projection.shape
    cos, sin = angles(T, C5 // 5 // heads)
    o, q, gates, both = before_attention(projection, heads, cos, sin)
    q, k, v = after_scan(Recurrence.apply(gates, both), q, heads, cos, sin, projection.dtype)
    return gated(attention(q, k, v, D, mask), o)


@torch.compile(dynamic=False)
def project(x, norm, weight):
    return F.linear(F.rms_norm(x, x.shape[-1:], norm.to(x.dtype), 1e-6), weight.to(x.dtype))


@torch.compile(dynamic=False)
def add_projection(x, a, weight):
    return x + F.linear(a, weight.to(x.dtype))


@torch.compile(dynamic=False)
def feed_forward(x, norm, fc1, fc2):
    n = F.rms_norm(x, x.shape[-1:], norm.to(x.dtype), 1e-6)
    return x + F.linear(F.gelu(F.linear(n, fc1.to(x.dtype))), fc2.to(x.dtype))


@torch.compile(dynamic=False)
def head_loss(x, norm, weight, labels):
    logits = F.linear(F.rms_norm(x, x.shape[-1:], norm.to(x.dtype), 1e-6), weight.to(x.dtype))
    return F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())


class Layer(torch.nn.Module):
    def __init__(self, C, heads):
        super().__init__()
        weight = lambda *shape: torch.nn.Parameter(torch.randn(*shape, device=DEVICE) * 0.02)
        self.heads = heads
        self.in_norm, self.norm = (torch.nn.Parameter(torch.ones(C, device=DEVICE)) for _ in range(2))
        self.in_proj, self.out_proj = weight(5 * C, C), weight(C, C)
        self.fc1, self.fc2 = weight(4 * C, C), weight(C, 4 * C)

    def forward(self, x, D, attention, mask):
        a = mix(project(x, self.in_norm, self.in_proj), self.heads, D, attention, mask)
        return feed_forward(add_projection(x, a, self.out_proj), self.norm, self.fc1, self.fc2)


class Model(torch.nn.Module):
    def __init__(self, layers=24, C=2048, heads=16, V=32000):
        super().__init__()
        self.embedding = torch.nn.Parameter(torch.randn(V, C, device=DEVICE) * 0.02)
        self.layers = torch.nn.ModuleList(Layer(C, heads) for _ in range(layers))
        self.norm = torch.nn.Parameter(torch.ones(C, device=DEVICE))

    def loss(self, tokens, labels, D, attention, mask):
        x = F.embedding(tokens, self.embedding).to(DTYPE)
        for layer in self.layers:
            x = layer(x, D, attention, mask)
        return head_loss(x, self.norm, self.embedding, labels)


# --- Timing ---

def times_of(call, seconds):
    """Microseconds a call, of as many in a row as take 50 ms, and two at least, after a warm-up that compiles."""
    for _ in range(3):
        call()
    calls = 1

    def sample():
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(calls):
            call()
        stop.record()
        stop.synchronize()
        return start.elapsed_time(stop) * 1e3 / calls

    calls = int(min(max(50e3 / sample(), 2), 1000))
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        times.append(sample())
    return times


def with_backward(f, inputs):
    leaves = [x.detach().requires_grad_() for x in inputs]
    grad = torch.randn_like(f(*leaves))

    def call():
        torch.autograd.backward(f(*leaves), grad)
        for leaf in leaves:
            leaf.grad = None
    return call


def without_backward(f, inputs):
    def call():
        with torch.no_grad():
            f(*inputs)
    return call


def recurrence_calls(shape, wrap):
    gate, x = torch.rand(shape, device=DEVICE, dtype=DTYPE), torch.randn(shape, device=DEVICE, dtype=DTYPE)
    return {"authors": lambda: wrap(recurrence, (gate, x))}


def attention_calls(shape, D, wrap):
    inputs = [torch.randn(shape, device=DEVICE, dtype=DTYPE) for _ in range(3)]
    return {name: lambda a=a, m=m: wrap(lambda q, k, v: a(q, k, v, D, m), inputs)
            for name, (a, m) in attention_forms(D).items()}


def mixing_calls(shape, heads, D, wrap):
    B, T, C = shape
    projection = torch.randn(B, T, 5 * C, device=DEVICE, dtype=DTYPE)
    return {name: lambda a=a, m=m: wrap(lambda p: mix(p, heads, D, a, m), (projection,))
            for name, (a, m) in attention_forms(D).items()}


def train_calls(steps, B, T):
    """One batch, with an optimizer step for each (D, attention) of `steps`."""
    def prepare(mask):
        model = Model()
        optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        tokens, labels = (torch.randint(32000, (B, T), device=DEVICE) for _ in range(2))

        def call():
            for D, attention in steps:
                model.loss(tokens, labels, D, attention, mask).backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return call
    if all(D == 1 for D, _ in steps):
        return {"sdpa": lambda: prepare(cached_mask)}
    return {"authors": lambda: prepare(mask_of), "cached": lambda: prepare(cached_mask)}


def calls_of(name):
    """{form: a function that prepares and returns what is timed}, or None where there is no counterpart."""
    parts = name.split("/")
    wrap = {"forward": without_backward, "forward_backward": with_backward}.get(parts[1])
    sizes = next((tuple(map(int, part.split("x"))) for part in parts if re.fullmatch(r"\d+(x\d+)+", part)), ())
    numbers = dict(re.findall(r"([A-Z])=(-?\d+)", parts[-1]))
    D = int(numbers.get("D", 1))
    if "W" in numbers or "S" in numbers or D < 1:
        return None
    if parts[0] == "gated_recurrence":
        return recurrence_calls(sizes, wrap)
    if parts[0] == "dilated_attention":
        return attention_calls(sizes, D, wrap)
    if parts[0] == "recurrent_attention":
        return mixing_calls(sizes, int(numbers["H"]), D, wrap)
    if parts[:2] == ["train_step", "1b"]:
        return train_calls(((64, dilated), (1, sdpa)), *sizes)
    if parts[:2] == ["train_step_dense", "1b"]:
        return train_calls(((1, sdpa),), *sizes)
    return None


# --- Correctness ---

def check_forms():
    torch.manual_seed(1)
    gate, x = torch.rand(2, 64, 32, device=DEVICE), torch.randn(2, 64, 32, device=DEVICE)
    h, states = torch.zeros(2, 32, device=DEVICE, dtype=torch.float64), []
    for t in range(64):
        h = gate[:, t].double() * h + (1 - gate[:, t].double()) * x[:, t].double()
        states.append(h)
    compare("recurrence", Recurrence.apply(gate, x), torch.stack(states, 1), 1e-5)
    q, k, v = (torch.randn(1, 2, 256, 64, device=DEVICE, dtype=DTYPE) for _ in range(3))
    i, j = torch.arange(256, device=DEVICE)[:, None], torch.arange(256, device=DEVICE)[None]
    for D in (1, 16):
        seen = (j <= i) & (((j + 1) % D == 0) | (i == j))
        scores = (q.double() @ k.double().transpose(-1, -2) / 8).masked_fill(~seen, -math.inf)
        expected = scores.softmax(-1) @ v.double()
        for name, (attention, mask) in attention_forms(D).items():
            compare(f"attention {name} D={D}", attention(q, k, v, D, mask), expected, 2e-2)


def compare(what, value, expected, tolerance):
    error = (value.double() - expected).abs().max().item() / expected.abs().max().item()
    if not error <= tolerance:
        sys.exit(f"ratplus_torch: {what}: error {error}")


def document_of(rows):
    return json.dumps({"context": {"torch": torch.__version__, "blas": "cuBLAS", "threads": "GPU",
                                   "machine": torch.cuda.get_device_name()}, "benchmarks": rows}, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a form is repeated, at least 5 times")
    parser.add_argument("--limit", type=float, default=math.inf, help="seconds after which no form is begun any more")
    parser.add_argument("--out", default="-", help="JSON file, written anew after every row; - is standard output")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("ratplus_torch: PyTorch sees no GPU")
    end = time.perf_counter() + args.limit
    check_forms()
    rows = []
    for name in args.names:
        forms = {}
        for form, prepare in (calls_of(name) or {}).items():
            if time.perf_counter() > end:
                print(f"ratplus_torch: {name} {form}: not begun, {args.limit:.0f} s are over", file=sys.stderr)
                continue
            try:
                forms[form] = times_of(prepare(), args.seconds)
            except (RuntimeError, torch.OutOfMemoryError) as error:
                print(f"ratplus_torch: {name} {form}: {str(error).splitlines()[0]}", file=sys.stderr)
            torch.cuda.empty_cache()
        if not forms:
            continue
        medians = {form: statistics.median(times) for form, times in forms.items()}
        best = min(medians, key=medians.get)
        rows.append({"name": name, "median_us": medians[best], "min_us": min(forms[best]), "best": best,
                     "forms": medians})
        print(f"{name}: {medians[best]:.0f} us ({best})", file=sys.stderr)
        if args.out != "-":
            with open(args.out, "w") as file:
                file.write(document_of(rows) + "\n")
    if args.out == "-":
        print(document_of(rows))


if __name__ == "__main__":
    main()
