"""Writes the README's table of benchmarks from bench/results/cpu.json, between <!-- bench:begin --> and <!-- bench:end -->.

    bench_table.py           rewrites the table
    bench_table.py --check   exits with 1 where the README's table is not the one of the JSON
"""
import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


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
             number(row["ratio_torch"], "x")] for row in results["rows"] if row[beside] is not None]
    peer = f"PyTorch {torch['torch']} (eager, {torch['blas']})" if torch else "no PyTorch"
    lines = [f"{results['machine']}, {results['threads']} threads, commit {results['commit']}, {results['date'][:10]}; "
             f"copy {ceilings['copy_gbps']:.0f} GB/s, GEMM {ceilings['gemm_gflops']:.0f} GFLOP/s in the same run; {peer}. "
             f"Made by `{results['command']}`; all figures are in `bench/results/cpu.json`.", ""]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--results", type=pathlib.Path, default=ROOT / "bench/results/cpu.json")
    parser.add_argument("--readme", type=pathlib.Path, default=ROOT / "README.md")
    args = parser.parse_args()
    try:
        results, readme = json.loads(args.results.read_text()), args.readme.read_text()
    except (OSError, ValueError) as error:
        sys.exit(f"bench_table: {error}")
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        sys.exit(f"bench_table: {args.readme}: expected {BEGIN} and {END}")
    updated = f"{before}{BEGIN}\n{table_of(results)}\n{END}{after}"
    if args.check and updated != readme:
        sys.exit(f"bench_table: the table in {args.readme} is not the one of {args.results}: run scripts/bench_table.py")
    if not args.check:
        args.readme.write_text(updated)


if __name__ == "__main__":
    main()
