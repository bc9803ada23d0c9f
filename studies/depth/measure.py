"""How hard each test image is, where it leaves, and whether a smaller model is enough: metrics and tables of both."""

from pathlib import Path

from tqdm import tqdm

from offramp.cache.reading import open_cache
from offramp.data.prepared import difficulty_of, read_split
from offramp.evaluation.results import read_test
from offramp.evaluation.tables import full_replay
from offramp.figures.style import set_source
from offramp.policies.costs import read_costs
from offramp.policies.file import read_policies
from offramp.policies.replay import costs_under, read_for, replay
from offramp.project.files import write_json
from offramp.project.stage import run
from studies.depth.figures import draw_depth
from studies.depth.prediction_depth import Depths, describe, rows_of, summarise, write_depths
from studies.depth.probe_table import read_probes
from studies.depth.truncated_networks import compare_truncated, conclusion, write_smaller

METRICS, PLOTS = Path("metrics"), Path("plots")


def main() -> None:
    content = read_policies(METRICS / "policies.json")
    macs = read_costs(METRICS / "costs.json")
    costs = costs_under(content.scoring, macs)
    cache = open_cache(Path("data/logits/test.parquet"))
    test = read_test(cache.path, content, macs)
    val = read_for(open_cache(Path("data/logits/val.parquet")), content)
    votes = read_probes(Path("data/probes.parquet"), test.exits)
    difficulty = difficulty_of(read_split(Path("data/prepared/test.parquet")), test.sample)

    steps = tqdm(total=2, desc="depth", unit="question", disable=None, leave=False)
    logits = Depths.of_logits(test, full_replay(test, costs), replay(test, content.selected, costs), difficulty)
    knn = logits.probed(votes, rows_of(test, votes.sample))
    summary = summarise(content.selected.name, logits, knn, votes, test)
    steps.update()
    models = compare_truncated(content, val, test, macs)
    steps.update()
    steps.close()

    write_json(METRICS / "depth.json", summary, digits=6)
    write_depths(PLOTS / "depth.csv", PLOTS / "depth_exits.csv", (logits, knn))
    write_smaller(METRICS / "smaller.json", PLOTS / "smaller.csv", models, macs.ratio)
    set_source(cache.metadata.get("dataset", ""), cache.metadata.get("model", ""))
    draw_depth(PLOTS / "depth", PLOTS / "depth.csv", PLOTS / "depth_exits.csv", content.selected.name)
    print(describe(summary))
    print(conclusion(models, macs.ratio))


if __name__ == "__main__":
    run(main)
