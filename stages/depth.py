"""How hard each test image is, where it leaves, and whether a smaller model is enough: metrics and tables of both."""

from pathlib import Path

from tqdm import tqdm

from offramp.cache.reading import open_cache
from offramp.costs import read_costs
from offramp.depth import Depths, describe, rows_of, summarise, write_depths
from offramp.evaluation import read_test
from offramp.evaluation.tables import full_replay
from offramp.files import write_json
from offramp.policies import read_policies
from offramp.prepared import difficulty_of, read_split
from offramp.probe_table import read_probes
from offramp.replay import read_for, replay
from offramp.smaller import compare, conclusion, write_smaller
from offramp.stage import run

METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    content = read_policies(METRICS / "policies.json")
    macs = read_costs(METRICS / "costs.json")
    costs = content.scoring.costs(macs)
    test = read_test(Path("data/logits/test.parquet"), content, macs)
    val = read_for(open_cache(Path("data/logits/val.parquet")), content)
    votes = read_probes(Path("data/probes.parquet"), test.exits)
    difficulty = difficulty_of(read_split(Path("data/prepared/test.parquet")), test.sample)

    steps = tqdm(total=2, desc="depth", unit="question", disable=None, leave=False)
    logits = Depths.of_logits(test, full_replay(test, costs), replay(test, content.selected, costs), difficulty)
    knn = logits.probed(votes, rows_of(test, votes.sample))
    summary = summarise(content.selected.name, logits, knn, votes, test)
    steps.update()
    models = compare(content, val, test, macs)
    steps.update()
    steps.close()

    write_json(METRICS / "depth.json", summary)
    write_depths(PLOTS / "depth.csv", PLOTS / "depth_exits.csv", (logits, knn))
    write_smaller(METRICS / "smaller.json", PLOTS / "smaller.csv", models, macs.ratio)
    print(describe(summary))
    print(conclusion(models, macs.ratio))


if __name__ == "__main__":
    run(main)
