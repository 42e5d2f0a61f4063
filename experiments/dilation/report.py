"""Writes RESULTS.md and its figure from results/*.json, and the README's part from results/cpu.json.

    report.py            writes them
    report.py --check    exits with 1 where one of them is not that of its JSON
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import sys
import tempfile

from claims import Judge
from results import Results, mean_and_spread
from sizes import HERE, MAIN, MODELS, ROOT, SIZES, View

FIGURE = "results/loss_by_dilation_{}.svg"
BEGIN, END = "<!-- dilation:begin -->", "<!-- dilation:end -->"
RAT_PLUS, ATTENTION = MODELS[3], MODELS[0]
GUESS = (math.log(9) + 6 * math.log(10)) / 9  # nats a byte of " 1234567." with digits alike, the first not 0


def table(header, rows, left=1):
    """Markdown; the first `left` columns are text."""
    return ["| " + " | ".join(header) + " |", "|" + "---|" * left + "---:|" * (len(header) - left)] + [
        "| " + " | ".join(row) + " |" for row in rows]


def losses(results, model, view, when):
    return results.over_seeds(lambda seed: results.loss(model, view, when, seed))


def loss_table(results, models, views, when_title):
    rows = []
    for model in models:
        for when, title in when_title:
            rows.append([f"{model.title}, {title}"] +
                        [mean_and_spread(losses(results, model, view, when)) for view in views])
    return table(["model"] + [view.title for view in views], rows)


def figure_of(results):
    """What `ratel plot --chart` draws: a colour a model, solid before adaptation and dashed after it."""
    size, series = results.size, []
    for color, model in enumerate(MAIN):
        for when, stroke in (("before", "solid"), ("after", "dashed")):
            points = [(dilation, losses(results, model, View(dilation), when)) for dilation in size.dilations]
            points = [(dilation, statistics.mean(values)) for dilation, values in points if values]
            if points:
                title = model.title + (", adapted" if when == "after" else "")
                series.append({"name": title, "x": [x for x, _ in points], "y": [y for _, y in points],
                               "stroke": stroke, "color": color})
    return {"title": "Held-out loss by dilation", "x_label": "dilation D", "y_label": "loss (nats per byte)",
            "x_scale": "log", "x_ticks": list(size.dilations), "series": series}


def draw(results, folder, ratel):
    figure = folder / FIGURE.format(results.size.name)
    chart = figure_of(results)
    if not chart["series"]:
        return
    with tempfile.TemporaryDirectory() as scratch:
        description = pathlib.Path(scratch) / "chart.json"
        description.write_text(json.dumps(chart))
        subprocess.run([ratel, "plot", "--chart", description, "--output", figure], check=True,
                       stdout=subprocess.DEVNULL)


def setting(results):
    data, size = results.data, results.size
    model, train = data["config"]["model"], data["config"]["train"]
    sizes = f"the preset `{model['preset']}`" if "preset" in model and "layers" not in model else \
        f"{model['layers']} layers x {model['channels']} channels, {model['heads']} heads"
    batch = data["config"]["data"]
    tokens = train["steps"] * batch["batch_size"] * batch["seq_len"]
    trained = results.piece(f"seed{results.seeds[0]}", RAT_PLUS.name, "pretrain") if results.seeds else None
    text = {"austen": "five of Jane Austen's novels, and the beginning of the sixth, *Persuasion*, is held out",
            "medium": "28 MB of prose and documentation, and of its last tenth the beginning is held out"}
    return (f"{data['machine']}, {data['cores']} cores, device {data['device']}, {data['dtype']}; commit "
            f"{', '.join(data['commits'])}; {data['date'][:10]}; seeds {', '.join(map(str, results.seeds))}. Every model "
            f"is {sizes}"
            + (f" ({trained['parameters']:,} parameters with the recurrence)" if trained and "parameters" in trained else "")
            + f", trained on {train['steps']} batches of {batch['batch_size']} x {batch['seq_len']} bytes "
            f"({tokens:,} in all) of {text.get(size.text, 'a text, and its last tenth is held out')}, at a peak rate of "
            f"{data['config']['optimizer']['peak_rate']:g}; adapted for {size.adapt_steps} batches at "
            f"{size.adapt_rate:g} of that rate. Losses are over {size.heldout_bytes:,} held-out bytes. "
            f"{data['seconds'] / 60:.0f} minutes of commands, {size.jobs} at a time. Made by `{data['command']}`; every "
            f"number, with its command, is in [results/{size.name}.json](results/{size.name}.json).")


def costs_table(results):
    """KV bytes and decode speed beside each D; of the first seed."""
    rows = []
    at = f"seed{results.size.seeds[0]}"
    for view in results.size.views():
        row = [view.title]
        for model in (RAT_PLUS, ATTENTION):
            bench = results.piece(at, model.name, "decode", view.name)
            if bench is None:
                row += ["-", "-"] if model is RAT_PLUS else ["-"]
                continue
            line = bench["rows"][0]
            speed = f"{line['tokens_per_second']:,.0f}"
            row += [f"{line['kv_bytes']:,}", speed] if model is RAT_PLUS else [speed]
        for when in ("before", "after"):
            row.append(mean_and_spread(losses(results, RAT_PLUS, view, when)))
        rows.append(row)
    return table(["pattern", "KV cache, bytes", "decode RAT+, tokens/s", "decode attention, tokens/s", "RAT+ loss before",
                  "after"], rows)


def hybrid(results):
    at = f"seed{results.size.seeds[0]}"
    found = results.piece(at, RAT_PLUS.name, "hybrid", "search")
    if found is None:
        return ["Not measured."]
    search, seed = found["search"], results.size.seeds[0]
    uniform = results.loss(RAT_PLUS, View(16), "before", seed)
    beside = "" if uniform is None else f", and uniform D=16, which has as many bytes, {uniform:.4f}"
    verdict = {"better": "better than", "tie": "a tie with", "worse": "worse than"}[search["verdict"]]
    return [f"`ratel search --kv-budget 1/16 --heads`, run on the training text, found a pattern by head that it calls "
            f"{verdict} the best uniform one: {search['found']['loss']:.5f} against "
            f"{search['best_uniform']['loss']:.5f} nats there, a difference of {search['difference']:.5f} with a standard "
            f"error of {search['standard_error']:.5f}. On the held-out text what it wrote (the {search['written']} one) "
            f"gives {found['before']['loss']:.4f} before adaptation{beside}.", "", "```toml",
            found["pattern"].strip(), "```"]


def needle_table(results):
    size, rows = results.size, []
    for model in MAIN:
        row = [model.title]
        for dilation in size.needle_dilations:
            def of(metric):
                return results.over_seeds(lambda seed: results.needle(model, dilation, metric, seed))
            shares = [100 * share for share in of("string_match")]
            row += [mean_and_spread(shares, 0) + ("%" if shares else ""), mean_and_spread(of("answer_loss"), 2)]
        rows.append(row)
    header = ["model"]
    for dilation in size.needle_dilations:
        header += [f"found, D={dilation}", "answer loss"]
    return table(header, rows)


def gates_table(results):
    gates = results.piece(f"seed{results.size.seeds[0]}", RAT_PLUS.name, "gates")
    if gates is None:
        return ["Not measured."]
    rows = []
    for layer in gates["layers"]:
        constant, carrying = layer["time_constant"], f"{layer['carrying']} of {layer['channels']}"
        rows.append([str(layer["layer"]), f"{layer['gate']['mean']:.3f}", f"{constant['median']:.1f}",
                     f"{constant['p90']:.1f}", carrying, f"{100 * layer['gradient']['share']:.0f}%"])
    return table(["layer", "mean gate", "time constant, median", "90% below", f"channels that carry {gates['span']} tokens",
                  "gates' share of the gradient"], rows)


def missing(results):
    size = results.size
    expected = {name for seed in size.seeds for name in results.losses_of(seed)}
    expected |= {f"seed{seed}/{model.name}/needle/D{dilation}" for seed in size.seeds for model in MODELS
                 for dilation in size.needle_dilations if size.asks_for_needles(model, seed)}
    return sorted(expected - set(results.pieces))


def section(results):
    size = results.size
    judge = Judge(results)
    lines = [f"## Size `{size.name}`", "", setting(results), "", "### Loss by dilation", "",
             f"Held-out loss in nats a byte, mean ± standard deviation over {len(results.seeds)} seeds, before and after "
             "a short adaptation to the very pattern.", ""]
    lines += loss_table(results, MAIN, size.views(), (("before", "before"), ("after", "after")))
    lines += ["", f"![Held-out loss by dilation]({FIGURE.format(size.name)})", "",
              "Joint training makes two updates a batch. At as many updates, the others on twice the batches:", ""]
    lines += loss_table(results, MODELS[4:], size.views(MODELS[4]), (("before", "before"), ("after", "after")))
    lines += ["", "### What agrees with the paper, what does not, and what was too small to say", ""]
    lines += table(["the paper", "seen here", "verdict"],
                   [[claim.paper, claim.seen, claim.verdict] for claim in judge.claims()], left=3)
    lines += ["", "Differences are taken seed by seed. They count where all seeds agree, their mean is two standard errors "
              "from 0, and it is at least 0.002 nats.", "", "### Top-k blocks", "",
              f"Held-out loss where a query sees {size.top_blocks} blocks of {size.block_size} keys: the first, its own, "
              "and those that score best. Not adapted to: the choice of blocks has no gradient.", ""]
    lines += loss_table(results, MODELS, size.block_views(), (("before", "before"),))
    lines += ["", "### What a dilation saves", "",
              f"KV cache and decoding at {size.bench_length} tokens, batch 1, seed {size.seeds[0]}, beside the loss of RAT+.",
              ""]
    lines += costs_table(results)
    lines += ["", "### The hybrid for a sixteenth of the cache", ""] + hybrid(results)
    length = results.data["config"]["data"]["seq_len"]
    lines += ["", f"### A needle in {length} tokens", "",
              f"RULER's single_1, made by `ratel needles`: each model is fine-tuned through the pattern on "
              f"{size.needle_steps} batches of such texts, then asked {size.needle_examples} others. Share of the numbers "
              "that its text contains, and the loss of the expected answer in nats a byte: a guess at seven digits, "
              f"of a space and a full stop that are known, costs {GUESS:.2f}.", ""]
    lines += needle_table(results)
    lines += ["", "### The gates of RAT+", "", "`ratel inspect --gates` on the held-out text, dense: time constants in "
              "tokens, over the channels of a layer.", ""]
    lines += gates_table(results)
    absent = missing(results)
    if absent:
        lines += ["", "### Missing", "", f"{len(absent)} pieces were not run: " + ", ".join(
            f"`{name}`" for name in absent[:12]) + (", ..." if len(absent) > 12 else "") + "."]
    return lines


def document(all_results):
    lines = ["# The claim, measured: attention collapses when dilated, RAT+ does not", "",
             "Written by `report.py` from `results/`; [README.md](README.md) says what is done and how to repeat it.", ""]
    for size in ("cpu", "gpu"):
        if size in all_results:
            lines += section(all_results[size]) + [""]
        else:
            lines += [f"## Size `{size}`", "", f"Missing: `run.py {size}` has not been run"
                      + (", no GPU was at hand." if size == "gpu" else "."), ""]
    for size in sorted(set(all_results) - {"cpu", "gpu"}):
        lines += section(all_results[size]) + [""]
    return "\n".join(lines).rstrip() + "\n"


def readme_part(results):
    """What the project's README shows."""
    size = results.size
    views = [View(dilation) for dilation in (1, 4, 16, 64) if dilation in size.dilations]
    lines = [BEGIN, f"![Held-out loss by dilation](experiments/dilation/{FIGURE.format(size.name)})", "",
             f"{results.data['machine']}, {results.data['cores']} cores, commit {', '.join(results.data['commits'])}, "
             f"{results.data['date'][:10]}; mean ± standard deviation over {len(results.seeds)} seeds, nats a byte. Made by "
             f"`{results.data['command']}`.", ""]
    lines += loss_table(results, MAIN, views, (("before", "before"), ("after", "adapted")))
    return "\n".join(lines + [END])


def with_part(text, part):
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:begin] + part + text[end:]


def texts(folder):
    """(what should be in each file that is written, the results)."""
    found = {path.stem: Results(path) for path in sorted((folder / "results").glob("*.json"))}
    wanted = {folder / "RESULTS.md": document(found)}
    if folder == HERE and "cpu" in found:
        readme = ROOT / "README.md"
        wanted[readme] = with_part(readme.read_text(), readme_part(found["cpu"]))
    return wanted, found


def write(folder, ratel):
    wanted, found = texts(folder)
    for results in found.values():
        draw(results, folder, ratel)
    for path, text in wanted.items():
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--ratel", type=pathlib.Path, default=ROOT / "build/cpu/cli/ratel", help="the binary")
    parser.add_argument("--results", type=pathlib.Path, default=HERE, help="folder of RESULTS.md and results/")
    args = parser.parse_args()
    if not args.check:
        write(args.results, args.ratel)
        return
    stale = [str(path) for path, text in texts(args.results)[0].items() if path.read_text() != text]
    if stale:
        sys.exit(f"report.py: not what results/ says: {', '.join(stale)}; run experiments/dilation/report.py")


if __name__ == "__main__":
    main()
