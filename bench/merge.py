"""Joins the figures of a run of bench/run.sh into one JSON.

    merge.py --out FILE --ours FILE... [--torch FILE...]

Each input is JSON as Google Benchmark writes it; a benchmark measured several times counts with its least median, on
all three sides. OP_reference/REST and PyTorch's OP/REST stand beside ratel's OP/REST. Ratios above 1 mean that ratel is
faster; where ratel and PyTorch took turns, theirs is the median over the turns, and the quartiles stand beside it.
"""
import argparse
import json
import re
import statistics
import sys


def load(path):
    try:
        with open(path) as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"merge: {path}: {error}")


RATES = ("GB/s", "GFLOP/s", "%copy", "%gemm", "tok/s", "MFU%")  # of a row's counters


def fastest(documents):
    """{name: its row with the least median}."""
    rows = {}
    for document in documents:
        for row in document["benchmarks"]:
            name = row["name"].removesuffix("/manual_time")
            if "error_message" in row:
                rows.setdefault(name, row)
                continue
            if "median_us" not in row:
                sys.exit(f"merge: {name}: no median")
            if "median_us" not in rows.get(name, {}) or row["median_us"] < rows[name]["median_us"]:
                rows[name] = row
    return rows


def split_name(name):
    """"gated_recurrence/forward/8x256x128/D=1" -> ("gated_recurrence/forward", "8x256x128 D=1")."""
    parts = name.split("/")
    first = next((i for i, part in enumerate(parts) if re.match(r"\d", part)), len(parts))
    return "/".join(parts[:first]), " ".join(parts[first:])


def milliseconds(row):
    return None if row is None or "median_us" not in row else round(row["median_us"] / 1e3, 4)


def ratio(other, ours):
    return None if other is None or "median_us" not in other else round(other["median_us"] / ours["median_us"], 2)


def merged_row(name, ours, reference, torch):
    label, shape = split_name(name)
    if "error_message" in ours:
        return {"name": label, "shape": shape, "error": ours["error_message"]}
    if torch is not None and "ours_us" in torch:
        least = min([ours["median_us"], *torch["ours_us"]])
        scale = ours["median_us"] / least
        ours = ours | {key: ours[key] * scale for key in RATES if key in ours} | {"median_us": least}
    row = {"name": label, "shape": shape, "ours_ms": milliseconds(ours), "reference_ms": milliseconds(reference),
           "torch_ms": milliseconds(torch), "ratio_reference": ratio(reference, ours), "ratio_torch": ratio(torch, ours)}
    for key, counter in zip(("gbps", "gflops", "percent_of_copy", "percent_of_gemm", "peak_mb"), (*RATES[:4], "peak_MB")):
        row[key] = round(ours[counter], 2) if counter in ours else None
    for key, counter in (("tokens_per_second", "tok/s"), ("mfu_percent", "MFU%")):
        if counter in ours:
            row[key] = round(ours[counter], 2)
    if torch is not None and len(torch.get("pairs", [])) > 1:
        low, middle, high = statistics.quantiles(torch["pairs"], n=4, method="inclusive")
        row["ratio_torch"], row["ratio_torch_quartiles"] = round(middle, 2), [round(low, 2), round(high, 2)]
    if torch is not None:
        row["torch_best"] = torch["best"]
        row["torch_forms_ms"] = {form: round(us / 1e3, 4) for form, us in torch["forms"].items()}
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--ours", nargs="+", required=True)
    parser.add_argument("--torch", nargs="*", default=[])
    parser.add_argument("--command", default="bench/run.sh", help="what made the files")
    args = parser.parse_args()

    ours_files, torch_files = [load(path) for path in args.ours], [load(path) for path in args.torch]
    ours, torch = fastest(ours_files), fastest(torch_files)
    rows = []
    for name, row in ours.items():
        op, _, rest = name.partition("/")
        if not op.endswith("_reference"):
            rows.append(merged_row(name, row, ours.get(f"{op}_reference/{rest}"), torch.get(name)))
    context = ours_files[0]["context"]
    ceiling = lambda key: round(max(float(file["context"][key]) for file in ours_files), 1)
    document = {
        "date": context["date"], "commit": context["commit"], "machine": context["machine"],
        "threads": int(context["threads"]),
        "ceilings": {"copy_gbps": ceiling("ceiling copy GB/s"), "gemm_gflops": ceiling("ceiling gemm GFLOP/s")},
        "torch": {key: torch_files[0]["context"][key] for key in ("torch", "blas", "threads")} if torch_files else None,
        "command": args.command,
        "rows": rows,
    }
    with open(args.out, "w") as file:
        json.dump(document, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
