"""What bench_networks.py found, kept: the exact curvature is nearer to retraining than that of Gauss and Newton."""

import json
from pathlib import Path

KEPT = Path(__file__).parent.parent / "examples" / "benchmarks" / "bench_networks.json"


def test_the_kept_results():
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    assert {"sklearn", "sklearn_influence"} <= set(kept["versions"])
    settings = kept["settings"]
    assert any(one["alpha"] == 1e-4 and one["solver"] == "adam" for one in settings.values())
    for one in settings.values():
        if "refused" in one:
            assert "threshold 0.001" in one["refused"]
            continue
        rows = one["rows"]
        assert rows["correlation"] > rows["gauss_newton"]["correlation"]
        assert rows["median_relative_error_of_a_removal"] < 0.15
