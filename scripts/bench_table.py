#!/usr/bin/env python3
"""Writes the README's tables of benchmarks, each between <!-- NAME:begin --> and <!-- NAME:end -->: "bench" from
bench/results/cpu.json, "sparse" from bench/results/sparse_inference.json, "tokenize" from
bench/results/tokenize.json, "gpu" and "gpu_inference" from the JSON of the same names.

    bench_table.py           rewrites the tables
    bench_table.py --check   exits with 1 where one of the README's is not that of its JSON
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Ops whose rows of a GPU are shown without a peer too.
ALONE = ("dilated_attention", "gated_recurrence", "recurrent_attention", "rms_norm", "rms_norm_residual")


def number(value, unit=""):
    if value is None:
        return ""
    return (f"{value:.0f}" if value >= 100 else f"{value:.3g}") + unit


def share(row):
    """Percent of the ceiling that is nearer."""
    name, percent = max((("copy", row["percent_of_copy"] or 0), ("GEMM", row["percent_of_gemm"] or 0)),
                        key=lambda pair: pair[1])
    return f"{percent:.0f}% of {name}" if percent else ""


def markdown(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---|---|" + "---:|" * (len(header) - 2)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def table_of(results):
    torch, ceilings = results["torch"], results["ceilings"]
    beside = "ratio_torch" if torch else "ratio_reference"
    rows = [[row["name"].replace("/", " "), row["shape"], number(row["ours_ms"], " ms"), share(row),
             number(row["reference_ms"], " ms"), number(row["ratio_reference"], "x"), number(row["torch_ms"], " ms"),
             number(row["ratio_torch"], "x")] for row in results["rows"] if row.get(beside) is not None]
    peer = f"PyTorch {torch['torch']} (eager, {torch['blas']})" if torch else "no PyTorch"
    lines = [f"{results['machine']}, {results['threads']} threads, commit {results['commit']}, {results['date'][:10]}; "
             f"copy {ceilings['copy_gbps']:.0f} GB/s, GEMM {ceilings['gemm_gflops']:.0f} GFLOP/s in the same run; {peer}. "
             f"Made by `{results['command']}`; all figures are in `bench/results/cpu.json`. Ratios to PyTorch are "
             "medians over turns, not quotients of the times; a ceiling is that of the same program's run.", ""]
    lines += markdown(["what", "shape", "ratel", "of the ceiling", "composed", "faster", "PyTorch", "faster"], rows)
    derived = [(row, min((ms, form) for form, ms in row["torch_forms_ms"].items() if form.startswith("autograd")))
               for row in results["rows"] if any(f.startswith("autograd") for f in row.get("torch_forms_ms", {}))]
    if derived:
        lines += ["", "The fastest PyTorch form of the recurrence has a backward that we wrote by hand. Through PyTorch's own "
                  "autograd:", ""]
        lines += markdown(["what", "shape", "ratel", "PyTorch", "faster"],
                          [[row["name"].replace("/", " "), row["shape"], number(row["ours_ms"], " ms"),
                            f"{number(ms, ' ms')} ({form})", number(ms / row["ours_ms"], "x")]
                           for row, (ms, form) in derived])
    long = [row for row in results["rows"] if row["name"] == "recurrent_attention/forward_backward"
            and row["shape"].startswith("1x")]
    if long:
        lines += ["", "Memory of recurrent_attention forward and backward is linear in T:", ""]
        lines += markdown(["what", "B x T x C", "time", "peak memory of tensors"],
                          [["recurrent_attention", row["shape"], number(row["ours_ms"], " ms"),
                            number(row["peak_mb"], " MB")] for row in long])
    return "\n".join(lines)


def gpu_table_of(results):
    torch, ceilings = results["torch"], results["ceilings"]
    peer = f"PyTorch {torch['torch']}, torch.compile" if torch else "no PyTorch"
    lines = [f"{results['machine']}, commit {results['commit']}, {results['date'][:10]}, bf16; copy "
             f"{ceilings['copy_gbps']:.0f} GB/s, GEMM {ceilings['gemm_gflops'] / 1e3:.0f} TFLOP/s in the same run; {peer}. "
             f"Made by `{results['command']}`; all figures are in `bench/results/gpu.json`.", ""]
    rows = [row for row in results["rows"] if "ours_ms" in row]
    ops = [[row["name"].replace("/", " "), row["shape"], number(row["ours_ms"], " ms"), share(row),
            number(row["torch_ms"], " ms"), number(row["ratio_torch"], "x")] for row in rows
           if not row["name"].startswith("train_step") and (row["ratio_torch"] or row["name"].split("/")[0] in ALONE)]
    lines += markdown(["what", "shape", "ratel", "of the ceiling", "PyTorch", "faster"], ops)
    steps = [[row["name"].replace("/", " "), row["shape"], number(row["ours_ms"], " ms"),
              f"{row['tokens_per_second']:,.0f}", number(row["mfu_percent"], "%"), f"{row['peak_mb'] / 1e3:.1f} GB",
              number(row["torch_ms"], " ms"), number(row["ratio_torch"], "x")] for row in rows
             if row["name"].startswith("train_step")]
    missing = [f"{row['name'].split('/')[0]} {row['shape']}" for row in results["rows"] if "error" in row]
    lines += ["", "Training (a batch of `train_step` is two optimizer steps, through D = 64 and dense):", ""]
    lines += markdown(["what", "B x T", "a batch", "tokens/s", "MFU", "peak memory", "PyTorch", "faster"], steps)
    return "\n".join(lines + (["", f"Too large for this GPU: {', '.join(missing)}."] if missing else []))


def gpu_inference_table_of(results):
    lines = [f"{results['machine']}, commit {results['commit']}, {results['date'][:10]}, random weights in bf16. Made by "
             f"`{results['command']}`; all figures are in `bench/results/gpu_inference.json`.", ""]
    rows = [[f"{run['bench']}, {run['model']}", f"{row['length']:,}", str(row["batch"]), row["name"].split()[0],
             f"{row['tokens_per_second']:,.0f}", number(row["times_dense"], "x"), f"{row['kv_bytes'] / 1e6:.1f} MB",
             f"{row['peak_bytes'] / 1e9:.1f} GB"] for run in results["runs"] for row in run["rows"]]
    return "\n".join(lines + markdown(["what", "tokens", "texts", "D", "tokens/s", "faster", "KV cache",
                                       "peak memory of tensors"], rows))


def sparse_table_of(results):
    lines = [f"{results['machine']}, {results['runs'][0]['threads']} threads, commit {results['commit']}, "
             f"{results['date'][:10]}, random weights in f32, batch 1. Made by `{results['command']}`; all figures are in "
             "`bench/results/sparse_inference.json`.", ""]
    rows = [[f"{run['bench']}, {run['model']}", f"{row['length']:,}", row["name"].split()[0],
             f"{row['tokens_per_second']:,.0f}", number(row["times_dense"], "x"), f"{row['kv_bytes'] / 1e6:.2f} MB",
             f"{1 / row['kv_share']:.1f}x", f"{row['peak_bytes'] / 1e6:.1f} MB"]
            for run in results["runs"] for row in run["rows"]]
    return "\n".join(lines + markdown(["what", "tokens", "D", "tokens/s", "faster", "KV cache", "smaller",
                                       "peak memory of tensors"], rows))


def tokenize_table_of(results):
    lines = [f"{results['machine']}, commit {results['commit']}, {results['date'][:10]}: {results['documents']} documents, "
             f"{results['tokens']:,} SentencePiece tokens"
             + (", the same from both" if results["ids_equal"] else ", which differ") +
             f". Made by `{results['command']}`; all figures are in `bench/results/tokenize.json`.", ""]
    rows = [[run["tokenizer"], run["program"], str(run["threads"]), f"{run['megabytes_per_second']:.1f} MB/s"]
            for run in results["runs"]]
    return "\n".join(lines + markdown(["tokenizer", "program", "threads", "speed"], rows))


TABLES = {"bench": ("bench/results/cpu.json", table_of),
          "sparse": ("bench/results/sparse_inference.json", sparse_table_of),
          "tokenize": ("bench/results/tokenize.json", tokenize_table_of),
          "gpu": ("bench/results/gpu.json", gpu_table_of),
          "gpu_inference": ("bench/results/gpu_inference.json", gpu_inference_table_of)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT)
    args = parser.parse_args()
    readme_path = args.root / "README.md"
    try:
        readme = readme_path.read_text()
        for name, (path, make) in TABLES.items():
            begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
            before, found_begin, rest = readme.partition(begin)
            _, found_end, after = rest.partition(end)
            if not found_begin or not found_end:
                sys.exit(f"bench_table: {readme_path}: expected {begin} and {end}")
            updated = f"{before}{begin}\n{make(json.loads((args.root / path).read_text()))}\n{end}{after}"
            if args.check and updated != readme:
                sys.exit(f"bench_table: the table in {readme_path} is not the one of {path}: run scripts/bench_table.py")
            readme = updated
    except (OSError, ValueError) as error:
        sys.exit(f"bench_table: {error}")
    if not args.check:
        readme_path.write_text(readme)


if __name__ == "__main__":
    main()
