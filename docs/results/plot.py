"""Draw the pass rate of a run's training batches: python docs/results/plot.py METRICS.jsonl OUT.svg"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

metrics, out = map(Path, sys.argv[1:])
rows = [json.loads(line) for line in metrics.read_text().splitlines()]
rates = [row["values"]["rollout/pass_rate"] for row in rows if "rollout/pass_rate" in row.get("values", {})]
window = max(1, len(rates) // 12)
smooth = [
    sum(rates[max(0, i - window + 1) : i + 1]) / len(rates[max(0, i - window + 1) : i + 1]) for i in range(len(rates))
]
figure, axes = plt.subplots(figsize=(7, 3))
axes.plot(range(1, len(rates) + 1), rates, color="0.75", label="each step")
axes.plot(range(1, len(rates) + 1), smooth, color="tab:blue", label=f"mean of {window} steps")
axes.set(xlabel="step", ylabel="pass rate on training tasks", ylim=(0, None))
axes.legend(frameon=False)
figure.tight_layout()
matplotlib.rcParams["svg.hashsalt"] = "coderl"
figure.savefig(out, metadata={"Date": None})
