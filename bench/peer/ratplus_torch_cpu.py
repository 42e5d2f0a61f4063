"""The same work in eager PyTorch on the CPU: the figures ratel's benchmarks stand beside.

    ratplus_torch_cpu.py [--threads N] [--seconds S] [--out FILE] [--beside PROGRAM --rounds N] NAME...

NAME is a name of one of our benchmarks ("gated_recurrence/forward/8x1024x512"), which says what to compute; one that has
no counterpart here is passed over. Where eager PyTorch can be written in several ways, all of them are timed and the
fastest one counts: rows say which it was ("best") and what the others took ("forms"). Every form is first checked
against the definition. JSON as Google Benchmark writes it, with the median and the least time.

With --beside, one of our benchmark programs and PyTorch take turns at each name, N times: "pairs" are PyTorch's time
over ours in each turn, "ours_us" our times. A ratio of neighbours stands where the machine's speed does not.

Forms of the recurrence:  loop       one lerp a token
                          doubling   Hillis and Steele's scan, log2 T steps on whole tensors: what associative_scan does
                          chunked    T = n L: L lerps on all n chunks at once, then n steps that carry the state over
          with gradients  autograd   PyTorch's own backward of the loop and of the doubling scan
                          manual     the recurrence's backward written by hand as a torch.autograd.Function, by each form
Forms of attention:       masked     baddbmm with a mask as bias, softmax, bmm
                          sdpa       scaled_dot_product_attention, where this PyTorch has it
                          blocked    blocks of queries, each with the keys up to its end only
  dilated, D > 1          gathered   the T/D strided keys and, as one more column, the query's own key
                          blocked    the same in blocks of queries
"""
import argparse
import json
import math
import os
import platform
import re
import statistics
import subprocess
import sys
import time


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=0.5, help="how long a form is repeated, at least 3 times")
    parser.add_argument("--out", default="-", help="JSON file; - is standard output")
    parser.add_argument("--beside", metavar="PROGRAM", help="the benchmark program that knows the names")
    parser.add_argument("--rounds", type=int, default=1)
    return parser.parse_args()


ARGS = arguments() if __name__ == "__main__" else argparse.Namespace(threads=os.cpu_count(), seconds=0.5)
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = str(ARGS.threads)

import torch  # noqa: E402: threads are set before
import torch.nn.functional as F  # noqa: E402

torch.set_num_threads(ARGS.threads)
torch.set_flush_denormal(True)
torch.manual_seed(1)


# --- Gated recurrence: h[t] = g[t] h[t-1] + (1 - g[t]) x[t] = lerp(x[t], h[t-1], g[t]) ---

def chunk_length(T):
    """A divisor of T near its square root: the loops over a chunk and over the chunks are then equally long."""
    return max((L for L in range(1, T + 1) if T % L == 0 and L * L <= T), default=1)


def loop_forward(gate, x):
    out = torch.empty_like(x)
    h = torch.zeros_like(x[:, 0])
    for g, value, o in zip(gate.unbind(1), x.unbind(1), out.unbind(1)):
        h = torch.lerp(value, h, g, out=o)
    return out


def loop_reverse(gate, grad):
    """dh[t] = grad[t] + g[t+1] dh[t+1]."""
    out = torch.empty_like(grad)
    steps = list(zip(grad.unbind(1), out.unbind(1)))
    gates = gate.unbind(1)
    dh = steps[-1][1].copy_(steps[-1][0])
    for t in range(len(steps) - 2, -1, -1):
        dh = torch.addcmul(steps[t][0], gates[t + 1], dh, out=steps[t][1])
    return out


def doubling(a, b):
    """y[t] = a[t] y[t-1] + b[t] by log2 T steps; a and b are overwritten."""
    next_a, next_b = torch.empty_like(a), torch.empty_like(b)
    T, k = b.shape[1], 1
    while k < T:
        torch.addcmul(b[:, k:], a[:, k:], b[:, :-k], out=next_b[:, k:])
        next_b[:, :k] = b[:, :k]
        if 2 * k < T:
            torch.mul(a[:, k:], a[:, :-k], out=next_a[:, k:])
            next_a[:, :k] = a[:, :k]
        a, b, next_a, next_b, k = next_a, next_b, a, b, 2 * k
    return b


def doubling_forward(gate, x):
    return doubling(gate.clone(), torch.addcmul(x, gate, x, value=-1))


