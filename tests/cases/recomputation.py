"""Accuracies made again by a plain loop over the Parquet file and policies.json, to hold evaluation.json against."""

import json

import numpy as np
import pyarrow.parquet as pq


def entropy_by_hand(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    return -(p * np.log(np.where(p > 0, p, 1))).sum(-1)


def require_recomputed_accuracies(folder):
    """Compare evaluation.json with what a plain loop makes of the Parquet file and policies.json."""
    table = pq.read_table(folder / "data/logits/test.parquet")
    label = table.column("label").to_numpy()
    exits = [name for name in table.column_names if name.startswith("exit_")]
    logits = np.stack([np.array(table.column(name).to_pylist(), dtype=np.float64) for name in exits], axis=1)
    entropy = entropy_by_hand(logits)
    evaluation = json.loads((folder / "metrics/evaluation.json").read_text())
    for policy in json.loads((folder / "metrics/policies.json").read_text())["policies"]:
        right = 0
        for i in range(len(label)):
            for k, name in enumerate(exits):
                threshold = policy["thresholds"][name]
                if threshold == "inf" or (threshold is not None and entropy[i, k] <= threshold):
                    right += logits[i, k].argmax() == label[i]
                    break
        assert evaluation[policy["method"]][f"{policy['target']:g}"]["accuracy"] == right / len(label)
