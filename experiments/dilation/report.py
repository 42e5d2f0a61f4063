#!/usr/bin/env python3
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

from claims import AGREES, TEXT_BETWEEN, TEXT_WITHIN, Judge
from results import Results, mean_and_spread
from sizes import ATTENTION, HERE, MAIN, MODELS, NO_KEYS, RAT_PLUS, ROOT, View

FIGURE = "results/loss_by_dilation_{}.svg"
BEGIN, END = "<!-- dilation:begin -->", "<!-- dilation:end -->"
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
    """What `ratel plot --chart` draws: a colour a model; dashed, with hollow marks, after adaptation."""
    size, series = results.size, []
    for color, model in zip((0, 1, 2, 5), MAIN):
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


TEXTS = {"austen": "five of Jane Austen's novels; the beginning of the sixth, *Persuasion*, is held out",
         "medium": "28 MB of prose and documentation; of every source whole documents are held out"}


def setting(results):
    size, config = results.size, results.config
    model, data, steps = config["model"], config["data"], config["train"]["steps"]
    sizes = f"{model['layers']} layers x {model['channels']} channels, {model['heads']} heads" if "layers" in model else \
        f"the preset `{model['preset']}`"
    dates = results.distinct("date")
    load = max((record["load"] for name, record in results.pieces.items() if "/decode/" in name), default=None)
    return (f"{', '.join(results.distinct('machine'))}; commit {', '.join(results.distinct('commit'))}; "
            f"{dates[-1][:10] if dates else '-'}; seeds {', '.join(map(str, results.seeds)) or '-'}. Every model is "
            f"{sizes}, trained on {steps} batches of {data['batch_size']} x {data['seq_len']} bytes "
            f"({steps * data['batch_size'] * data['seq_len']:,} in all) of "
            f"{TEXTS.get(size.text, 'a text; its last tenth is held out')}. The peak rate is "
            f"{config['optimizer']['peak_rate']:g}; adaptation takes {size.adapt_steps} batches at {size.adapt_rate:g} of "
            f"it. Losses are over at most {size.heldout_bytes:,} held-out bytes. {results.seconds() / 60:.0f} minutes of "
            f"commands, {size.jobs} at a time"
            + (f"; at the timings of decoding the load was at most {load:.1f}" if load is not None else "")
            + f". Made by `{results.command}`; every number, with its command, is in "
            f"[results/{size.name}.json](results/{size.name}.json).")


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
            lines = [one["rows"][0] for one in bench]
            speed = f"{statistics.median(line['tokens_per_second'] for line in lines):,.0f}"
            row += [f"{lines[0]['kv_bytes']:,}", speed] if model is RAT_PLUS else [speed]
        for when in ("before", "after"):
            row.append(mean_and_spread(losses(results, RAT_PLUS, view, when)))
        rows.append(row)
    return table(["pattern", "KV cache, bytes", "decode RAT+, tokens/s", "decode attention, tokens/s", "RAT+ loss before",
                  "after"], rows)


def pattern_table(pattern):
    """Dilations by layer and head, of what `ratel search` found."""
    heads = max(map(len, pattern))
    rows = [[str(index), *(str((layer * heads)[head]["dilation"]) for head in range(heads))]
            for index, layer in enumerate(pattern)]
    return table(["layer"] + [f"head {head}" for head in range(heads)], rows)


def hybrid(results):
    done = results.piece(f"seed{results.size.seeds[0]}", RAT_PLUS.name, "hybrid")
    if done is None:
        return ["Not measured."]
    search, heldout = done
    found, uniform = search["found"], search["best_uniform"]
    dilation = uniform["pattern"][0][0]["dilation"]
    beside = results.loss(RAT_PLUS, View(dilation), "before", results.size.seeds[0])
    beside = f"; uniform D={dilation} gives {beside:.4f} there" if beside is not None else ""
    verdict = {"better": "better than", "tie": "a tie with", "worse": "worse than"}[search["verdict"]]
    lines = [f"`ratel search --kv-budget 1/16 --heads`, on the text of training, found a pattern by head that it calls "
             f"{verdict} the best uniform one, D={dilation}: {found['loss']:.5f} against {uniform['loss']:.5f} nats, "
             f"{found['kv_bytes']:,} against {uniform['kv_bytes']:,} bytes, a difference of {search['difference']:+.5f} "
             f"with a standard error of {search['standard_error']:.5f}. The {search['written']} one is what it wrote: "
             f"{heldout['loss']:.4f} on the held-out text before adaptation{beside}. What it found, as dilations:", ""]
    return lines + pattern_table(found["pattern"])


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


FEW = 0.05  # of all channels


def gates_part(results):
    """The gates layer by layer, and what they say about how the model holds up."""
    done = results.piece(f"seed{results.size.seeds[0]}", RAT_PLUS.name, "gates")
    if done is None:
        return ["Not measured."]
    layers, span = done[-1]["layers"], done[-1]["span"]
    rows = []
    for layer in layers:
        constant, carrying = layer["time_constant"], f"{layer['carrying']} of {layer['channels']}"
        rows.append([str(layer["layer"]), f"{layer['gate']['mean']:.3f}", f"{constant['median']:.1f}",
                     f"{constant['p90']:.1f}", carrying, f"{100 * layer['gradient']['share']:.0f}%"])
    carrying, channels = (sum(layer[key] for layer in layers) for key in ("carrying", "channels"))
    line = f"{carrying} of {channels} channels keep 1/e of a state over {span} tokens."
    if carrying < FEW * channels:
        line += (f" So this model does not hold up at D={span} by keys that speak for {span} tokens each: it is small, and "
                 "so is its text, and the last few tokens, which the recurrence carries to every query, say most of what "
                 "it knows.")
    return table(["layer", "mean gate", "time constant, median", "90% below", f"channels that carry {span} tokens",
                  "gates' share of the gradient"], rows) + ["", line]