def doubling_reverse(gate, grad):
    shifted = torch.cat([gate[:, 1:], torch.zeros_like(gate[:, :1])], 1).flip(1)
    return doubling(shifted, grad.flip(1)).flip(1)


def chunked_forward(gate, x):
    B, T, C = x.shape
    L = chunk_length(T)
    g, out = gate.view(B, T // L, L, C), torch.empty_like(x)
    o = out.view(B, T // L, L, C)
    h = torch.zeros_like(o[:, :, 0])
    for gate_l, x_l, o_l in zip(g.unbind(2), x.view_as(g).unbind(2), o.unbind(2)):
        h = torch.lerp(x_l, h, gate_l, out=o_l)
    decay = g.cumprod(2)
    for j in range(1, T // L):
        o[:, j].addcmul_(decay[:, j], o[:, j - 1, -1:])
    return out


def chunked_reverse(gate, grad):
    B, T, C = grad.shape
    L = chunk_length(T)
    shifted = torch.cat([gate[:, 1:], torch.zeros_like(gate[:, :1])], 1).view(B, T // L, L, C)
    out = torch.empty_like(grad)
    o = out.view(B, T // L, L, C)
    grads, gates, outs = grad.view_as(o).unbind(2), shifted.unbind(2), o.unbind(2)
    decay = torch.empty_like(o)
    decays = decay.unbind(2)
    dh, product = outs[-1].copy_(grads[-1]), decays[-1].copy_(gates[-1])
    for l in range(L - 2, -1, -1):
        dh = torch.addcmul(grads[l], gates[l], dh, out=outs[l])
        product = torch.mul(gates[l], product, out=decays[l])
    for j in range(T // L - 2, -1, -1):
        o[:, j].addcmul_(decay[:, j], o[:, j + 1, :1])
    return out


SCANS = {"loop": (loop_forward, loop_reverse), "doubling": (doubling_forward, doubling_reverse),
         "chunked": (chunked_forward, chunked_reverse)}


class ManualRecurrence(torch.autograd.Function):
    """dx = (1 - g) dh;  dg[t] = dh[t] (h[t-1] - x[t])."""

    @staticmethod
    def forward(ctx, gate, x, form):
        h = SCANS[form][0](gate, x)
        ctx.form = form
        ctx.save_for_backward(gate, x, h)
        return h

    @staticmethod
    def backward(ctx, grad):
        gate, x, h = ctx.saved_tensors
        dh = SCANS[ctx.form][1](gate, grad.contiguous())
        d_gate = torch.empty_like(x)
        torch.sub(h[:, :-1], x[:, 1:], out=d_gate[:, 1:])
        torch.neg(x[:, 0], out=d_gate[:, 0])
        return d_gate.mul_(dh), torch.addcmul(dh, dh, gate, value=-1), None


def autograd_loop(gate, x):
    h, states = torch.zeros_like(x[:, 0]), []
    for g, value in zip(gate.unbind(1), x.unbind(1)):
        h = torch.lerp(value, h, g)
        states.append(h)
    return torch.stack(states, 1)


def autograd_doubling(gate, x):
    a, b, k = gate, torch.addcmul(x, gate, x, value=-1), 1
    while k < x.shape[1]:
        b = torch.cat([b[:, :k], torch.addcmul(b[:, k:], a[:, k:], b[:, :-k])], 1)
        a = torch.cat([a[:, :k], a[:, k:] * a[:, :-k]], 1)
        k *= 2
    return b


def recurrence_forms(with_gradients):
    if not with_gradients:
        return {name: scan[0] for name, scan in SCANS.items()}
    forms = {"autograd loop": autograd_loop, "autograd doubling": autograd_doubling}
    for name in SCANS:
        forms["manual " + name] = lambda gate, x, name=name: ManualRecurrence.apply(gate, x, name)
    return forms


# --- Attention: q, k, v (N, T, d), N = B H; query i sees key j <= i where (j + 1) % D == 0, or j = i ---

QUERY_BLOCK = 256
MASKS = {}


def causal_bias(rows, columns, D=1):
    """(rows, columns) of 0 and -inf. D = 1: keys up to the query. Else: dilated keys strictly before it."""
    key = (rows, columns, D)
    if key not in MASKS:
        i, j = torch.arange(rows)[:, None], torch.arange(columns)[None]
        MASKS[key] = torch.zeros(rows, columns).masked_fill_(j > i if D == 1 else j >= i // D, -math.inf)
    return MASKS[key]


def dense_masked(q, k, v):
    T, d = q.shape[1:]
    return torch.baddbmm(causal_bias(T, T), q, k.transpose(1, 2), alpha=d ** -0.5).softmax(-1) @ v


def dense_blocked(q, k, v):
    T, d = q.shape[1:]
    q, out = q * d ** -0.5, []
    for begin in range(0, T, QUERY_BLOCK):
        end = min(T, begin + QUERY_BLOCK)
        score = torch.bmm(q[:, begin:end], k[:, :end].transpose(1, 2))
        score[:, :, begin:] += causal_bias(end - begin, end - begin)
        out.append(torch.bmm(score.softmax(-1), v[:, :end]))
    return torch.cat(out, 1)


def dense_sdpa(q, k, v):
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return F._scaled_dot_product_attention(q, k, v, None, 0.0, False, True)[0]


def dilated_gathered(q, k, v, D, keys=None, values=None, first=0):
    """The keys D-1, 2D-1, ... before each query, which is number `first` onwards, and its own."""
    rows, d = q.shape[1:]
    n = (first + rows - 1) // D
    keys, values = (k[:, D - 1::D], v[:, D - 1::D]) if keys is None else (keys, values)
    own = (q * k).sum(-1, keepdim=True)
    if n == 0:
        return v
    bias = causal_bias(first + rows, n, D)[first:]
    score = torch.cat([torch.baddbmm(bias, q, keys[:, :n].transpose(1, 2)), own], -1)
    p = (score * d ** -0.5).softmax(-1)
    return torch.addcmul(torch.bmm(p[:, :, :n], values[:, :n]), p[:, :, n:], v)


def dilated_blocked(q, k, v, D):
    keys, values = k[:, D - 1::D].contiguous(), v[:, D - 1::D].contiguous()
    blocks = [slice(begin, begin + 2 * QUERY_BLOCK) for begin in range(0, q.shape[1], 2 * QUERY_BLOCK)]
    return torch.cat([dilated_gathered(q[:, b], k[:, b], v[:, b], D, keys, values, b.start) for b in blocks], 1)


def attention_forms(D):
    if D == 1:
        forms = {"masked": dense_masked, "blocked": dense_blocked}
        if hasattr(F, "scaled_dot_product_attention") or hasattr(F, "_scaled_dot_product_attention"):
            forms["sdpa"] = dense_sdpa
        return forms
    return {"gathered": lambda q, k, v: dilated_gathered(q, k, v, D),
            "blocked": lambda q, k, v: dilated_blocked(q, k, v, D)}


# --- The layer and the model ---

ROPE = {}


def rope(x):
    """x (N, T, d)."""
    T, d = x.shape[1:]
    if (T, d) not in ROPE:
        angle = torch.arange(T)[:, None] * 10000.0 ** (-torch.arange(0, d, 2) / d)
        ROPE[T, d] = torch.cat([angle.cos()] * 2, -1), torch.cat([-angle.sin(), angle.sin()], -1)
    cos, sin = ROPE[T, d]
    return torch.addcmul(x * cos, torch.cat([x[..., d // 2:], x[..., :d // 2]], -1), sin)


def recurrent_attention(projection, heads, recurrence, attention):
    """(B, T, 5C) -> (B, T, C)."""
    B, T, width = projection.shape
    C = width // 5
    o, q, k, v, g = projection.split(C, -1)
    gate = torch.sigmoid(g)
    kv = recurrence(torch.cat([gate, gate], -1), torch.cat([k, v], -1))  # one scan for both: fewer, larger steps
    split = lambda t: t.reshape(B, T, heads, C // heads).transpose(1, 2).reshape(B * heads, T, C // heads)
    a = attention(rope(split(q)), rope(split(kv[..., :C])), split(kv[..., C:]))
    return a.view(B, heads, T, C // heads).transpose(1, 2).reshape(B, T, C) * torch.sigmoid(o)


def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * weight


def tiny_weights(V=257, layers=4, C=128):
    normal = lambda *shape: (0.02 * torch.randn(*shape)).requires_grad_()
    one = lambda: torch.ones(C, requires_grad=True)
    layer = lambda: {"norm": one(), "in": normal(5 * C, C), "out": normal(C, C), "ln": one(), "fc1": normal(4 * C, C),
                     "fc2": normal(C, 4 * C)}
    return {"embedding": normal(V, C), "norm": one(), "layers": [layer() for _ in range(layers)]}


def loss_of(weights, tokens, labels, heads, recurrence, attention):
    x = F.embedding(tokens, weights["embedding"])
    for w in weights["layers"]:
        mixed = recurrent_attention(F.linear(rms_norm(x, w["norm"]), w["in"]), heads, recurrence, attention)
        x = x + F.linear(mixed, w["out"])
        x = x + F.linear(F.gelu(F.linear(rms_norm(x, w["ln"]), w["fc1"])), w["fc2"])
    logits = F.linear(rms_norm(x, weights["norm"]), weights["embedding"])
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)


# --- Measuring ---

def times_of(call, seconds):
    call()
    times, begin = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < seconds and len(times) < 1000):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def fastest(forms, prepare):
    """Times prepare(form) of every form. Returns (name of the fastest, its times, {name: median us})."""
    times = {name: times_of(prepare(form), ARGS.seconds) for name, form in forms.items()}
    best = min(times, key=lambda name: statistics.median(times[name]))
    return best, times[best], {name: round(statistics.median(t) * 1e6, 1) for name, t in times.items()}


def timed(op, inputs, with_gradients):
    """A call of op(*inputs), and of its backward where gradients are wanted."""
    if not with_gradients:
        def call():
            with torch.no_grad():
                op(*inputs)
        return call
    leaves = [x.detach().requires_grad_() for x in inputs]
    grad = torch.randn_like(op(*inputs))

    def call():
        op(*leaves).backward(grad)
        for leaf in leaves:
            leaf.grad = None
    return call


def check_close(forms, definition, inputs, what):
    """Every form gives what the definition gives, gradients included."""
    def results(op):
        leaves = [x.detach().requires_grad_() for x in inputs]
        out = op(*leaves)
        cotangent = torch.linspace(-1, 1, out.numel()).view_as(out)
        return [out] + list(torch.autograd.grad(out, leaves, cotangent)) if out.requires_grad else [out]
    expected = results(definition)
    for name, form in forms.items():
        for found, wanted in zip(results(form), expected):
            error = (found - wanted).abs().max() / wanted.abs().max()
            if not error < 1e-4:
                sys.exit(f"ratplus_torch_cpu: {what}, {name}: differs from the definition by {error:.1e}")


def check_all():
    gate, x = torch.rand(2, 36, 8), torch.randn(2, 36, 8)
    with torch.no_grad():
        check_close(recurrence_forms(False), autograd_loop, (gate, x), "recurrence")
    check_close(recurrence_forms(True), autograd_loop, (gate, x), "recurrence")
    q, k, v = torch.randn(3, 2, 600, 16).unbind(0)
    i, j = torch.arange(600)[:, None], torch.arange(600)[None]
    for D in (1, 16):
        hidden = ~((j <= i) & (((j + 1) % D == 0) | (i == j)))
        definition = lambda q, k, v: (q @ k.transpose(1, 2) / 4).masked_fill(hidden, -math.inf).softmax(-1) @ v
        check_close(attention_forms(D), definition, (q, k, v), f"attention D={D}")


def sizes(text):
    return [int(size) for size in text.split("x")]


def matmul_row(kind, shape):
    """Sizes as in our names: [batch x] M x N x K."""
    *batch, M, N, K = shape
    a = torch.randn(*batch, *((K, M) if kind == "_tn" else (M, K)))
    b = torch.randn(*batch, *((N, K) if kind == "_nt" else (K, N)))
    a, b = a.mT if kind == "_tn" else a, b.mT if kind == "_nt" else b
    return fastest({"matmul": torch.matmul}, lambda op: timed(op, (a, b), False))


def recurrence_row(with_gradients, shape):
    inputs = torch.rand(*shape), torch.randn(*shape)
    return fastest(recurrence_forms(with_gradients), lambda op: timed(op, inputs, with_gradients))


def attention_row(with_gradients, shape, D):
    B, H, T, d = shape
    inputs = torch.randn(3, B * H, T, d).unbind(0)
    return fastest(attention_forms(D), lambda op: timed(op, inputs, with_gradients))


def layer_parts(B, T, C, heads, dilations, with_gradients):
    """The fastest recurrence and, for each dilation, attention at these sizes, with their names."""
    recurrence = recurrence_row(with_gradients, (B, T, 2 * C))[0]
    attention = {D: attention_row(with_gradients, (B, heads, T, C // heads), D)[0] for D in dilations}
    return (recurrence_forms(with_gradients)[recurrence], {D: attention_forms(D)[attention[D]] for D in dilations},
            ", ".join([recurrence, *attention.values()]))


def mixing_row(with_gradients, shape, heads, D):
    B, T, C = shape
    recurrence, attention, names = layer_parts(B, T, C, heads, [D], with_gradients)
    op = lambda projection: recurrent_attention(projection, heads, recurrence, attention[D])
    return fastest({names: op}, lambda op: timed(op, (torch.randn(B, T, 5 * C),), with_gradients))


def train_row(shape):
    B, T = shape
    recurrence, attention, names = layer_parts(B, T, 128, 2, [64, 1], True)
    weights = tiny_weights()
    parameters = [weights["embedding"], weights["norm"]] + [w for layer in weights["layers"] for w in layer.values()]
    options = {"lr": 3e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    tokens, labels = torch.randint(0, 256, (2, B, T)).unbind(0)

    def prepare(foreach):
        optimizer = torch.optim.AdamW(parameters, foreach=foreach, **options)

        def step():
            for D in (64, 1):
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(weights, tokens, labels, 2, recurrence, attention[D])
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                loss.item()
        return step
    return fastest({names: False, names + ", foreach": True}, prepare)


def row_of(name):
    """Times what a name says: (best form, times, all forms), or None."""
    if match := re.fullmatch(r"matmul(_nt|_tn|)(?:/forward)?/([\dx]+)", name):
        return matmul_row(match[1], sizes(match[2]))
    if match := re.fullmatch(r"gated_recurrence/(forward|forward_backward)/([\dx]+)", name):
        return recurrence_row(match[1] != "forward", sizes(match[2]))
    if match := re.fullmatch(r"dilated_attention/(forward|forward_backward)/([\dx]+)/D=(\d+)", name):
        return attention_row(match[1] != "forward", sizes(match[2]), int(match[3]))
    if match := re.fullmatch(r"recurrent_attention/(forward|forward_backward)/([\dx]+)/H=(\d+),D=(\d+)", name):
        if sizes(match[2])[1] <= 8192:
            return mixing_row(match[1] != "forward", sizes(match[2]), int(match[3]), int(match[4]))
    if match := re.fullmatch(r"train_step/tiny/(\d+x\d+)", name):
        return train_row(sizes(match[1]))
    return None


def blas():
    """The library whose code the products run in, by the file that is mapped."""
    torch.randn(64, 64) @ torch.randn(64, 64)
    with open("/proc/self/maps") as maps:
        files = {os.path.basename(line.split()[-1]) for line in maps if re.search(r"/lib[^/]*(blas|mkl)[^/]*$", line.strip())}
    info = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return ", ".join(sorted(files)) or (info[1] if info else "unknown")


def ours_of(name):
    """Our median in microseconds, from a process of its own."""
    time.sleep(0.1)  # by then the threads of the BLAS have stopped looking for work
    run = subprocess.run([ARGS.beside, "--ceilings=off", f"--benchmark_filter=^{re.escape(name)}(/manual_time)?$",
                          f"--benchmark_min_time={ARGS.seconds}", "--benchmark_format=json"],
                         capture_output=True, text=True, check=True)
    return json.loads(run.stdout)["benchmarks"][0]["median_us"]


def main():
    check_all()
    rows = []
    for name in ARGS.names:
        ours, theirs = [], []
        for _ in range(ARGS.rounds):
            if (result := row_of(name)) is None:
                break
            theirs.append(result)
            if ARGS.beside:
                ours.append(ours_of(name))
        if not theirs:
            continue
        best, times, forms = min(theirs, key=lambda result: statistics.median(result[1]))
        row = {"name": name, "run_type": "iteration", "iterations": len(times), "time_unit": "us",
               "real_time": statistics.mean(times) * 1e6, "median_us": statistics.median(times) * 1e6,
               "min_us": min(times) * 1e6, "best": best, "forms": forms}
        if ours:
            row["ours_us"] = ours
            row["pairs"] = [statistics.median(result[1]) * 1e6 / us for result, us in zip(theirs, ours)]
        rows.append(row)
        print(f"{name:60} {row['median_us']:12.0f} us  {best}", file=sys.stderr, flush=True)
    context = {"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "torch": torch.__version__, "blas": blas(),
               "threads": str(torch.get_num_threads()), "python": platform.python_version()}
    text = json.dumps({"context": context, "benchmarks": rows}, indent=2) + "\n"
    if ARGS.out == "-":
        sys.stdout.write(text)
    else:
        with open(ARGS.out, "w") as file:
            file.write(text)


if __name__ == "__main__":
    main()