def over(results):
    """Of what a cell is the mean."""
    if not results.whole:
        return "Unfinished: each cell is the mean over the seeds that have it."
    if len(results.seeds) == 1:
        return "One seed."
    return f"Mean ± standard deviation over {len(results.seeds)} seeds."


def section(results):
    size, length = results.size, results.config["data"]["seq_len"]
    absent = [name for name in results.expected() if name not in results.pieces]
    states = (("before", "before"), ("after", "after"))
    lines = [f"## Size `{size.name}`", "", setting(results), "", "### Loss by dilation", "",
             f"Held-out loss in nats a byte, before and after a short adaptation to the very pattern. {over(results)} "
             "Through \"no keys\" a query sees itself alone: what is left is what the recurrence carries.", ""]
    lines += loss_table(results, MAIN, [*size.views(), NO_KEYS], states)
    lines += ["", f"![Held-out loss by dilation]({FIGURE.format(size.name)})", "",
              "The legend's numbers are the losses at the largest D. Joint training makes two updates a batch. At as many "
              "updates the others have seen twice as much text, which favours them:", ""]
    lines += loss_table(results, MODELS[4:], [*size.views(MODELS[4]), NO_KEYS], states)
    lines += ["", "### What agrees with the paper, what does not, and what was too small to say", ""]
    lines += table(["claim", "whose", "seen here, in nats above dense unless it says otherwise", "verdict"],
                   [[claim.text, claim.whose, claim.seen, claim.verdict] for claim in Judge(results).claims()], left=4)
    lines += ["", "Numbers are taken seed by seed. They count where all seeds agree, their mean is outside of Student's 95% "
              "interval over seeds, and it is two standard errors of the held-out text away from the limit: "
              f"{TEXT_BETWEEN} nats between models, {TEXT_WITHIN} between patterns of one model. After adaptation, "
              "\"above dense\" is above the same model adapted as long to D=1. The paper's own models have 1.5 to 7.6 "
              "billion parameters.", "", "### Top-k blocks", "",
              f"Held-out loss where a query sees {size.top_blocks} blocks of {size.block_size} keys: the first, its own, "
              "and those that score best. Not adapted to: the choice of blocks has no gradient.", ""]
    lines += loss_table(results, MODELS, size.block_views(), (("before", "before"),))
    lines += ["", "### What a dilation saves", "",
              f"KV cache and decoding at {size.bench_length} tokens, batch 1, seed {size.seeds[0]}, the median of "
              f"{size.bench_repeats} measurements, beside the loss of RAT+ in windows of {length}.", ""]
    lines += costs_table(results)
    lines += ["", "### The hybrid for a sixteenth of the cache", ""] + hybrid(results)
    lines += ["", f"### A needle in {length} tokens", "",
              f"RULER's single_1, made by `ratel needles`: each model is fine-tuned through the pattern on "
              f"{size.needle_steps} batches of such texts, then asked {size.needle_examples} others. Share of the numbers "
              "that its text contains, and the loss of the expected answer in nats a byte: a guess at seven digits, "
              f"of a space and a full stop that are known, costs {GUESS:.2f}.", ""]
    lines += needle_table(results)
    lines += ["", "### The gates of RAT+", "", "`ratel inspect --gates` on the held-out text, dense: time constants in "
              "tokens, over the channels of a layer.", ""]
    lines += gates_part(results)
    if absent:
        one = "1 piece was" if len(absent) == 1 else f"{len(absent)} pieces were"
        lines += ["", "### Missing", "", f"{one} not run: " + ", ".join(f"`{name}`" for name in absent[:12])
                  + (", ..." if len(absent) > 12 else "") + "."]
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
             f"{', '.join(results.distinct('machine'))}; commit {', '.join(results.distinct('commit'))}; "
             f"{results.distinct('date')[-1][:10]}; held-out nats a byte. {over(results)} Made by `{results.command}`.", ""]
    lines += loss_table(results, MAIN, views, (("before", "before"), ("after", "adapted")))
    keys = Judge(results).keys_matter()
    if keys.verdict != AGREES:
        lines += ["", f"This model and its text are small: what dilated keys add to RAT+ is {keys.verdict} (against no keys "
                  f"at all but a query's own it is better {keys.seen}). It holds up by what its recurrence carries over the "
                  "last few tokens."]
    return "\n".join(lines + [END])


def with_part(text, part):
    begin, end = text.index(BEGIN), text.index(END) + len(END)
    return text[:begin] + part + text[end:]


def texts(folder):
    """(what should be in each file that is written, the results)."""
    found = {path.stem: Results(path) for path in sorted((folder / "results").glob("*.json"))}
    wanted = {folder / "RESULTS.md": document(found)}
    if folder == HERE and "cpu" in found and found["cpu"].whole:
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
